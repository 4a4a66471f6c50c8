"""From a run folder to its report: what is it, and where does the page go."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.errors import DataError
from inarch.io.runs import MANIFEST
from inarch.report._demo import demo_page
from inarch.report._diff import diff_page
from inarch.report._fuse import fuse_page
from inarch.report._merge import explain_page, merge_page
from inarch.report._page import Page, write
from inarch.report._prune import prune_page
from inarch.report._results import RESULTS, SCORES
from inarch.report._runs import read_run
from inarch.report._search import search_page
from inarch.settings import Settings


class ReportSettings(Settings):
    """What a page says that its run does not."""

    title: str | None = None
    """Heading of the page; by default the run's own."""


_DEFAULTS = ReportSettings()


def build(
    run: str | Path, out: str | Path | None = None, settings: ReportSettings = _DEFAULTS
) -> Path:
    """Return the HTML page of a run folder, made from what is there; a run may be unfinished.

    Plots go to ``plots`` in the run folder, as SVG; the page holds its own copies.

    Args:
        run: Folder of `inarch demo`, of `inarch merge` or of `inarch fuse`, pairwise or not.
        out: The page; by default ``report.html`` in the run folder.
        settings: Its title.

    Raises:
        DataError: The folder is of something else, or a file in it cannot be read.
    """
    run = Path(run)
    path = Path(out) if out is not None else run / "report.html"
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


def _page_of(folder: Path) -> Page:
    if (folder / RESULTS).is_file() or any(folder.glob(SCORES)):
        return demo_page(folder)
    pairs = sorted(path.parent for path in folder.glob(f"pairs/*/{MANIFEST}"))
    if pairs:
        return fuse_page(folder, [read_run(pair, pair.name) for pair in pairs])
    if (folder / MANIFEST).is_file():
        run = read_run(folder, folder.resolve().name)
        stage = run.manifest.get("stage")
        if stage == "fuse":
            return fuse_page(folder, [run])
        if stage == "merge":
            return merge_page(folder)
        if stage == "merge search":
            return search_page(folder)
        if stage == "prune":
            return prune_page(folder, run.manifest)
        raise DataError(
            f"{folder} is a folder of the stage {stage!r}; reports exist for `inarch fuse`, "
            "`inarch merge`, `inarch prune` and `inarch demo`. Name the folder that was given to "
            "them as --out"
        )
    raise DataError(
        f"{folder}: {_found(folder)}, expected a run folder of `inarch fuse` ({MANIFEST}, or "
        f"pairs/ with one per source), of `inarch merge` ({MANIFEST}) or of `inarch demo` "
        f"({RESULTS}, or seed-* with scores)"
    )


def _found(folder: Path) -> str:
    if not folder.is_dir():
        return "found no such folder"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"found {shown}" if names else "found an empty folder"
