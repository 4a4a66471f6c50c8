"""Rules that tell how much of each model is in the result, and shares of squared change."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inarch.merge import _loops
from inarch.merge._stack import Array, Part, Rule, namespace

LANES = 64
"""Sums that are kept apart, so that a processor can add several at once."""


@dataclass(frozen=True)
class WeightedRule:
    """A rule, and the weight that its method found for each model."""

    rule: Rule
    coefficients: tuple[float, ...]
    """One number per model, in the user's order."""

    def __call__(self, part: Part) -> Array:
        """Return the merged stretch of a part, ``[N]``."""
        return self.rule(part)


def sums_of_squares(values_KN: Array) -> tuple[float, ...]:
    """Return the sum of the squares of each row, ``[K]``; squared in float32, added in float64."""
    return tuple(math.fsum(_square(row_N)) for row_N in values_KN)


def _square(values_N: Array) -> list[float]:
    """Return the sums of the squares of every LANES-th element, from each of the first on."""
    if isinstance(values_N, np.ndarray) and _loops.squares is not None:
        sums_L = np.zeros(LANES)
        _loops.squares(values_N, sums_L)
        return sums_L.tolist()
    return _square_plain(values_N)


def _square_plain(values_N: Array) -> list[float]:
    xp = namespace(values_N)
    whole = len(values_N) // LANES * LANES
    squares_N = xp.asarray(values_N * values_N, dtype=xp.float64)
    sums_L = squares_N[:whole].reshape(-1, LANES).sum(0)
    sums_L[: len(values_N) - whole] += squares_N[whole:]
    return sums_L.tolist()


def sums_of_magnitudes(values_KN: Array) -> tuple[float, ...]:
    """Return the sum of the magnitudes of each row, ``[K]``, added in float64."""
    return tuple(_add(abs(row_N)) for row_N in values_KN)


def _add(values_N: Array) -> float:
    if isinstance(values_N, np.ndarray):
        return float(values_N.sum(dtype=np.float64))
    return float(values_N.double().sum())


def add_parts(sums: Sequence[Sequence[float]], num_models: int) -> tuple[float, ...]:
    """Return the sums of all parts, ``[K]``, rounded once; zeros for a tensor without elements."""
    return tuple(math.fsum(sums_K[k] for sums_K in sums) for k in range(num_models))


def shares(sums: Sequence[float], least: float = 0.0) -> tuple[float, ...]:
    """Return what part each is of the whole; equal parts where the whole is 0 or below `least`."""
    whole = sum(sums)
    if whole == 0 or whole < least:
        return (1 / len(sums),) * len(sums)
    return tuple(each / whole for each in sums)
