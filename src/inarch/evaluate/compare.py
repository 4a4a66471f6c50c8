"""Two models under one protocol, prompt by prompt: the difference and how sure it is.

Prompts differ more than models do. Drawing prompts with both models' scores on them keeps that out
of the interval of the difference, where two intervals laid side by side keep it in.

Source:  the paired cluster bootstrap with percentiles, and the paired permutation test; for several
         candidates Bonferroni's bound for intervals and Holm's for p-values.
Shapes:  Q = prompts that both have; 2 = A and B; D = draws.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from inarch.errors import DataError, SettingsError
from inarch.evaluate._resample import (
    FEWEST,
    LEVEL,
    draw_counts,
    draws_for,
    holm,
    percentiles,
    swap_p_value,
    weighted_means,
)
from inarch.evaluate.controlled import (
    ControlledDifference,
    LengthControl,
    length_controlled_difference,
)
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, differences, mean_score
from inarch.io.progress import track
from inarch.settings import Settings

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[PromptScore, PromptScore]]
"""A's and B's scores on the prompts that both have."""


class CompareSettings(Settings):
    """What is compared with what."""

    any_protocol: bool = False
    """Compare results whose protocol records differ."""
    candidates: PositiveInt = 1
    """Comparisons made in all, those not given here too: among many, one looks better by chance, so
    intervals are widened and p-values raised to hold for all of them at once."""


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
    p_value: float
    """Two-sided, of no difference: how often it is as large if prompts swap sides by chance."""
    p_adjusted: float
    """The same for all comparisons at once, by Holm's method."""
    by_category: Mapping[str, Difference]
    """Empty where there are fewer than two categories; not widened for their number."""
    level: float
    """Of the intervals."""
    num_candidates: int
    """Comparisons that the intervals and the adjusted p-values hold for at once."""
    num_left_out: int
    """Prompts that only one has."""
    protocols: tuple[ProtocolRecord, ProtocolRecord]
    """What the scores of A and B are."""
    controlled: ControlledDifference | None = None
    """Of length-controlled win rates."""

    def numbers(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        parts = {name: part._asdict() for name, part in self.by_category.items()}
        names = {"a": self.a, "b": self.b, "a_score": self.a_score, "b_score": self.b_score}
        sure = {"p_value": self.p_value, "p_adjusted": self.p_adjusted, "level": self.level}
        counts = {"n_candidates": self.num_candidates, "n_left_out": self.num_left_out}
        controlled = self.controlled and {"length_controlled": self.controlled._asdict()}
        rest = counts | {"by_category": parts} | (controlled or {})
        return names | self.whole._asdict() | sure | rest


def compare_all(
    a: Result,
    others: Sequence[Result],
    settings: CompareSettings,
    control: LengthControl | None = None,
) -> list[Comparison]:
    """Return how much better A is than each of the others.

    Args:
        a: One model.
        others: Those that it is compared with.
        settings: How many comparisons there are in all, at least those given.
        control: For the difference with lengths held equal, too.

    Raises:
        SettingsError: Protocols differ, and that is not asked for; or fewer comparisons are
            claimed than are made.
        DataError: Two have no prompt in common, or length control lacks what it needs.
    """
    if settings.candidates < len(others):
        raise SettingsError(
            f"found {len(others)} comparisons and candidates: {settings.candidates}; expected as"
            " many or more, for those that are not shown count too"
        )
    if settings.candidates > 1:
        logger.warning(
            "%d comparisons: the best of %d candidates looks better than it is, so intervals are"
            " widened (Bonferroni) and p-values raised (Holm) to hold for all at once; judge the"
            " winner again on new prompts",
            settings.candidates,
            settings.candidates,
        )
    found = [compare(a, other, settings) for other in others]
    raised = holm([one.p_value for one in found], settings.candidates)
    found = [one._replace(p_adjusted=p) for one, p in zip(found, raised, strict=True)]
    return _controlled(found, a, others, control) if control else found


def compare(a: Result, b: Result, settings: CompareSettings) -> Comparison:
    """Return how much better A is than B on the prompts that both have.

    Its adjusted p-value is Bonferroni's, as the other comparisons are not known.

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
    pairs = _shared(a, b)
    num_left_out = len(a.scores) + len(b.scores) - 2 * len(pairs)
    if num_left_out:
        logger.warning("%d prompts that only one of the two has are left out", num_left_out)
    if len(pairs) < FEWEST:
        logger.warning("intervals over %d prompts are too narrow; score more", len(pairs))
    level = 1 - (1 - LEVEL) / settings.candidates
    categories = dict.fromkeys(row.category for row, _ in pairs)
    weights_2Q, sums_2Q = _weights_and_sums(pairs)
    p_value = swap_p_value(sums_2Q, weights_2Q)
    return Comparison(
        a=a.model,
        b=b.model,
        a_score=mean_score([row for row, _ in pairs]),
        b_score=mean_score([row for _, row in pairs]),
        whole=difference(pairs, level),
        p_value=p_value,
        p_adjusted=min(1.0, settings.candidates * p_value),
        by_category={
            name: difference([pair for pair in pairs if pair[0].category == name], level)
            for name in categories
        }
        if len(categories) > 1
        else {},
        level=level,
        num_candidates=settings.candidates,
        num_left_out=num_left_out,
        protocols=(a.protocol, b.protocol),
    )


def _controlled(
    found: Sequence[Comparison], a: Result, others: Sequence[Result], control: LengthControl
) -> list[Comparison]:
    """Return comparisons with the differences at equal length."""
    level, candidates = found[0].level, found[0].num_candidates
    parts = []
    with track("length control", len(others), "comparisons") as advance:
        for other in others:
            parts.append(length_controlled_difference(a, other, control, level))
            advance(1)
    raised = holm([part.p_value for part in parts], candidates)
    return [
        one._replace(controlled=part._replace(p_adjusted=p))
        for one, part, p in zip(found, parts, raised, strict=True)
    ]


def _shared(a: Result, b: Result) -> Pairs:
    other = {row.prompt: row for row in b.scores}
    pairs = [(row, other[row.prompt]) for row in a.scores if row.prompt in other]
    if not pairs:
        raise DataError(
            f"{a.model} has {len(a.scores)} prompts and {b.model} {len(b.scores)}, none of them"
            " in common; score both on the same prompts"
        )
    return pairs


def difference(pairs: Pairs, level: float, counts_DQ: Floats | None = None) -> Difference:
    """Return the first scores' mean less the others', with an interval of a level.

    Args:
        pairs: At least one.
        level: Of the interval.
        counts_DQ: How often each draw has each prompt; by default as many draws as the level needs.
    """
    if counts_DQ is None:
        counts_DQ = draw_counts(len(pairs), draws_for(level))
    weights_2Q, sums_2Q = _weights_and_sums(pairs)
    one_D, other_D = (
        weighted_means(sums_Q, weights_Q, counts_DQ)
        for sums_Q, weights_Q in zip(sums_2Q, weights_2Q, strict=True)
    )
    mine, other = (mean_score([pair[side] for pair in pairs]) for side in (0, 1))
    return Difference(mine - other, *percentiles(one_D - other_D, level), len(pairs))


def _weights_and_sums(pairs: Pairs) -> tuple[Floats, Floats]:
    """Return what each prompt weighs in both means, and that times its scores, ``[2, Q]``."""
    weights_2Q = np.array([[row.weight for row in pair] for pair in pairs], np.float64).T
    scores_2Q = np.array([[row.score for row in pair] for pair in pairs], np.float64).T
    return weights_2Q, weights_2Q * scores_2Q
