"""Arcee Fusion: take from the other model what changed most, by an outlier's threshold.

Source:   Arcee, "Meet MergeKit v0.1" (arcee.ai/blog), and mergekit, "arcee_fusion".
Differs:  the divergence of two rows that hardly differ is computed without the cancellation that
          leaves rounding, even negative numbers, in float32.

Shapes: N = elements of a part, V = rows of a part, I = elements of a row.
"""

from collections.abc import Callable
from math import prod

import numpy as np

from inarch.merge._select import cuts
from inarch.merge._settings import require
from inarch.merge._stack import Array, Part, Rule, Stack, namespace
from inarch.settings import Settings

REACH = 1.5
"""The threshold is so many distances between the quartiles above the median."""


class ArceeFusionSettings(Settings):
    """Nothing can be set."""


def arcee_fusion(stack: Stack, settings: ArceeFusionSettings) -> Rule:
    """Return the rule ``other where importance >= median + 1.5 (q3 - q1), base elsewhere``.

    ``importance = |other - base| KL(softmax(other row) || softmax(base row))``, in float64, rounded
    to float32; rows run along the last dimension. Median and quartiles are over the tensor, each
    the element of rank ``floor(q (n - 1))``. A vector or scalar is one row, whose divergence is a
    common factor and left out.

    Raises:
        SettingsError: There is no base, or not exactly one model beside it.
    """
    require(stack, "arcee_fusion", base=True, models=1)
    divergences = None if len(stack.shape) < 2 else _divergences(stack)

    def importance(part: Part) -> Array:
        change_N = abs(part.models_KN[0] - part.base_N)
        if divergences is None:
            return change_N
        xp = namespace(change_N)
        rows_VI = xp.asarray(change_N, dtype=xp.float64).reshape(-1, stack.shape[-1])
        return xp.asarray(rows_VI * divergences[part.start][:, None], dtype=xp.float32).reshape(-1)

    threshold = _threshold(stack, importance)

    def rule(part: Part) -> Array:
        xp = namespace(part.models_KN)
        is_taken_N = xp.asarray(importance(part), dtype=xp.float64) >= threshold
        return xp.where(is_taken_N, part.models_KN[0], part.base_N)

    return rule


def _divergences(stack: Stack) -> dict[int, Array]:
    """Return the divergence of each row, float64 ``[V]``, by where its part starts."""

    def measure(part: Part) -> tuple[int, Array]:
        rows = (-1, stack.shape[-1])
        base_N: Array = part.base_N
        return part.start, divergence(base_N.reshape(rows), part.models_KN[0].reshape(rows))

    return dict(stack.map(measure))


def divergence(base_VI: Array, other_VI: Array) -> Array:
    """Return KL(softmax(other) || softmax(base)) of each row in nats, float64 ``[V]``.

    With p and q the softmaxes of other and base, and d their difference less a constant, this is
    ``sum p (d - log Z)`` with ``Z = sum q exp(d)``. The constant is the mean of the difference: so
    a row that moves as one has no divergence, and d is small enough, mostly, for a logarithm near 1
    that does not cancel.
    """
    xp = namespace(base_VI)
    base_VI, other_VI = (xp.asarray(rows, dtype=xp.float64) for rows in (base_VI, other_VI))
    q_VI, base_log_V = _softmax(base_VI)
    p_VI, other_log_V = _softmax(other_VI)
    d_VI = other_VI - base_VI
    mean_V = (q_VI * d_VI).sum(1)
    d_VI -= mean_V[:, None]
    near_V = xp.log1p((q_VI * xp.expm1(xp.clip(d_VI, -1.0, 1.0))).sum(1))
    far_V = other_log_V - base_log_V - mean_V
    log_z_V = xp.where(xp.amax(abs(d_VI), 1) <= 1.0, near_V, far_V)
    return xp.clip((p_VI * (d_VI - log_z_V[:, None])).sum(1), 0.0, None)


def _softmax(rows_VI: Array) -> tuple[Array, Array]:
    """Return the softmax of each row and the logarithm of what it divides by, ``[V]``."""
    xp = namespace(rows_VI)
    top_V = xp.amax(rows_VI, 1)
    exp_VI = xp.exp(rows_VI - top_V[:, None])
    sum_V = exp_VI.sum(1)
    return exp_VI / sum_V[:, None], top_V + xp.log(sum_V)


def _threshold(stack: Stack, importance: Callable[[Part], Array]) -> float:
    """Return what importance must reach: the median and 1.5 distances between the quartiles."""
    num = prod(stack.shape)
    ranks = [int(q * (num - 1)) for q in (0.25, 0.5, 0.75)]

    keep = [num - rank for rank in ranks]
    (found,) = cuts(stack, lambda part: importance(part)[None], lambda _: [keep], num_rows=1)
    quartiles = np.array([cut.bits for cut in found], np.int32).view(np.float32).tolist()
    if ranks[0] == 0:  # to keep all needs no cut
        least = min(stack.map(lambda part: float(importance(part).min())), default=0.0)
        quartiles = [found if rank else least for rank, found in zip(ranks, quartiles, strict=True)]
    low, median, high = quartiles
    return median + REACH * (high - low)
