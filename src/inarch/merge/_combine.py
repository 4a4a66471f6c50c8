"""The changes of several models made into one: masked, weighed, with or without an elected sign.

Each loop has a plain twin for numpy and torch, and a compiled one that reads the models once, with
the same bits. Compiled loops that call each other are all in this file: numba keeps machine code
for each file, and would not notice a change in another one.

Shapes: K = models, N = elements of a part, B = elements of a block.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from inarch.compiled import as_bits, compiled
from inarch.merge._random import FIRST, SECOND, Key, uniform_bits
from inarch.merge._select import Band
from inarch.merge._stack import Array, Part, namespace

BLOCK = 1024
"""Elements whose sums stay in the nearest cache while all models are gone through."""


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
    if isinstance(deltas_KN, np.ndarray) and _combine_compiled is not None:
        out_N = np.empty_like(base_N)
        _combine_compiled(deltas_KN, base_N, _arguments(how), out_N)
        return out_N
    return _combine_plain(deltas_KN, base_N, how)


def combine_bands(
    part: Part, bands: Sequence[Band], scales: Sequence[float], how: Combination
) -> Array:
    """Return what `combine` makes of the changes within each model's band, times its scale."""
    floors = [(band.low.floor(part.start), band.high.floor(part.start)) for band in bands]
    is_split = any(low is None or high is None for low, high in floors)
    if isinstance(part.models_KN, np.ndarray) and _bands_compiled is not None and not is_split:
        out_N = np.empty_like(part.base_N)
        limits_K2 = np.array(floors, np.uint32)
        scales_K = np.array(scales, np.float32)
        _bands_compiled(part.models_KN, part.base_N, limits_K2, scales_K, _arguments(how), out_N)
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
    if isinstance(part.models_KN, np.ndarray) and _drawn_compiled is not None:
        out_N = np.empty_like(part.base_N)
        draws_K3 = np.array([(*draw.key, draw.limit) for draw in draws], np.uint32)
        scaled_draws = (draws_K3, np.array(scales, np.float32))
        first = np.uint32(part.start & 0xFFFFFFFF)
        _drawn_compiled(part.models_KN, part.base_N, first, scaled_draws, _arguments(how), out_N)
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


# ------------------------------------------------------------------------------- compiled twins


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


def _sum_block(deltas_KB: Any, base_B: Any, how: Any, room_3B: Any, out_B: Any) -> None:
    """Write ``base + lambda sum_k w_k d_k``; `room_3B` is memory for sums."""
    weights_K, lambda_, size = how[0], how[5], out_B.size
    total_B = room_3B[0, :size]
    total_B[:] = np.float32(0)
    for k in range(weights_K.size):
        delta_B, weight = deltas_KB[k, :size], weights_K[k]
        for i in range(size):
            total_B[i] += delta_B[i] * weight
    for i in range(size):
        out_B[i] = base_B[i] + total_B[i] * lambda_


def _elect_block(deltas_KB: Any, base_B: Any, how: Any, room_3B: Any, out_B: Any) -> None:
    """Write what `combine` returns with an election; `room_3B` is memory for sums."""
    weights_K, votes_K, _, normalize, least, lambda_ = how
    zero, one, size = np.float32(0), np.float32(1), out_B.size
    sign_B, merged_B, share_B = room_3B[0, :size], room_3B[1, :size], room_3B[2, :size]
    room_3B[:] = zero
    for k in range(weights_K.size):
        delta_B, vote = deltas_KB[k, :size], votes_K[k]
        for i in range(size):
            sign_B[i] += delta_B[i] * vote
    for i in range(size):
        sign_B[i] = one if sign_B[i] >= zero else -one
    for k in range(weights_K.size):
        delta_B, vote, weight = deltas_KB[k, :size], votes_K[k], weights_K[k]
        for i in range(size):
            merged_B[i] += delta_B[i] * weight if delta_B[i] * vote * sign_B[i] > zero else zero
        for i in range(size if normalize else 0):
            share_B[i] += weight if delta_B[i] * vote * sign_B[i] > zero else zero
    for i in range(size if normalize else 0):
        share = share_B[i] if (share_B[i] > least) | (least == zero) else least
        merged_B[i] /= one if share == zero else share
    for i in range(size):
        out_B[i] = base_B[i] + merged_B[i] * lambda_


_sum_block = compiled(_sum_block) or _sum_block
_elect_block = compiled(_elect_block) or _elect_block


def _combine_loop(deltas_KN: Any, base_N: Any, how: Any, out_N: Any) -> None:
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((deltas_KN.shape[0], BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        for k in range(deltas_KN.shape[0]):
            deltas_KB[k, : end - start] = deltas_KN[k, start:end]
        if how[2]:
            _elect_block(deltas_KB, base_N[start:end], how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_N[start:end], how, room_3B, out_N[start:end])


def _bands_loop(
    models_KN: Any, base_N: Any, limits_K2: Any, scales_K: Any, how: Any, out_N: Any
) -> None:
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((scales_K.size, BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        base_B = base_N[start:end]
        for k in range(scales_K.size):
            low, high, scale = limits_K2[k, 0], limits_K2[k, 1], scales_K[k]
            model_B, delta_B = models_KN[k, start:end], deltas_KB[k]
            for i in range(end - start):
                delta = model_B[i] - base_B[i]
                bits = as_bits(delta) & np.uint32(0x7FFFFFFF)
                delta_B[i] = delta * scale if (bits >= low) & (bits < high) else np.float32(0)
        if how[2]:
            _elect_block(deltas_KB, base_B, how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_B, how, room_3B, out_N[start:end])


def _drawn_loop(models_KN: Any, base_N: Any, first: Any, draws: Any, how: Any, out_N: Any) -> None:
    draws_K3, scales_K = draws
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((scales_K.size, BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        base_B = base_N[start:end]
        for k in range(scales_K.size):
            before, within, limit = draws_K3[k, 0], draws_K3[k, 1], draws_K3[k, 2]
            model_B, delta_B, scale = models_KN[k, start:end], deltas_KB[k], scales_K[k]
            origin = first + np.uint32(start)
            for i in range(end - start):
                bits = (origin + np.uint32(i)) ^ before
                bits ^= bits >> np.uint32(16)
                bits = bits * np.uint32(FIRST) + within
                bits ^= bits >> np.uint32(15)
                bits *= np.uint32(SECOND)
                bits ^= bits >> np.uint32(16)
                delta = (model_B[i] - base_B[i]) * scale
                delta_B[i] = delta if (bits >> np.uint32(1)) < limit else np.float32(0)
        if how[2]:
            _elect_block(deltas_KB, base_B, how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_B, how, room_3B, out_N[start:end])


_combine_compiled = compiled(_combine_loop)
_bands_compiled = compiled(_bands_loop)
_drawn_compiled = compiled(_drawn_loop)
