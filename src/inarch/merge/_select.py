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

    def until(self, start: int, size: int, values: Callable[[], Array]) -> int:
        """Return the index within a part before which what equals ``bits`` is kept.

        Args:
            start: Of the part.
            size: Elements of the part.
            values: Gives them, ``[N]``; asked for only where the index is neither 0 nor `size`.
        """
        if start != self.part:
            return size if start < self.part else 0
        values_N = values()
        xp = namespace(values_N)
        equal = xp.where(magnitude_bits(values_N) == self.bits)[0]
        return int(equal[self.rest]) if self.rest < len(equal) else size

    def keep(self, values_N: Array, start: int) -> Array:
        """Return which elements of the part that begins at `start` are kept, bool ``[N]``."""
        bits_N = magnitude_bits(values_N)
        until = self.until(start, len(values_N), lambda: values_N)
        keep_N = bits_N > self.bits
        keep_N[:until] |= bits_N[:until] == self.bits
        return keep_N


KEEP_ALL = Cut(bits=0, part=1 << 62, rest=0)
KEEP_NONE = Cut(bits=ABOVE_ALL, part=0, rest=0)


def magnitude_bits(values: Array) -> Array:
    """Return the bits of float32 values without their sign, int32."""
    return values.view(namespace(values).int32) & 0x7FFFFFFF


def cuts(
    stack: Stack,
    measure: Callable[[Part], Array],
    counts: Callable[[list[int]], Sequence[int]],
    num_rows: int,
) -> list[Cut]:
    """Return, for each row, the cut that keeps so many of its largest magnitudes.

    The tensor is read twice; once where each row keeps all or nothing.

    Args:
        stack: The tensor.
        measure: Returns finite float32 values of a part, ``[J, N]``; their sign does not count.
        counts: Returns how many to keep of each row, given how many of each are at least 2^-133.
        num_rows: J.
    """
    uppers_JU = _count_uppers(stack, measure, num_rows)
    sizes = uppers_JU.sum(axis=1)
    keep_J = counts([int(size - zeros) for size, zeros in zip(sizes, uppers_JU[:, 0], strict=True)])
    places = [_place(uppers_U, keep) for uppers_U, keep in zip(uppers_JU, keep_J, strict=True)]
    if all(place is None for place in places):
        found: list[tuple[int, list[Lowers | None]]] = []
    else:
        found = stack.map(
            lambda part: (
                part.start,
                [
                    None if place is None else _lowers(row_N, place[0])
                    for row_N, place in zip(measure(part), places, strict=True)
                ],
            )
        )
    made = []
    for row, (place, keep) in enumerate(zip(places, keep_J, strict=True)):
        if place is None:
            made.append(KEEP_ALL if keep > 0 else KEEP_NONE)
        else:
            made.append(_cut(*place, [(start, rows[row]) for start, rows in found]))  # type: ignore[misc]
    return made


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
