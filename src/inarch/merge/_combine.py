"""The changes of several models made into one: masked, weighed, with or without an elected sign.

Here is the plain code, for numpy and torch. Its compiled twins are in ``_loops``: they read the
models once, and give the same bits.

Shapes: K = models, N = elements of a part.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from inarch.merge import _loops
from inarch.merge._random import Key, uniform_bits
from inarch.merge._select import Band
from inarch.merge._stack import Array, Part, namespace


class Combination(NamedTuple):
    """How the changes of an element become one."""

    weights: tuple[float, ...]
    """Of the models, ``[K]``."""
    votes: Literal["weighted", "plain", "none"] = "weighted"
    """Models elect a sign with their weighted changes, with the changes as they are, or not at
    all; ``normalize`` and ``least`` need an election."""
    normalize: bool = False
    """Divide by the sum of the weights that agree, where that is not 0."""
    least: float = 0.0
    """The sum of the weights that agree counts as at least this."""
    lambda_: float = 1.0
    """Factor on the combined change."""


class Draw(NamedTuple):
    """Which elements of a model are kept by chance."""

    key: Key
    limit: int
    """Of ``_random.limit``."""


def combine(deltas_KN: Array, base_N: Array, how: Combination) -> Array:
    """Return ``base + lambda c``, ``[N]``, where c combines the changes of each element.

    Without an election ``c = sum_k w_k d_k``. With one, a model votes with ``w_k d_k`` (or with
    ``d_k``), and the elected sign is that of the sum of the votes, plus where that is 0; c is
    ``sum w_k d_k`` over the models that voted for it. So a change of 0 has no sign and no weight,
    and where nobody agrees c is 0.

    Args:
        deltas_KN: Changes against the base, zero where a model takes no part.
        base_N: The base.
        how: Weights and rules.
    """
    if isinstance(deltas_KN, np.ndarray) and _loops.combine is not None:
        out_N = np.empty_like(base_N)
        _loops.combine(deltas_KN, base_N, _arguments(how), out_N)
        return out_N
    return _combine_plain(deltas_KN, base_N, how)


def combine_bands(
    part: Part, bands: Sequence[Band], scales: Sequence[float], how: Combination
) -> Array:
    """Return what `combine` makes of the changes within each model's band, times its scale."""
    floors = [(band.low.floor(part.start), band.high.floor(part.start)) for band in bands]
    is_split = any(low is None or high is None for low, high in floors)
    if isinstance(part.models_KN, np.ndarray) and _loops.bands is not None and not is_split:
        out_N = np.empty_like(part.base_N)
        limits_K2 = np.array(floors, np.uint32)
        scales_K = np.array(scales, np.float32)
        _loops.bands(part.models_KN, part.base_N, limits_K2, scales_K, _arguments(how), out_N)
        return out_N
    return combine(within_bands(part, bands, scales), part.base_N, how)


def within_bands(part: Part, bands: Sequence[Band], scales: Sequence[float]) -> Array:
    """Return the changes, times the scale within the model's band and 0 outside, ``[K, N]``."""
    deltas_KN = part.deltas()
    for delta_N, band, scale in zip(deltas_KN, bands, scales, strict=True):
        delta_N *= band.keep(delta_N, part.start)
        delta_N *= scale
    return deltas_KN


def combine_drawn(
    part: Part, draws: Sequence[Draw], scales: Sequence[float], how: Combination
) -> Array:
    """Return what `combine` makes of the changes that are drawn, times the model's scale."""
    if isinstance(part.models_KN, np.ndarray) and _loops.drawn is not None:
        out_N = np.empty_like(part.base_N)
        draws_K3 = np.array([(*draw.key, draw.limit) for draw in draws], np.uint32)
        scaled_draws = (draws_K3, np.array(scales, np.float32))
        first = np.uint32(part.start & 0xFFFFFFFF)
        _loops.drawn(part.models_KN, part.base_N, first, scaled_draws, _arguments(how), out_N)
        return out_N
    return combine(drawn(part, draws, scales), part.base_N, how)


def drawn(part: Part, draws: Sequence[Draw], scales: Sequence[float]) -> Array:
    """Return the changes, times the scale where they are drawn and 0 elsewhere, ``[K, N]``."""
    deltas_KN = part.deltas()
    for delta_N, draw, scale in zip(deltas_KN, draws, scales, strict=True):
        delta_N *= uniform_bits(draw.key, part.start, delta_N) < draw.limit
        delta_N *= scale
    return deltas_KN


def _combine_plain(deltas_KN: Array, base_N: Array, how: Combination) -> Array:
    xp = namespace(deltas_KN)
    votes = how.weights if how.votes != "plain" else (1.0,) * len(how.weights)
    total_N = xp.zeros_like(base_N)
    for delta_N, vote in zip(deltas_KN, votes, strict=True):
        total_N += delta_N * vote
    if how.votes == "none":
        return base_N + total_N * how.lambda_
    sign_N = xp.where(total_N >= 0, xp.ones_like(base_N), -1.0)
    merged_N, share_N = xp.zeros_like(base_N), xp.zeros_like(base_N)
    for delta_N, vote, weight in zip(deltas_KN, votes, how.weights, strict=True):
        agrees_N = xp.asarray(delta_N * vote * sign_N > 0, dtype=xp.float32)
        merged_N += agrees_N * (delta_N * weight)
        share_N += agrees_N * weight
    if how.normalize:
        share_N = xp.clip(share_N, how.least, None) if how.least > 0 else share_N
        merged_N /= xp.where(share_N == 0, 1.0, share_N)
    return base_N + merged_N * how.lambda_


def _arguments(how: Combination) -> tuple[Any, ...]:
    """Return the combination as the compiled loops take it."""
    weights_K = np.array(how.weights, np.float32)
    return (
        weights_K,
        np.ones_like(weights_K) if how.votes == "plain" else weights_K,
        how.votes != "none",
        how.normalize,
        np.float32(how.least),
        np.float32(how.lambda_),
    )
