"""From a run folder to its report: what is it, and where does the page go."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from inarch.errors import DataError, SettingsError
from inarch.io.runs import MANIFEST
from inarch.report._demo import demo_page
from inarch.report._diff import diff_page
from inarch.report._evaluate import evaluate_page, evaluations
from inarch.report._fuse import fuse_page
from inarch.report._merge import explain_page, merge_page
from inarch.report._page import Page, write
from inarch.report._posts import Look
from inarch.report._prune import prune_page
from inarch.report._results import RESULTS, SCORES
from inarch.report._runs import METRICS, Run, read_json, read_run
from inarch.report._screen import screen_page
from inarch.report._search import search_page
from inarch.report._spans import score_page, train_page
from inarch.settings import Settings


class ReportSettings(Settings):
    """What a page says that its run does not."""

    title: str | None = None
    """Heading of the page; by default the run's own."""
    reveal: bool = False
    """Put toxic words into a page of `inarch spans`, where one letter of each stands otherwise."""
    num_posts: int = Field(default=100, ge=0, le=500)
    """Posts that such a page shows."""


_DEFAULTS = ReportSettings()
_ABOUT_SPANS: dict[str, Callable[[Run, Look], Page]] = {
    "spans": train_page,
    "spans score": score_page,
    "screen": screen_page,
}
"""By stage."""
_BY_STAGE: dict[str | None, Callable[[Path], Page]] = {
    "fuse": lambda folder: fuse_page(folder, [read_run(folder, folder.resolve().name)]),
    "merge": merge_page,
    "merge search": search_page,
    "prune": lambda folder: prune_page(folder, read_json(folder / MANIFEST)),
}
_COMMANDS = (
    "`inarch fuse`, `inarch merge`, `inarch merge search`, `inarch prune`, `inarch spans train`,"
    " `inarch spans score`, `inarch spans screen`, `inarch evaluate` and `inarch demo`"
)
"""Those whose folders have a page."""


def build(
    run: str | Path, out: str | Path | None = None, settings: ReportSettings = _DEFAULTS
) -> Path:
    """Return the HTML page of a run folder, made from what is there; a run may be unfinished.

    Plots go to ``plots`` in the run folder, as SVG; the page holds its own copies.

    Args:
        run: Folder of `inarch demo`, `fuse`, `merge`, `prune`, `evaluate`, or `spans train`,
            `score`, `screen`.
        out: The page; by default ``report.html`` in the run folder.
        settings: Its title, and what it shows of posts.

    Raises:
        DataError: The folder is of something else, or a file in it cannot be read.
        SettingsError: Settings of posts for a page that shows none.
    """
    run = Path(run)
    path = Path(out) if out is not None else run / "report.html"
    page = _spans_page(run, Look(settings.num_posts, settings.reveal))
    if page is None:
        if settings.model_fields_set & {"reveal", "num_posts"}:
            raise SettingsError(
                f"found reveal or num_posts, but {run} is not of `inarch spans`, and its page shows"
                " no posts; take them out"
            )
        page = _page_of(run)
    if settings.title is not None:
        page = page._replace(title=settings.title)
    write(page, path, run / "plots")
    return path


def build_diff(found: Mapping[str, Any], out: Path) -> Path:
    """Return the HTML page of what `inarch.flows.diff.run` found."""
    write(diff_page(found), out, None)
    return out


def build_explained(rows: Sequence[Mapping[str, Any]], name: str, out: Path) -> Path:
    """Return the HTML page of how a recipe called `name` would make its tensors.

    Args:
        rows: As `inarch.flows.merge.explain` returns them.
        name: Of the recipe.
        out: The page.
    """
    write(explain_page(rows, name), out, None)
    return out


def _spans_page(folder: Path, look: Look) -> Page | None:
    """Return the page of a tagger's folder; None if it is of something else."""
    if not (folder / MANIFEST).is_file():
        return None
    make = _ABOUT_SPANS.get(read_json(folder / MANIFEST).get("stage", ""))
    return make(read_run(folder, folder.resolve().name), look) if make else None


def _page_of(folder: Path) -> Page:
    if (folder / RESULTS).is_file() or any(folder.glob(SCORES)):
        return demo_page(folder)
    pairs = sorted(path.parent for path in folder.glob(f"pairs/*/{MANIFEST}"))
    if pairs:
        return fuse_page(folder, [read_run(pair, pair.name) for pair in pairs])
    has_manifest = (folder / MANIFEST).is_file()
    stage = read_json(folder / MANIFEST).get("stage") if has_manifest else None
    if stage in _BY_STAGE:
        return _BY_STAGE[stage](folder)
    if folder.is_dir() and (paths := evaluations(folder)):
        return evaluate_page(folder, paths)
    if stage == "judge":
        raise DataError(f"{folder} has no results yet; run the same command again, it goes on")
    if has_manifest:
        raise DataError(
            f"{folder} is a folder of the stage {stage!r}, which has no page{_numbers_in(folder)}; "
            f"reports exist for {_COMMANDS}. Name the folder that was given to them as --out"
        )
    raise DataError(
        f"{folder}: {_found(folder)}, expected a run folder of {_COMMANDS}: one with "
        f"{MANIFEST}, of pairwise fusion also pairs/ with one per source, or of a demo {RESULTS} "
        "or seed-* with scores"
    )


def _numbers_in(folder: Path) -> str:
    """Return where a run without a page keeps its metrics, as the end of a sentence."""
    paths = sorted(folder.rglob(METRICS), key=lambda path: (len(path.parts), path))
    return f"; its numbers are in {', '.join(map(str, paths[:3]))}" if paths else ""


def _found(folder: Path) -> str:
    if not folder.is_dir():
        return "found no such folder"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"found {shown}" if names else "found an empty folder"
