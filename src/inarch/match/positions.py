"""Which position of a source speaks for which position of the target.

Position i of the target may take the source's distribution at j only where both contexts end at
the same byte. That needs no dynamic programme and no comparison of strings.

Shapes: T = positions of the target, S = positions of the source, M = pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inarch.records import NO_BOUNDARY

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pair_positions(
    target_ends: NDArray[np.int32], source_ends: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the pairs that end at the same byte, increasing on both sides, ``[M]``.

    Where several positions of one side end at one byte (begin of text, then a lone ``▁``), the
    last one is meant: the others' next token does not spell the next byte. Swapping the arguments
    swaps the results.

    Args:
        target_ends: Coordinates, not decreasing, NO_BOUNDARY anywhere between, ``[T]``.
        source_ends: The same for the source, ``[S]``.
    """
    target, target_at = _last_of_each_end(target_ends)
    source, source_at = _last_of_each_end(source_ends)
    if not len(source):
        return target[:0], source
    found = np.minimum(np.searchsorted(source_at, target_at), len(source) - 1)
    same = source_at[found] == target_at
    return target[same], source[found[same]]


def _last_of_each_end(ends: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the last index of each coordinate, and the coordinates, NO_BOUNDARY left out."""
    known = np.flatnonzero(ends != NO_BOUNDARY)
    last = np.append(ends[known[1:]] != ends[known[:-1]], True)[: len(known)]
    return known[last], ends[known[last]]
