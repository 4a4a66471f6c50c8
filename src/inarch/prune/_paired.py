"""How sure a difference between two candidates is, from the rows that both were scored on.

The losses of two candidates on one row differ far less than those of one candidate on two rows, so
the difference is taken row by row.
"""

from collections.abc import Sequence
from math import inf, sqrt


def gap(first: Sequence[float], second: Sequence[float], weights: Sequence[int]) -> float:
    """Return the difference of the means, ``sum_r (second_r - first_r) / sum_r weight_r``.

    Args:
        first: A number per row: the summed NLL of its tokens, or their mean.
        second: The other's, of as many rows.
        weights: What a row counts in the mean: its tokens, or 1.
    """
    pairs = zip(first, second, strict=True)
    return sum(b - a for a, b in pairs) / sum(weights[: len(first)])


def gap_error(first: Sequence[float], second: Sequence[float], weights: Sequence[int]) -> float:
    """Return the standard error of `gap` over draws of rows; infinite for a single row.

    That of a ratio of sums: ``sqrt(R / (R - 1) sum_r (d_r - gap w_r)^2) / sum_r w_r``.
    """
    num = len(first)
    if num < 2:
        return inf
    mean = gap(first, second, weights)
    rows = zip(first, second, weights, strict=False)
    squares = sum((b - a - mean * weight) ** 2 for a, b, weight in rows)
    return sqrt(num / (num - 1) * squares) / sum(weights[:num])
