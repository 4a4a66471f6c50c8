"""Intervals and p-values by draws of prompts: all that is known of a prompt is drawn together.

Rows of one prompt (two games, two turns, a verdict that counts three times) stand or fall together;
drawing rows claims more evidence than there is: on Arena-Hard's published battles 1.27 points where
prompts give 2.05.

Source:  the cluster bootstrap with percentiles; the paired permutation test; Holm, "A Simple
         Sequentially Rejective Multiple Test Procedure", 1979.
Shapes:  D = draws, N = rows, Q = prompts; 2 = both models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_DRAWS = 2000
MOST_DRAWS = 20_000
NUM_SWAPS = 10_000
LEVEL = 0.95
FEWEST = 20
"""Prompts; an interval over fewer is too narrow, of a single one it has no width."""
_TOGETHER = 1000
"""Draws that are in memory at once."""


def draw_counts(num_prompts: int, num_draws: int = NUM_DRAWS, seed: int = 42) -> Floats:
    """Return how often each prompt is drawn, ``[D, Q]``; each draw has as many as there are."""
    random = np.random.default_rng(seed)
    counts_DQ = np.empty((num_draws, num_prompts))
    for counts_Q in counts_DQ:
        counts_Q[:] = np.bincount(random.integers(num_prompts, size=num_prompts), None, num_prompts)
    return counts_DQ


def draws_for(level: float, least: int = NUM_DRAWS, most: int = MOST_DRAWS) -> int:
    """Return how many draws tell bounds of a level: ten or more beyond each bound."""
    return int(np.clip(np.ceil(2 * 10 / (1 - level)), least, most))


def totals(index_N: NDArray[np.int64], value_N: Floats, num_prompts: int) -> Floats:
    """Return the sum of the values of each prompt, ``[Q]``."""
    return np.asarray(np.bincount(index_N, value_N, minlength=num_prompts), np.float64)


def weighted_means(sums_Q: Floats, weights_Q: Floats, counts_DQ: Floats) -> Floats:
    """Return the mean of each draw: drawn sums over drawn weights, ``[D]``; NaN without weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts_DQ @ sums_Q) / (counts_DQ @ weights_Q)


def percentiles(drawn_D: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the bounds between which a share of the draws lies, NaN left out."""
    lower, upper = np.nanquantile(drawn_D, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def swap_p_value(sums_2Q: Floats, weights_2Q: Floats, num_draws: int = NUM_SWAPS) -> float:
    """Return how often two means differ as much where prompts swap sides by chance; two-sided.

    If neither model is better, each prompt's scores might as well be the other's.

    Args:
        sums_2Q: Scores times weights of both models.
        weights_2Q: What each prompt weighs in their means.
        num_draws: How often all prompts are swapped or not, each by the toss of a coin; in
            thousands.
    """
    means = sums_2Q.sum(1) / weights_2Q.sum(1)
    bound = abs(means[0] - means[1]) * (1 - 1e-9)
    random = np.random.default_rng(42)
    gain_Q2 = np.stack([sums_2Q[1] - sums_2Q[0], weights_2Q[1] - weights_2Q[0]], axis=1)
    num_beyond = 0
    for _ in range(0, num_draws, _TOGETHER):
        swap_DQ = random.integers(0, 2, size=(_TOGETHER, len(gain_Q2)), dtype=np.int8)
        sums_D, weights_D = (swap_DQ @ gain_Q2).T
        one_D = (sums_2Q[0].sum() + sums_D) / (weights_2Q[0].sum() + weights_D)
        other_D = (sums_2Q[1].sum() - sums_D) / (weights_2Q[1].sum() - weights_D)
        num_beyond += int((np.abs(one_D - other_D) >= bound).sum())
    return (1 + num_beyond) / (1 + num_draws)


def draws_p_value(drawn_D: Floats) -> float:
    """Return the two-sided p-value that a bootstrap's draws give for a difference of 0."""
    least = min(int((drawn_D <= 0).sum()), int((drawn_D >= 0).sum()))
    return min(1.0, 2 * (1 + least) / (1 + len(drawn_D)))


def holm(p_values: Sequence[float], num_comparisons: int) -> list[float]:
    """Return p-values that hold for all comparisons at once, in their order.

        max over i <= j of (m - i + 1) p_(i), with p_(1) the least

    Args:
        p_values: Those that are known.
        num_comparisons: All, m; those that are not known may be the least.
    """
    order = np.argsort(p_values, kind="stable")
    factors = num_comparisons - np.arange(len(p_values))
    raised = np.minimum(1.0, np.maximum.accumulate(factors * np.array(p_values)[order]))
    found = np.empty(len(p_values))
    found[order] = raised
    return [float(p) for p in found]
