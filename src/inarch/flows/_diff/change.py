"""How far two arrays are apart, measured part by part with sums in float64.

Each sum has LANES running totals, of which number j adds up the elements j, j + LANES, ... in their
order; so a loop over lanes can be vectorised and still gives the same bits everywhere.

Shapes: N = elements of a part, J = lanes.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.compiled import compiled

Floats = npt.NDArray[np.float32]

LANES = 256


class Change(NamedTuple):
    """Sums over elements of a and of b, from which all else follows."""

    num: int = 0
    """Elements."""
    changed: int = 0
    """Elements that are not equal; 0 and -0 are."""
    square: float = 0.0
    """Sum of ``(b - a)^2``."""
    square_a: float = 0.0
    """Sum of ``a^2``."""
    square_b: float = 0.0
    """Sum of ``b^2``."""
    product: float = 0.0
    """Sum of ``a b``."""
    largest: float = 0.0
    """Maximum of ``|b - a|``."""

    @property
    def norm(self) -> float:
        """Return ``||b - a||``."""
        return math.sqrt(self.square)

    @property
    def relative(self) -> float | None:
        """Return ``||b - a|| / ||a||``: 0 where nothing changed, None where a is zero and b not."""
        if self.square == 0:
            return 0.0
        return math.sqrt(self.square / self.square_a) if self.square_a > 0 else None

    @property
    def cosine(self) -> float | None:
        """Return the cosine of the angle between a and b; None where one of them is zero."""
        if self.square == 0 and self.square_a > 0:
            return 1.0
        norms = math.sqrt(self.square_a) * math.sqrt(self.square_b)
        return max(-1.0, min(1.0, self.product / norms)) if norms > 0 else None

    @property
    def changed_frac(self) -> float:
        """Return the share of elements that changed at all."""
        return self.changed / self.num if self.num else 0.0


def total(changes: Iterable[Change]) -> Change:
    """Return the change of all parts together."""
    parts = list(changes)
    if not parts:
        return Change()
    num, changed, square, square_a, square_b, product, largest = zip(*parts, strict=True)
    sums = [math.fsum(values) for values in (square, square_a, square_b, product)]
    return Change(sum(num), sum(changed), sums[0], sums[1], sums[2], sums[3], max(largest))


def measure(a_N: Floats, b_N: Floats) -> Change:
    """Return the change from `a_N` to `b_N`, both finite and contiguous."""
    totals_6J = np.zeros((6, LANES))
    (_add_compiled or _add)(a_N, b_N, totals_6J)
    changed, square, square_a, square_b, product = (math.fsum(total_J) for total_J in totals_6J[:5])
    largest = float(totals_6J[5].max())
    return Change(len(a_N), int(changed), square, square_a, square_b, product, largest)


def _add(a_N: Any, b_N: Any, totals_6J: Any) -> None:
    """Add to the totals of each lane, in the order of the fields of `Change`."""
    for part in (slice(0, len(a_N) // LANES * LANES), slice(len(a_N) // LANES * LANES, None)):
        a, b = a_N[part].astype(np.float64), b_N[part].astype(np.float64)
        num_lanes = min(LANES, len(a)) or 1
        terms = (b != a, (b - a) * (b - a), a * a, b * b, a * b)
        for total_J, term in zip(totals_6J, terms, strict=False):
            # Along this axis numpy adds row after row, as the loop below does.
            total_J[:num_lanes] += term.reshape(-1, num_lanes).sum(0)
        largest_J = np.abs(b - a).reshape(-1, num_lanes).max(0, initial=0)
        totals_6J[5, :num_lanes] = np.maximum(totals_6J[5, :num_lanes], largest_J)


def _add_loop(a_N: Any, b_N: Any, totals_6J: Any) -> None:
    changed_J, square_J, square_a_J = totals_6J[0], totals_6J[1], totals_6J[2]
    square_b_J, product_J, largest_J = totals_6J[3], totals_6J[4], totals_6J[5]
    for start in range(0, a_N.size, LANES):
        size = min(LANES, a_N.size - start)
        a_J, b_J = a_N[start : start + size], b_N[start : start + size]
        # A loop for each total: one for all is not vectorised, and half as fast.
        for j in range(size):
            changed_J[j] += 1.0 if a_J[j] != b_J[j] else 0.0
        for j in range(size):
            d = np.float64(b_J[j]) - np.float64(a_J[j])
            square_J[j] += d * d
        for j in range(size):
            square_a_J[j] += np.float64(a_J[j]) * np.float64(a_J[j])
        for j in range(size):
            square_b_J[j] += np.float64(b_J[j]) * np.float64(b_J[j])
        for j in range(size):
            product_J[j] += np.float64(a_J[j]) * np.float64(b_J[j])
        for j in range(size):
            d = abs(np.float64(b_J[j]) - np.float64(a_J[j]))
            largest_J[j] = d if d > largest_J[j] else largest_J[j]


_add_compiled = compiled(_add_loop)
