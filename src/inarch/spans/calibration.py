"""Do scores mean what they say? Of what has a score near s, a share of s should be toxic.

ECE = sum over bins of count / N * |mean score - share that is toxic|, bins of equal width.

Source:   reliability diagrams and the expected calibration error, arXiv:1706.04599, section 2.
Shapes:   N = tokens or spans.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inarch.spans.metric import Offsets

NUM_BINS = 10
Scored = tuple[int, int, float]
"""Start, end and score of a span."""


class Bin(NamedTuple):
    """What has a score in ``[i / num_bins, (i + 1) / num_bins)``; the last bin has 1 too."""

    num: int
    score: float | None
    """Mean, in [0, 1]; None if there is nothing."""
    toxic: float | None
    """Share that is toxic, in [0, 1]; None if there is nothing."""


class Reliability(NamedTuple):
    """What is toxic, by score."""

    ece: float
    """Expected calibration error, in [0, 1]; 0 for nothing at all."""
    bins: tuple[Bin, ...]


def reliability(scores_N: ArrayLike, toxic_N: ArrayLike, num_bins: int = NUM_BINS) -> Reliability:
    """Return how far scores are from shares.

    Args:
        scores_N: In [0, 1], ``[N]``.
        toxic_N: Whether each is toxic, or which share of it is, in [0, 1], ``[N]``.
        num_bins: Of equal width.
    """
    scores, toxic = np.asarray(scores_N, np.float64), np.asarray(toxic_N, np.float64)
    place = np.minimum((scores * num_bins).astype(np.int64), num_bins - 1)
    bins, ece = [], 0.0
    for number in range(num_bins):
        inside = place == number
        if not inside.any():
            bins.append(Bin(0, None, None))
            continue
        score, share = float(scores[inside].mean()), float(toxic[inside].mean())
        bins.append(Bin(int(inside.sum()), score, share))
        ece += inside.sum() / len(scores) * abs(score - share)
    return Reliability(float(ece), tuple(bins))


def span_reliability(spans: Sequence[Iterable[Scored]], gold: Sequence[Offsets]) -> Reliability:
    """Return how far the scores of spans are from the share of their characters that is toxic.

    Args:
        spans: Per post.
        gold: Toxic characters per post.
    """
    scores, shares = [], []
    for row, wanted in zip(spans, map(set, gold), strict=True):
        for start, end, score in row:
            scores.append(score)
            shares.append(len(wanted.intersection(range(start, end))) / (end - start))
    return reliability(scores, shares)
