"""The k largest magnitudes of a tensor that is only seen part by part, exactly and without a sort.

Float32 magnitudes sort as their bits do. A first sweep counts how often each upper half of the bits
(2^15 of them) occurs, which finds the half that the k-th largest has; a second one lists the lower
halves beside it. Among equal magnitudes those with the lower flat index are taken.

Shapes: J = rows that are selected from on their own, N = elements of a part.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.compiled import compiled
from inarch.merge._stack import Array, Part, Stack, namespace

NUM_UPPER = 1 << 15
NUM_LOWER = 1 << 16
ABOVE_ALL = 0x7F800000
"""The bits of infinity, which no magnitude reaches."""

Counts = npt.NDArray[np.int64]
Lowers = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""The lower halves that occur in a row of a part, increasing, and how often each does."""


class Cut(NamedTuple):
    """Where the k largest of a row end."""

    bits: int
    """Of the smallest magnitude that is kept."""
    part: int
    """Where the part starts in which the last one is: before it all that equal ``bits`` are kept,
    behind it none."""
    rest: int
    """How many of that part that equal ``bits`` are kept, the first ones."""

    def floor(self, start: int) -> int | None:
        """Return the least bits that are kept in a part; None in the part that is divided."""
        if start == self.part:
            return None
        return self.bits if start < self.part else self.bits + 1

    def keep(self, values_N: Array, start: int) -> Array:
        """Return which elements of the part that begins at `start` are kept, bool ``[N]``."""
        bits_N = magnitude_bits(values_N)
        floor = self.floor(start)
        if floor is not None:
            return bits_N >= floor
        equal_N = bits_N == self.bits
        return (bits_N > self.bits) | (equal_N & (equal_N.cumsum(0) <= self.rest))


KEEP_ALL = Cut(bits=0, part=1 << 62, rest=0)
KEEP_NONE = Cut(bits=ABOVE_ALL, part=-1, rest=0)


class Band(NamedTuple):
    """What is kept of a row: what ``low`` keeps, without what ``high`` keeps."""

    low: Cut
    high: Cut = KEEP_NONE

    def keep(self, values_N: Array, start: int) -> Array:
        """Return which elements of the part that begins at `start` are kept, bool ``[N]``."""
        keep_N = self.low.keep(values_N, start)
        return keep_N if self.high == KEEP_NONE else keep_N & ~self.high.keep(values_N, start)


def magnitude_bits(values: Array) -> Array:
    """Return the bits of float32 values without their sign, int32."""
    return values.view(namespace(values).int32) & 0x7FFFFFFF


def cuts(
    stack: Stack,
    measure: Callable[[Part], Array],
    counts: Callable[[list[int]], Sequence[Sequence[int]]],
    num_rows: int,
) -> list[list[Cut]]:
    """Return, for each row, the cuts that keep so many of its largest magnitudes.

    The tensor is read twice; once where all is kept, or nothing.

    Args:
        stack: The tensor.
        measure: Returns finite float32 values of a part, ``[J, N]``; their sign does not count.
        counts: Returns how many to keep of each row, one number per cut, given how many elements of
            each row are at least 2^-133.
        num_rows: J.
    """
    uppers_JU = _count_uppers(stack, measure, num_rows)
    keep_J = counts([int(uppers_U[1:].sum()) for uppers_U in uppers_JU])
    places = [
        [_place(uppers_U, num) for num in keep]
        for uppers_U, keep in zip(uppers_JU, keep_J, strict=True)
    ]
    wanted = [sorted({place[0] for place in row if place}) for row in places]
    found: list[tuple[int, list[dict[int, Lowers]]]] = []
    if any(wanted):
        found = stack.map(
            lambda part: (
                part.start,
                [
                    {upper: _lowers(row_N, upper) for upper in uppers}
                    for row_N, uppers in zip(measure(part), wanted, strict=True)
                ],
            )
        )

    def cut(row: int, num: int, place: tuple[int, int] | None) -> Cut:
        if place is None:
            return KEEP_ALL if num > 0 else KEEP_NONE
        upper, rest = place
        return _cut(upper, rest, [(start, rows[row][upper]) for start, rows in found])

    return [
        [cut(row, num, place) for num, place in zip(keep_J[row], places[row], strict=True)]
        for row in range(num_rows)
    ]


def _count_uppers(stack: Stack, measure: Callable[[Part], Array], num_rows: int) -> Counts:
    """Return how often each upper half occurs in each row, ``[J, NUM_UPPER]``."""
    local, everyone = threading.local(), []

    def count(part: Part) -> None:
        if not hasattr(local, "uppers"):
            local.uppers = np.zeros((num_rows, NUM_UPPER), np.int64)
            everyone.append(local.uppers)
        for values_N, uppers_U in zip(measure(part), local.uppers, strict=True):
            if isinstance(values_N, np.ndarray) and _count_compiled is not None:
                _count_compiled(values_N.view(np.uint32), uppers_U)
            else:
                uppers_U += _count_plain(values_N)

    stack.map(count)
    return sum(everyone, np.zeros((num_rows, NUM_UPPER), np.int64))


def _count_plain(values_N: Array) -> Counts:
    """Return how often each upper half occurs, ``[NUM_UPPER]``."""
    uppers_N = magnitude_bits(values_N) >> 16
    return _to_numpy(namespace(values_N).bincount(uppers_N, minlength=NUM_UPPER))


def _count(bits_N: Any, uppers_U: Any) -> None:
    for i in range(bits_N.size):
        uppers_U[(bits_N[i] >> np.uint32(16)) & np.uint32(0x7FFF)] += 1


_count_compiled = compiled(_count)


def _lowers(values_N: Array, upper: int) -> Lowers:
    """Return the lower halves beside an upper one, and how often each occurs."""
    bits_N = magnitude_bits(values_N)
    lowers = bits_N[(bits_N >> 16) == upper] & 0xFFFF
    values, num = namespace(values_N).unique(lowers, return_counts=True)
    return _to_numpy(values).astype(np.uint16), _to_numpy(num).astype(np.uint32)


def _place(counts: Counts, keep: int) -> tuple[int, int] | None:
    """Return the bin that holds the `keep`-th largest, and how many of that bin are kept.

    None where all or nothing is kept.
    """
    if keep <= 0 or keep >= counts.sum():
        return None
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, keep))
    before = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, keep - before


def _cut(upper: int, keep: int, found: list[tuple[int, Lowers]]) -> Cut:
    """Return the cut that keeps `keep` of those that have one upper half.

    Args:
        upper: The half.
        keep: From 1 to how many there are.
        found: For each part its start and its lower halves.
    """
    lowers_L = np.zeros(NUM_LOWER, np.int64)
    for _, (values, num) in found:
        lowers_L[values] += num
    from_top = np.cumsum(lowers_L[::-1])
    place = int(np.searchsorted(from_top, keep))
    lower = NUM_LOWER - 1 - place
    rest = keep - (int(from_top[place - 1]) if place else 0)
    equal = np.cumsum([num[values == lower].sum() for _, (values, num) in found])
    last = int(np.searchsorted(equal, rest))
    before = int(equal[last - 1]) if last else 0
    return Cut(upper << 16 | lower, found[last][0], rest - before)


def _to_numpy(values: Array) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
