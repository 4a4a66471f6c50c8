"""Weighted sums of the models of a part: plain for numpy and torch, and compiled in one pass.

Shapes: K = models, N = elements of a part, B = elements of a block.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inarch.compiled import compiled
from inarch.merge._stack import Array, Part, namespace

BLOCK = 2048
"""Elements that stay in the nearest cache while all models are gone through."""


def weighted(part: Part, factors: Sequence[float]) -> Array:
    """Return the sum of the models, or the base plus that of the changes, each times its factor."""
    if part.base_N is None:
        return weighted_sum(part.models_KN, factors)
    return weighted_move(part.base_N, part.models_KN, factors)


def weighted_sum(
    models_KN: Array,
    weights: Sequence[float],
    base_N: Array | None = None,
    base_weight: float = 0.0,
) -> Array:
    """Return ``base_weight base + sum_k w_k model_k``, added in this order in float32, ``[N]``.

    What has weight zero takes no part; so one model of weight one comes back bit for bit.
    """
    if isinstance(models_KN, np.ndarray) and _sum_compiled is not None:
        out_N = np.empty(models_KN.shape[1], np.float32)
        base_N = models_KN[0] if base_N is None else base_N
        weights_K = np.array(weights, np.float32)
        _sum_compiled(models_KN, weights_K, base_N, np.float32(base_weight), out_N)
        return out_N
    return _sum_plain(models_KN, weights, base_N, base_weight)


def weighted_move(base_N: Array, models_KN: Array, weights: Sequence[float]) -> Array:
    """Return ``base + sum_k w_k (model_k - base)``, ``[N]``; the base is added last, in float32.

    What has weight zero takes no part; so models that equal the base give its numbers.
    """
    if isinstance(models_KN, np.ndarray) and _move_compiled is not None:
        out_N = np.empty(models_KN.shape[1], np.float32)
        _move_compiled(base_N, models_KN, np.array(weights, np.float32), out_N)
        return out_N
    return _move_plain(base_N, models_KN, weights)


def _sum_plain(
    models_KN: Array, weights: Sequence[float], base_N: Array | None, base_weight: float
) -> Array:
    weighted = [] if base_N is None else [(base_N, base_weight)]
    weighted += zip(models_KN, weights, strict=True)
    terms = [model_N * _single(weight) for model_N, weight in weighted if _single(weight) != 0]
    return _add(terms) if terms else namespace(models_KN).zeros_like(models_KN[0])


def _move_plain(base_N: Array, models_KN: Array, weights: Sequence[float]) -> Array:
    terms = [
        (model_N - base_N) * _single(weight)
        for model_N, weight in zip(models_KN, weights, strict=True)
        if _single(weight) != 0
    ]
    return base_N + (_add(terms) if terms else 0)


def _single(weight: float) -> float:
    """Return the weight as float32 holds it, as a number of Python."""
    return float(np.float32(weight))


def _add(terms: list[Array]) -> Array:
    """Return the sum in order; the first term's memory is overwritten."""
    sum_N = terms[0]
    for term_N in terms[1:]:
        sum_N += term_N
    return sum_N


def _sum_loop(models_KN: Any, weights_K: Any, base_N: Any, base_weight: Any, out_N: Any) -> None:
    for start in range(0, out_N.size, BLOCK):
        out_B = out_N[start : start + BLOCK]
        base_B = base_N[start : start + BLOCK]
        size = out_B.size
        begun = base_weight != 0
        for i in range(size if begun else 0):
            out_B[i] = base_B[i] * base_weight
        for k in range(weights_K.size):
            weight = weights_K[k]
            model_B = models_KN[k, start : start + BLOCK]
            if begun and weight != 0:
                for i in range(size):
                    out_B[i] += model_B[i] * weight
            elif weight != 0:
                for i in range(size):
                    out_B[i] = model_B[i] * weight
                begun = True
        for i in range(0 if begun else size):
            out_B[i] = np.float32(0)


def _move_loop(base_N: Any, models_KN: Any, weights_K: Any, out_N: Any) -> None:
    for start in range(0, out_N.size, BLOCK):
        out_B = out_N[start : start + BLOCK]
        base_B = base_N[start : start + BLOCK]
        size = out_B.size
        begun = False
        for k in range(weights_K.size):
            weight = weights_K[k]
            model_B = models_KN[k, start : start + BLOCK]
            if begun and weight != 0:
                for i in range(size):
                    out_B[i] += (model_B[i] - base_B[i]) * weight
            elif weight != 0:
                for i in range(size):
                    out_B[i] = (model_B[i] - base_B[i]) * weight
                begun = True
        for i in range(size):
            out_B[i] = base_B[i] + (out_B[i] if begun else np.float32(0))


_sum_compiled = compiled(_sum_loop)
_move_compiled = compiled(_move_loop)
