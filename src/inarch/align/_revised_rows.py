"""SEFT: from revised answers to what the policy learns, and what there is to tell of them.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  the filters and the numbers of the report are choices made here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import PositiveFloat, model_validator

from inarch.align._decode import Revised
from inarch.settings import Settings

_WORDS = re.compile(r"[^\W\u2e80-\uffff]+|\S")
"""Runs of letters and digits; every other sign, and every sign of scripts without spaces, alone."""


class FilterSettings(Settings):
    """Which rows the policy does not learn. All filters are off; empty answers always go."""

    length_ratio: tuple[PositiveFloat, PositiveFloat] | None = None
    """Least and most characters of a revision, as shares of the original's."""
    identical: bool = False
    """Leave out revisions that are the original; answers that are kept stay."""
    duplicates: bool = False
    """Of answers to several prompts that are the same text, only the first stays."""
    min_gain: float | None = None
    """Least gain in score of a revision. It needs a ``scorer``: the round then no longer does
    without annotation, and its report says so."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.length_ratio is not None and self.length_ratio[0] >= self.length_ratio[1]:
            raise ValueError(
                f"found length_ratio {self.length_ratio}, expected the lower one first"
            )
        return self


class Scores(NamedTuple):
    """What a scorer says of answers, before and after the reviser; NaN where it says nothing."""

    before: tuple[float, ...]
    after: tuple[float, ...]


def left_out(
    originals: Sequence[str],
    revised: Sequence[Revised],
    settings: FilterSettings,
    scores: Scores | None = None,
) -> list[str]:
    """Return for each row why the policy does not learn it, ``""`` where it does.

    Args:
        originals: The policy's answers.
        revised: The same after the reviser.
        settings: The filters.
        scores: Theirs; needed by ``min_gain``.
    """
    seen: set[str] = set()
    reasons = []
    for index, (original, one) in enumerate(zip(originals, revised, strict=True)):
        gain = 0.0 if scores is None else scores.after[index] - scores.before[index]
        why = _why(original, one, settings, gain)
        if not why and settings.duplicates and one.text in seen:
            why = "duplicate"
        if not why:
            seen.add(one.text)
        reasons.append(why)
    return reasons


def _why(original: str, one: Revised, settings: FilterSettings, gain: float) -> str:
    if not one.text.strip():
        return "empty answer"
    if not one.label:  # kept, or the original stands in
        return ""
    if settings.identical and one.text == original:
        return "identical revision"
    if settings.length_ratio is not None:
        low, high = (share * len(original) for share in settings.length_ratio)
        if not low <= len(one.text) <= high:
            return "length ratio"
    if settings.min_gain is not None and not gain >= settings.min_gain:
        return "score gate"
    return ""


def edit_frac(one: str, other: str) -> float:
    """Return how much of a text is changed in the other, in [0, 1].

    It is Levenshtein's distance over words, divided by the words of the longer text. A word is a
    run of letters and digits; other signs, and those of scripts without spaces, are words of their
    own. White space does not count.
    """
    a, b = _WORDS.findall(one), _WORDS.findall(other)
    if not a or not b:
        return float(a != b)
    numbers = {word: number for number, word in enumerate({*a, *b})}
    wide = np.array([numbers[word] for word in b])
    steps = np.arange(len(b) + 1)
    above = steps
    for row, word in enumerate(a, 1):
        cheapest = np.minimum(above[:-1] + (wide != numbers[word]), above[1:] + 1)
        # An insertion costs 1 more than the cell to its left, so a running minimum does them all.
        above = np.minimum.accumulate(np.concatenate([[row], cheapest]) - steps) + steps
    return float(above[-1]) / max(len(a), len(b))


def report(
    originals: Sequence[str],
    revised: Sequence[Revised],
    reasons: Sequence[str],
    names: Sequence[str],
    scores: Scores | None = None,
) -> dict[str, Any]:
    """Return what there is to tell of a round's answers, as JSON holds it.

    Args:
        originals: The policy's answers, one or more.
        revised: The same after the reviser.
        reasons: From `left_out`.
        names: The labels, the one to keep first.
        scores: Theirs, where there is a scorer.
    """
    total = len(originals)
    labels = Counter(one.label for one in revised)
    edits = [
        edit_frac(original, one.text) for original, one in zip(originals, revised, strict=True)
    ]
    return {
        "num_answers": total,
        "label_fracs": {name: labels[index] / total for index, name in enumerate(names)},
        "keep_frac": labels[0] / total,
        "failures": dict(Counter(one.failure for one in revised if one.failure)),
        "mean_edit_frac": fmean(edits),
        "left_out": dict(Counter(why for why in reasons if why)),
        "num_rows": sum(not why for why in reasons),
        **_mean_scores(scores),
    }


def _mean_scores(scores: Scores | None) -> dict[str, Any]:
    """Return the means over answers that have both scores."""
    pairs = zip(*scores, strict=True) if scores else ()
    both = [pair for pair in pairs if not any(map(math.isnan, pair))]
    if not both:
        return {"score_before": None, "score_after": None, "num_scored": 0}
    before, after = map(fmean, zip(*both, strict=True))
    return {"score_before": before, "score_after": after, "num_scored": len(both)}
