"""The difference of two models with length or style held equal, with an interval.

Both models' fits are made anew in each draw of the prompts, the same prompts for both, so that what
prompts share is not in the interval.

Source:  the paired cluster bootstrap with percentiles, over the fits of `length_control` and
         `arena_style`.
Shapes:  N = prompts that both have, D = draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError
from inarch.evaluate._resample import (
    LEVEL,
    draw_counts,
    draws_for,
    draws_p_value,
    percentiles,
)
from inarch.evaluate.alpaca._index import instruction_index
from inarch.evaluate.alpaca.length_control import (
    NUM_FOLDS,
    Gamed,
    LengthControlled,
    LengthControlSettings,
    drawn_rates,
    length_controlled,
    make_design,
)
from inarch.evaluate.alpaca.preferences import BASELINE, Judged
from inarch.evaluate.arena.battles import ArenaSettings, Battles
from inarch.evaluate.arena.style import Style, fit_with_style
from inarch.evaluate.protocol import PromptScore, Result

Floats = NDArray[np.float64]

NUM_DRAWS = 1000
MOST_DRAWS = 4000
"""Where many comparisons ask for a higher level; each draw is a fit."""


class ControlledDifference(NamedTuple):
    """A's score less B's, in percent."""

    difference: float
    lower: float
    upper: float
    n: int
    """Prompts that both have."""
    a_score: float
    b_score: float
    p_value: float
    """Two-sided, of the bootstrap's draws."""
    p_adjusted: float
    """The same for all comparisons at once."""
    c: tuple[float | None, ...] = ()
    """Strengths C of both fits; none for the baseline, which is not fitted."""


class LengthControl(NamedTuple):
    """What length control needs."""

    gamed: Gamed
    settings: LengthControlSettings


def has_lengths(result: Result) -> bool:
    """Tell whether the official gamed rows are of a result's set, and it can be fitted to them."""
    return (
        result.protocol.benchmark == "alpaca_eval2"
        and result.protocol.baseline == BASELINE
        and len(result.scores) >= NUM_FOLDS
        and all(instruction_index(row.prompt) >= 0 for row in result.scores)
        and all(None not in (row.length, row.baseline_length) for row in result.scores)
    )


def length_controlled_difference(
    a: Result, b: Result, control: LengthControl, level: float = LEVEL
) -> ControlledDifference:
    """Return the difference of two length-controlled win rates on the prompts that both have.

    The strengths C are chosen once and stay. A score is that of `inarch evaluate alpaca` where both
    have all instructions, all with a preference.

    Args:
        a: Of AlpacaEval 2, with lengths.
        b: The same.
        control: The gamed rows, and how the regression is fitted.
        level: Of the interval.

    Raises:
        DataError: A result has no lengths, or a prompt is none of the gamed file's.
    """
    shared = {row.prompt for row in a.scores} & {row.prompt for row in b.scores}
    order = [row.prompt for row in a.scores if row.prompt in shared]
    counts_DN = draw_counts(len(order), draws_for(level, NUM_DRAWS, MOST_DRAWS))
    found: list[LengthControlled] = []
    drawn: list[Floats] = []
    for result in (a, b):
        row_of = {row.prompt: row for row in result.scores}
        judged = _judged(result, [row_of[prompt] for prompt in order])
        whole = length_controlled(judged, control.gamed, control.settings)
        found.append(whole)
        if whole.c is None:
            drawn.append(np.full(len(counts_DN), whole.win_rate))
        else:
            design = make_design(judged, control.gamed)
            drawn.append(drawn_rates(design, whole.c, counts_DN))
    scores = found[0].win_rate, found[1].win_rate
    strengths = tuple(one.c for one in found)
    return _difference(scores, drawn[0] - drawn[1], len(order), level)._replace(c=strengths)


def style_controlled_difference(
    battles: Battles,
    styles: Mapping[tuple[str, str], Style],
    settings: ArenaSettings,
    models: tuple[str, str],
) -> ControlledDifference:
    """Return the difference of two Arena-Hard scores with style held equal.

    Args:
        battles: Of both models, and of any others: coefficients of style are shared.
        styles: Counts of all answers, the baseline's too.
        settings: What is held equal; prompts are drawn.
        models: A and B.

    Raises:
        DataError: There are no battles of one, or what is wrong for `score_with_style`.
    """
    found = fit_with_style(battles, styles, settings)
    absent = [model for model in models if model not in found.models]
    if absent:
        raise DataError(f"found battles of {', '.join(found.models)}, none of {', '.join(absent)}")
    one, other = map(found.models.index, models)
    prompts = [
        {q for q, m in zip(battles.prompts, battles.models, strict=True) if m == model}
        for model in models
    ]
    return _difference(
        (float(found.score_M[one]), float(found.score_M[other])),
        found.drawn_DM[:, one] - found.drawn_DM[:, other],
        len(prompts[0] & prompts[1]),
        LEVEL,
    )


def _difference(
    scores: tuple[float, float], drawn_D: Floats, num_prompts: int, level: float
) -> ControlledDifference:
    lower, upper = percentiles(drawn_D, level)
    p_value = draws_p_value(drawn_D)
    return ControlledDifference(
        scores[0] - scores[1], lower, upper, num_prompts, *scores, p_value, p_value
    )


def _judged(result: Result, rows: list[PromptScore]) -> Judged:
    """Return judgments as length control reads them."""
    if result.protocol.benchmark != "alpaca_eval2":
        raise DataError(
            f"{result.model}: found a result of {result.protocol.benchmark}; gamed rows are for"
            " AlpacaEval 2: leave --gamed out"
        )
    lengths = [(row.baseline_length, row.length) for row in rows]
    if any(length is None for pair in lengths for length in pair):
        raise DataError(
            f"{result.model}: found prompts without lengths; score the annotations again: inarch"
            " evaluate alpaca --annotations FILE --out DIR"
        )
    lengths_N2 = np.array(lengths, np.float64)
    return Judged(
        preference_N=1 + np.array([row.score for row in rows]) / 100,
        baseline_chars_N=lengths_N2[:, 0],
        model_chars_N=lengths_N2[:, 1],
        index_N=np.array([instruction_index(row.prompt) for row in rows], np.int64),
        prompts=tuple(row.prompt for row in rows),
        datasets=tuple(row.category for row in rows),
        where=tuple(f"{result.model}: prompt {row.prompt}" for row in rows),
        model=result.model,
        baseline=result.protocol.baseline,
        annotator=result.protocol.judge,
        is_baseline=result.model == result.protocol.baseline,
    )
