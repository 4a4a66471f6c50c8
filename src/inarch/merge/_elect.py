"""Sign election: of the models' changes of an element, only those of the stronger sign count.

Shapes: K = models, N = elements of a part.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from inarch.compiled import compiled
from inarch.merge._stack import Array, namespace

BLOCK = 2048
"""Elements whose running sums stay in the nearest cache."""


class Election(NamedTuple):
    """How the changes of an element become one."""

    weights: tuple[float, ...]
    """Of the models, ``[K]``."""
    votes: Literal["weighted", "plain"]
    """A model votes with its weighted change, or with the change as it is."""
    normalize: bool
    """Divide by the sum of the weights that agree."""
    least: float = 0.0
    """That sum counts as at least this; where 0, only a sum of zero is left out."""


def elect(deltas_KN: Array, election: Election) -> Array:
    """Return the merged change ``[N]``.

    With votes ``u_k = w_k d_k`` (or ``d_k``), the elected sign is that of ``sum_k u_k``, plus where
    the sum is zero. The result is ``sum w_k d_k`` over the models with votes of that sign, divided
    by the sum of their ``w_k`` if ``normalize``. A change of zero has no sign and no weight; where
    nobody agrees, the result is 0.

    Args:
        deltas_KN: Changes against the base, ``[K, N]``, masked where the method masks.
        election: The rules.
    """
    if isinstance(deltas_KN, np.ndarray) and _elect_compiled is not None:
        merged_N = np.empty(deltas_KN.shape[1], np.float32)
        _elect_compiled(
            deltas_KN,
            np.array(election.weights, np.float32),
            election.votes == "weighted",
            election.normalize,
            np.float32(election.least),
            merged_N,
        )
        return merged_N
    return _elect_plain(deltas_KN, election)


def _elect_plain(deltas_KN: Array, election: Election) -> Array:
    xp = namespace(deltas_KN)
    total_N = xp.zeros_like(deltas_KN[0])
    up_N, down_N, up_weight_N, down_weight_N = (xp.zeros_like(total_N) for _ in range(4))
    for delta_N, weight in zip(deltas_KN, election.weights, strict=True):
        value_N = delta_N * weight
        vote_N = value_N if election.votes == "weighted" else delta_N
        total_N += vote_N
        up_N += xp.where(vote_N > 0, value_N, 0.0)
        down_N += xp.where(vote_N < 0, value_N, 0.0)
        weight_1 = xp.ones_like(delta_N[:1]) * weight
        up_weight_N += xp.where(vote_N > 0, weight_1, 0.0)
        down_weight_N += xp.where(vote_N < 0, weight_1, 0.0)
    merged_N = xp.where(total_N >= 0, up_N, down_N)
    if not election.normalize:
        return merged_N
    share_N = xp.where(total_N >= 0, up_weight_N, down_weight_N)
    if election.least > 0:
        return merged_N / xp.clip(share_N, election.least, None)
    return merged_N / xp.where(share_N == 0, 1.0, share_N)


def _elect_loop(
    deltas_KN: Any, weights_K: Any, weighted: Any, normalize: Any, least: Any, merged_N: Any
) -> None:
    zero, one = np.float32(0), np.float32(1)
    size = merged_N.size
    sums = np.empty((5, BLOCK), np.float32)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        sums[:] = zero
        for k in range(weights_K.size):
            weight = weights_K[k]
            delta_N = deltas_KN[k, start : start + n]
            for i in range(n):
                value = delta_N[i] * weight
                vote = value if weighted else delta_N[i]
                sums[0, i] += vote
                sums[1, i] += value if vote > zero else zero
                sums[2, i] += value if vote < zero else zero
                sums[3, i] += weight if vote > zero else zero
                sums[4, i] += weight if vote < zero else zero
        out_N = merged_N[start : start + n]
        for i in range(n):
            is_up = sums[0, i] >= zero
            merged = sums[1, i] if is_up else sums[2, i]
            share = sums[3, i] if is_up else sums[4, i]
            share = max(share, least) if least > zero else (one if share == zero else share)
            out_N[i] = merged / share if normalize else merged


_elect_compiled = compiled(_elect_loop)
