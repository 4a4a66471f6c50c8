"""Two models under one protocol, prompt by prompt: the difference and how sure it is.

Prompts differ more than models do. Drawing prompts with both models' scores on them keeps that out
of the interval of the difference, where two intervals laid side by side keep it in.

Source:  the paired cluster bootstrap with percentiles; Bonferroni's bound for several candidates.
Shapes:  Q = prompts that both have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import PositiveInt

from inarch.errors import DataError, SettingsError
from inarch.evaluate._resample import LEVEL, draw_counts, percentiles, weighted_means
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, differences, mean_score
from inarch.settings import Settings

logger = logging.getLogger(__name__)


class CompareSettings(Settings):
    """What is compared with what."""

    any_protocol: bool = False
    """Compare results whose protocol records differ."""
    candidates: PositiveInt = 1
    """Models among which the better one was chosen: with many, one looks better by chance, so the
    interval is widened to hold for all of them at once."""


class Difference(NamedTuple):
    """A's score less B's, with a bootstrap interval."""

    difference: float
    lower: float
    upper: float
    n: int
    """Prompts that both have."""


class Comparison(NamedTuple):
    """A against B."""

    a: str
    b: str
    a_score: float
    """Over the prompts that both have."""
    b_score: float
    whole: Difference
    by_category: Mapping[str, Difference]
    """Empty where there are fewer than two categories."""
    level: float
    """Of the intervals."""
    num_left_out: int
    """Prompts that only one has."""
    protocols: tuple[ProtocolRecord, ProtocolRecord]
    """What the scores of A and B are."""

    def numbers(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        parts = {name: part._asdict() for name, part in self.by_category.items()}
        rest = {"level": self.level, "n_left_out": self.num_left_out}
        names = {"a": self.a, "b": self.b, "a_score": self.a_score, "b_score": self.b_score}
        return names | self.whole._asdict() | rest | {"by_category": parts}


def compare(a: Result, b: Result, settings: CompareSettings) -> Comparison:
    """Return how much better A is than B on the prompts that both have.

    Raises:
        SettingsError: Their protocols differ, and that is not asked for.
        DataError: They have no prompt in common.
    """
    differing = differences(a.protocol, b.protocol)
    if differing and not settings.any_protocol:
        raise SettingsError(
            f"{a.model} and {b.model} are scored by different protocols ({'; '.join(differing)}),"
            " so their scores do not mean the same; score both by one, or give --any-protocol"
        )
    if differing:
        logger.warning("the protocols differ: %s", "; ".join(differing))
    if settings.candidates > 1:
        logger.warning(
            "the best of %d candidates looks better than it is: the interval is widened to hold for"
            " all at once; judge the winner again on new prompts",
            settings.candidates,
        )
    other = {row.prompt: row for row in b.scores}
    pairs = [(row, other[row.prompt]) for row in a.scores if row.prompt in other]
    if not pairs:
        raise DataError(
            f"{a.model} has {len(a.scores)} prompts and {b.model} {len(b.scores)}, none of them"
            " in common; score both on the same prompts"
        )
    num_left_out = len(a.scores) + len(b.scores) - 2 * len(pairs)
    if num_left_out:
        logger.warning("%d prompts that only one of the two has are left out", num_left_out)
    level = 1 - (1 - LEVEL) / settings.candidates
    categories = dict.fromkeys(row.category for row, _ in pairs)
    return Comparison(
        a=a.model,
        b=b.model,
        a_score=mean_score([row for row, _ in pairs]),
        b_score=mean_score([row for _, row in pairs]),
        whole=_difference(pairs, level),
        by_category={
            name: _difference([pair for pair in pairs if pair[0].category == name], level)
            for name in categories
        }
        if len(categories) > 1
        else {},
        level=level,
        num_left_out=num_left_out,
        protocols=(a.protocol, b.protocol),
    )


def _difference(pairs: Sequence[tuple[PromptScore, PromptScore]], level: float) -> Difference:
    counts_DQ = draw_counts(len(pairs))
    drawn = []
    for side in (0, 1):
        weights_Q = np.array([pair[side].weight for pair in pairs])
        sums_Q = weights_Q * [pair[side].score for pair in pairs]
        drawn.append(weighted_means(sums_Q, weights_Q, counts_DQ))
    mine, other = (mean_score([pair[side] for pair in pairs]) for side in (0, 1))
    lower, upper = percentiles(drawn[0] - drawn[1], level)
    return Difference(mine - other, lower, upper, len(pairs))
