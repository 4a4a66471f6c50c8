"""Texts that are longer than what an encoder reads at once: overlapping windows, decoded once.

Windows say how probable each tag and each pair of neighbouring tags is; where they overlap, their
means count. The most probable path of the chain that has these marginals,

    argmax_y sum_t log p(y_t, y_{t+1}) - sum_{0 < t < last} log p(y_t),

is that of the model itself where there is one window.

Shapes: T = tokens of a text, W = tokens of a window, K = tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LEAST = 1e-300
"""Least probability, so that its logarithm is finite."""


class Marginals(NamedTuple):
    """What is known of a window or a text."""

    tags_TK: Floats
    """p(y_t)."""
    pairs_TKK: Floats | None
    """p(y_t, y_{t+1}), ``[T - 1, K, K]``; None where tags do not depend on each other."""


def windows(num_tokens: int, size: int) -> list[tuple[int, int]]:
    """Return start and end of windows of `size` tokens, each begun half a window after the last.

    A text that fits is one window; one without tokens is none.
    """
    if num_tokens <= size:
        return [(0, num_tokens)] if num_tokens else []
    starts = [*range(0, num_tokens - size, max(1, size // 2)), num_tokens - size]
    return [(start, start + size) for start in starts]


def averaged(parts: Sequence[tuple[int, Marginals]], num_tokens: int) -> Marginals:
    """Return the means of windows, given with their starts, over the windows that hold a token."""
    first = parts[0][1]
    num_tags = first.tags_TK.shape[1]
    tags_TK = np.zeros((num_tokens, num_tags))
    pairs_TKK = np.zeros((max(num_tokens - 1, 0), num_tags, num_tags))
    counts_T, pair_counts_T = np.zeros(num_tokens), np.zeros(max(num_tokens - 1, 0))
    for start, part in parts:
        end = start + len(part.tags_TK)
        tags_TK[start:end] += part.tags_TK
        counts_T[start:end] += 1
        if part.pairs_TKK is not None:
            pairs_TKK[start : end - 1] += part.pairs_TKK
            pair_counts_T[start : end - 1] += 1
    tags_TK /= counts_T[:, None]
    if first.pairs_TKK is None:
        return Marginals(tags_TK, None)
    return Marginals(tags_TK, pairs_TKK / pair_counts_T[:, None, None])


def best_path(marginals: Marginals) -> NDArray[np.int64]:
    """Return the most probable tags, ``[T]``; of equals the lowest."""
    if marginals.pairs_TKK is None or len(marginals.tags_TK) == 1:
        return marginals.tags_TK.argmax(1)
    step_TKK = _log(marginals.pairs_TKK)
    step_TKK[1:] -= _log(marginals.tags_TK)[1:-1, :, None]
    best_K, pointers = np.zeros(marginals.tags_TK.shape[1]), []
    for step_KK in step_TKK:
        ways_KK = best_K[:, None] + step_KK
        pointers.append(ways_KK.argmax(0))
        best_K = ways_KK.max(0)
    path = [int(best_K.argmax())]
    for pointer_K in reversed(pointers):
        path.append(int(pointer_K[path[-1]]))
    return np.array(path[::-1])


def _log(probs: Floats) -> Floats:
    return np.log(np.maximum(probs, _LEAST))
