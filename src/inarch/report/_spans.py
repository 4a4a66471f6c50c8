"""The page of a tagger of spans: of `inarch spans score`, and of `inarch spans train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inarch.io.files import read_metrics
from inarch.report._html import Markup, table
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, settings_table
from inarch.report._posts import Look, posts_view, worst
from inarch.report._runs import Run, read_json
from inarch.report._spans_plots import bars, calibration_plot
from inarch.report._svg import Figure, Line, lines
from inarch.report._words import count, duration, listed, percent

SCORES, ROWS, EPOCHS = "scores.json", "scored.jsonl", "dev.jsonl"
_KINDS = {
    "exact": "one span each, the same",
    "longer": "the predicted span holds the gold one",
    "shorter": "the predicted span is held by the gold one",
    "crossing": "they overlap, and neither holds the other",
    "joined": "several gold spans, one predicted",
    "split": "one gold span, several predicted",
    "mixed": "several of both",
    "missed": "a gold span that nothing predicted overlaps",
    "added": "a predicted span that no gold one overlaps",
    "added to empty": "the same, in a post without a gold span",
}
_SURE = 0.05
"""p-value below which a difference is told as one."""


def score_page(run: Run, look: Look) -> Page:
    """Return the page of predictions that were scored."""
    settings = run.manifest.get("settings") or {}
    title = f"Spans scored: {Path(settings.get('predicted', run.name)).name}"
    return Page(title, [*_found(run, look, ""), _repeat(run)])


def train_page(run: Run, look: Look) -> Page:
    """Return the page of a tagger that is trained, or on its way."""
    title = f"Tagger: {run.name}"
    return Page(
        title, [*_found(run, look, " of the development set"), *_training(run), _repeat(run)]
    )


def _found(run: Run, look: Look, where: str) -> list[Part]:
    path = run.folder / SCORES
    if not path.is_file():
        return [paragraph(_nothing(run), kind="warn")]
    found = read_json(path)
    return [
        paragraph(verdict(found, where), kind="lead"),
        _facts(run, found),
        *_skipped(found),
        heading("Scores"),
        _scores(found),
        heading("Mistakes and scores"),
        (_mistakes(found), *_calibration(found)),
        fold("The kinds of mistakes", _kinds(found)),
        *_bins(found),
        heading("Posts"),
        *posts_view(worst(run.folder / ROWS, look.num_posts, _lexicon(run)), look),
    ]


def _lexicon(run: Run) -> Iterable[str]:
    """Return the words of the baseline, where the folder keeps it: they are veiled, too."""
    path = run.folder / "lexicon" / "lexicon.json"
    return read_json(path).get("ratios", ()) if path.is_file() else ()


def _nothing(run: Run) -> str:
    if not run.done:
        return "This run is not finished. The same command goes on where it stopped."
    return (
        "This tagger was trained without a development set (data.dev), so nothing is known of it."
        " `inarch spans tag` and `inarch spans score --out` tell how good it is on other posts."
    )


def verdict(found: Mapping[str, Any], where: str) -> str:
    """Return in two sentences how good a tagger is, and whether it beats what stands beside it."""
    own = found["official"]
    said = (
        f"The F1 of characters is {_with_error(own['f1'], own['standard_error'])}, the mean over"
        f" {count(own['n'])} posts{where}."
    )
    if own["f1_empty"] is not None and own["f1_nonempty"] is not None:
        said += (
            f" Of those without a gold span, {percent(own['f1_empty'])} are left alone; of the"
            f" others the mean is {own['f1_nonempty']:.4f}."
        )
    told: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
    for other in found["beside"]:
        gap, p = other["better"]["difference"], other["better"]["p"]
        word = "not told apart from" if p >= _SURE else "better than" if gap > 0 else "worse than"
        by = "" if p >= _SURE else f"by {abs(gap):.4f}, "
        told[word].append(f"{Path(other['name']).name} ({by}p = {p:.4f})")
    known = [f"{word} {listed(names)}" for word, names in told.items() if names]
    return f"{said} It is {'; '.join(known)}." if known else said


def _facts(run: Run, found: Mapping[str, Any]) -> Markup:
    own, calibration = found["official"], found["calibration"]
    facts = {
        "F1 of characters": _with_error(own["f1"], own["standard_error"]),
        "posts without a span": _number(own["f1_empty"]),
        "posts with one": _number(own["f1_nonempty"]),
        "posts": count(own["n"]),
    }
    if calibration:
        facts[f"calibration error, {calibration['of']}"] = f"{calibration['found']['ece']:.3f}"
    if run.facts.get("num_weights"):
        facts["weights"] = count(run.facts["num_weights"])
        facts["time of training"] = duration(run.manifest.get("wall_s") or 0.0)
    return figures_of(facts)


def _skipped(found: Mapping[str, Any]) -> list[Part]:
    told = "; ".join(f"{count(num)} {why}" for why, num in found["skipped"].items())
    return [paragraph(f"Not as they should be: {told}.", kind="warn")] if told else []


def _scores(found: Mapping[str, Any]) -> Markup:
    rows: list[tuple[str, ...]] = [("this tagger", *_cells(found["official"]))]
    head = ["", "F1", "posts without a span", "with one"]
    note = "Mean over posts, ± its standard error."
    if found["beside"]:
        rows[0] += ("", "")
        head += ["this one is better by", "p"]
        note += " Better by: mean difference per post; p: paired permutation test, two-sided."
    for other in found["beside"]:
        better = other["better"]
        gap = f"{better['difference']:+.4f}".replace("-", "−")
        error = _number(better["standard_error"])
        cells = (*_cells(other["score"]), f"{gap} ± {error}", f"{better['p']:.4f}")
        rows.append((Path(other["name"]).name, *cells))
    words = found["micro_word_f1"]
    note += f" F1 over all characters together: {found['micro_character_f1']:.4f}"
    note += "." if words is None else f"; over all words: {words:.4f}."
    return table(head, rows, "F1 of characters, the score of SemEval-2021 Task 5", note)


def _cells(score: Mapping[str, Any]) -> tuple[str, str, str]:
    whole = _with_error(score["f1"], score["standard_error"])
    return whole, _number(score["f1_empty"]), _number(score["f1_nonempty"])


def _mistakes(found: Mapping[str, Any]) -> Figure:
    rows = [(kind, num, count(num)) for kind, num in found["errors"].items()]
    alt = "Spans by kind: " + ", ".join(f"{kind} {text}" for kind, _, text in rows)
    return bars(("mistakes", "Spans by kind of mistake", alt), rows, good=("exact",))


def _kinds(found: Mapping[str, Any]) -> Markup:
    total = sum(found["errors"].values()) or 1
    rows = [
        (kind, count(num), percent(num / total), _KINDS.get(kind, ""))
        for kind, num in found["errors"].items()
    ]
    note = "Spans that overlap each other, directly or over others, count as one."
    return table(["", "number", "share", "what it is"], rows, "Kinds of mistakes", note)


def _calibration(found: Mapping[str, Any]) -> tuple[Figure, ...]:
    if not found["calibration"]:
        return ()
    of, ece = found["calibration"]["of"], found["calibration"]["found"]["ece"]
    title = f"Are {of} with a score of .9 toxic nine times in ten?"
    alt = f"Share of {of} that is toxic over their score; expected calibration error {ece:.3f}"
    return (calibration_plot(("calibration", title, alt), found["calibration"]["found"]["bins"]),)


def _bins(found: Mapping[str, Any]) -> list[Part]:
    if not found["calibration"]:
        words = "The predictions have no scores, so there is no calibration to show."
        return [paragraph(words, kind="note")]
    of, known = found["calibration"]["of"], found["calibration"]["found"]
    size = len(known["bins"])
    rows = [
        (
            f"{i / size:.1f} to {(i + 1) / size:.1f}",
            count(row["num"]),
            _number(row["score"]),
            _number(row["toxic"]),
        )
        for i, row in enumerate(known["bins"])
    ]
    what = (
        "A token is toxic if it overlaps a gold span."
        if of == "tokens"
        else "Of a span, the share of its characters that are gold counts; what is missed has none."
    )
    note = (
        f"{what} The calibration error is the mean gap between score and share,"
        f" {known['ece']:.4f}, weighted by number."
    )
    head = ["score", of, "mean score", "share that is toxic"]
    return [fold("The numbers of the calibration", table(head, rows, "Calibration", note))]


def _training(run: Run) -> list[Part]:
    path = run.folder / EPOCHS
    epochs = read_metrics(path) if path.is_file() else []
    figures = []
    loss = run.curve("loss")
    if loss:
        unit = "row" if (run.manifest.get("settings") or {}).get("loss") == "crf" else "token"
        alt = f"Loss over training, from {loss[0][1]:.3g} to {loss[-1][1]:.3g}"
        most = max(value for _, value in loss)
        figures.append(lines(("loss", "Loss", alt), [Line("", loss)], f"per {unit}", most))
    if len(epochs) > 1:
        points = tuple((float(row["step"]), float(row["f1"])) for row in epochs)
        told = ", ".join(f"{value:.4f} at step {step:g}" for step, value in points)
        what = ("dev", "F1 of characters, development set", f"After each epoch: {told}")
        figures.append(lines(what, [Line("", points)], "F1", max(f1 for _, f1 in points)))
    if not figures:
        return []
    parts: list[Part] = [heading("Training"), tuple(figures)]
    if epochs:
        best = max(epochs, key=lambda row: row["f1"])
        words = (
            f"The weights of step {count(best['step'])} are kept. They were chosen by the posts of"
            " this page, which flatters them here."
        )
        parts.append(paragraph(words))
    return parts


def _repeat(run: Run) -> Markup:
    return fold("Settings", settings_table("Settings", run.manifest.get("settings") or {}))


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f} ± {_number(error)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
