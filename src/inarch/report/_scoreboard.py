"""The demo's scores as plots and tables: who knows what before, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inarch.report import _verdict as verdict
from inarch.report._fuse import models_table
from inarch.report._html import Markup, table, tag
from inarch.report._page import Part, fold, heading, paragraph, slug
from inarch.report._results import Results
from inarch.report._svg import Figure, Row, dots, heat
from inarch.report._words import points, signed


def knowledge(results: Results) -> list[Part]:
    """Return what the models are, and which of them knows which skill before anything is fused."""
    names, skills = [model.name for model in results.models], results.skills
    known = [
        [verdict.mean(results.over_seeds(name, skill, "piece_frac")) for skill in skills]
        for name in names
    ]
    alt = "Heat map of pieces right, in per cent. " + "; ".join(
        f"{name}: " + ", ".join(map(_told, skills, row))
        for name, row in zip(names, known, strict=True)
    )
    title = "Pieces of the answers right, %"
    rows = [(n, *(score_cell(results, n, skill, "piece_frac") for skill in skills)) for n in names]
    numbers = table(["model", *skills], rows, f"Pieces right, %{seeds_of(results)}")
    return [
        heading("Who knows what before fusion"),
        models_table(results.models),
        (heat(("knowledge", title, alt), names, skills, known),),
        fold("The numbers", numbers),
    ]


def outcome(results: Results) -> list[Part]:
    """Return plots of all variants on every skill, of their mean, and of the paired differences."""
    told = results.facts
    noise = f", in which {told['noise']:.0%} of the pieces are wrong," if "noise" in told else ""
    return [
        heading("After training on the same corpus"),
        paragraph(
            f"Each dot is a seed, the bar their mean. The corpus{noise} is the same for all, and "
            "so is the order of its rows."
        ),
        (*(_skill_figure(results, s) for s in (*results.skills, "")), *_gain_figure(results)),
    ]


def every_number(results: Results) -> list[Part]:
    """Return a table per skill, and one of the mean over the skills."""
    return [heading("Every number"), *(_skill_table(results, s) for s in (*results.skills, ""))]


def _listed(results: Results) -> dict[str, str]:
    """Return the target as it was and the variants, with the names of their rows."""
    target = {m.name: f"{m.name}, before" for m in results.models if m.role == "target"}
    return target | {key: variant.label for key, variant in results.variants.items()}


def _drawn(results: Results) -> dict[str, str]:
    """Return those of a plot: merges have a section of their own."""
    merges = results.keys("merge")
    return {key: label for key, label in _listed(results).items() if key not in merges}


def _skill_figure(results: Results, skill: str) -> Figure:
    rows = [
        Row(
            label,
            tuple(100 * v for v in results.over_seeds(key, skill, "piece_frac").values()),
            strong=key in results.keys("fusion"),
        )
        for key, label in _drawn(results).items()
    ]
    title = f"{skill or 'Mean of the skills'}: pieces right, %"
    return dot_plot(f"pieces-{slug(skill or 'mean')}", title, rows, (0.0, 100.0), "{:.0f}".format)


def _gain_figure(results: Results) -> tuple[Figure, ...]:
    """Return the paired differences to the baseline, where there are any."""
    rows = [
        Row(
            variant.label,
            tuple(100 * gain for gain in results.gains(key, "").values()),
            strong=variant.kind == "fusion",
        )
        for key, variant in results.variants.items()
        if variant.kind not in ("baseline", "merge")
    ]
    values = [value for row in rows for value in row.values]
    if not values:
        return ()
    extent = (min(0.0, *values) - 1, max(0.0, *values) + 1)
    return (dot_plot("gains", "Difference to plain training, points", rows, extent, signed),)


def dot_plot(
    name: str,
    title: str,
    rows: list[Row],
    extent: tuple[float, float],
    form: Callable[[float], str],
) -> Figure:
    """Return a plot of the rows that have values; the alternative text tells their means."""
    there = [row for row in rows if row.values]
    alt = f"{title}. Means over seeds: " + ", ".join(
        f"{row.name} {form(sum(row.values) / len(row.values))}" for row in there
    )
    return dots((name, title, alt), there, extent, form)


def _skill_table(results: Results, skill: str) -> Markup:
    compared = results.variants.keys() - {results.baseline}
    rows = [
        (
            label,
            score_cell(results, key, skill, "piece_frac"),
            gain_cell(results.gains(key, skill) if key in compared else {}),
            score_cell(results, key, skill, "exact_frac"),
            score_cell(results, key, skill, "bits_per_byte"),
        )
        for key, label in _listed(results).items()
    ]
    head = ["target", "pieces right, %", "against plain", "whole answers, %", "bits per byte"]
    return table(head, rows, f"{skill or 'Mean of the skills'}{seeds_of(results)}")


def gain_cell(gains: Mapping[int, float], with_spread: bool = True) -> object:
    """Return a paired difference in points as a cell of a table."""
    value, sd = verdict.mean(gains), verdict.spread(gains) if with_spread else None
    if value is None:
        return "–"
    text = points(value) + ("" if sd is None else f" ± {100 * sd:.1f}")
    return tag("b", text, class_="plus" if value > 0 else "minus" if value < 0 else None)


def score_cell(results: Results, key: str, skill: str, metric: str) -> str:
    """Return mean and spread over seeds as a cell of a table."""
    values = results.over_seeds(key, skill, metric)
    value, sd = verdict.mean(values), verdict.spread(values)
    if value is None:
        return "–"
    scale, digits = (1, 3) if metric == "bits_per_byte" else (100, 1)
    return f"{scale * value:.{digits}f}" + ("" if sd is None else f" ± {scale * sd:.{digits}f}")


def seeds_of(results: Results) -> str:
    """Return what a caption says about the seeds."""
    num = len(results.seeds)
    return f" (mean ± standard deviation over {num} seeds)" if num > 1 else " (one seed)"


def _told(skill: str, share: float | None) -> str:
    return f"{skill} {'unknown' if share is None else signed(100 * share, 0).lstrip('+')}"
