"""The chain in numpy, for where a model runs without torch: marginals and the best path.

What it computes is defined in `inarch.spans.crf`, with which it is compared.

Shapes: B = rows, T = padded length, K = tags.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Lengths = NDArray[np.int64]


class Chain(NamedTuple):
    """See `inarch.spans.crf.Potentials`."""

    start_K: Floats
    transitions_KK: Floats
    end_K: Floats


class ChainMarginals(NamedTuple):
    """Log-probabilities; behind the last token of a row they mean nothing."""

    tags_BTK: Floats
    pairs_BTKK: Floats
    """Of tags t and t + 1, ``[B, T - 1, K, K]``."""


def marginals(scores_BTK: NDArray[np.floating], lengths_B: Lengths, chain: Chain) -> ChainMarginals:
    """Return the log-marginals of tags and of pairs of neighbours.

    Args:
        scores_BTK: Emissions; T is at least 1.
        lengths_B: Tokens of each row, at least 1.
        chain: Potentials.
    """
    start_K, way_KK, end_K = chain
    steps_TBK = np.asarray(scores_BTK, np.float64).transpose(1, 0, 2)
    length = len(steps_TBK)
    forward_TBK, backward_TBK = np.empty_like(steps_TBK), np.empty_like(steps_TBK)
    forward_TBK[0] = steps_TBK[0] + start_K
    for t in range(1, length):
        moved_BKK = forward_TBK[t - 1][:, :, None] + way_KK
        forward_TBK[t] = np.logaddexp.reduce(moved_BKK, axis=1) + steps_TBK[t]
    backward_TBK[-1] = end_K
    for t in range(length - 2, -1, -1):
        ahead_BK = steps_TBK[t + 1] + backward_TBK[t + 1]
        moved_BK = np.logaddexp.reduce(way_KK + ahead_BK[:, None], axis=2)
        backward_TBK[t] = np.where((t + 1 < lengths_B)[:, None], moved_BK, end_K)
    unary_TBK = forward_TBK + backward_TBK
    log_z_B1 = np.logaddexp.reduce(unary_TBK[0], axis=1)[:, None]
    arrive_TBK = (steps_TBK + backward_TBK)[1:]
    pairs_TBKK = forward_TBK[:-1, :, :, None] + way_KK + arrive_TBK[:, :, None]
    return ChainMarginals(
        (unary_TBK - log_z_B1).transpose(1, 0, 2),
        (pairs_TBKK - log_z_B1[..., None]).transpose(1, 0, 2, 3),
    )


def best_tags(
    scores_BTK: NDArray[np.floating], lengths_B: Lengths, chain: Chain
) -> NDArray[np.int64]:
    """Return the most probable tags, ``[B, T]``; of equals the lowest. See `marginals`."""
    start_K, way_KK, end_K = chain
    steps_TBK = np.asarray(scores_BTK, np.float64).transpose(1, 0, 2)
    length, num_rows, _ = steps_TBK.shape
    row_B = np.arange(num_rows)
    best_TBK, back_TBK = np.empty_like(steps_TBK), np.zeros(steps_TBK.shape, np.int64)
    best_TBK[0] = steps_TBK[0] + start_K
    for t in range(1, length):
        ways_BKK = best_TBK[t - 1][:, :, None] + way_KK
        back_TBK[t] = ways_BKK.argmax(1)
        best_TBK[t] = ways_BKK.max(1) + steps_TBK[t]
    last_B = (best_TBK[lengths_B - 1, row_B] + end_K).argmax(1)
    tags_BT = np.zeros((num_rows, length), np.int64)
    for t in range(length - 1, -1, -1):
        if t + 1 < length:
            before_B = back_TBK[t + 1, row_B, tags_BT[:, t + 1]]
            tags_BT[:, t] = np.where(t + 1 < lengths_B, before_B, last_B)
        else:
            tags_BT[:, t] = last_B
    return tags_BT
