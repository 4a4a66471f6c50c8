"""Intervals by a bootstrap over prompts: all that is known of a prompt is drawn together.

Source:  the cluster bootstrap with percentiles. Rows of one prompt (two games, two turns, a verdict
         that counts three times) stand or fall together, so that drawing rows claims more evidence
         than there is: on Arena-Hard's published battles 1.27 points where prompts give 2.05.
Shapes:  D = draws, N = rows, Q = prompts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_DRAWS = 2000
LEVEL = 0.95


def draw_counts(num_prompts: int, num_draws: int = NUM_DRAWS, seed: int = 42) -> Floats:
    """Return how often each prompt is drawn, ``[D, Q]``; each draw has as many as there are."""
    even = np.full(num_prompts, 1 / num_prompts)
    counts = np.random.default_rng(seed).multinomial(num_prompts, even, size=num_draws)
    return counts.astype(np.float64)


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
