"""Inner products of the models over a whole tensor: lengths and angles, from one pass.

Compiled and plain code round alike: products in float64 are added up in blocks of ``STRIPS`` strips
of ``LANES``, the strips as a tree, the blocks one by one, the lanes last.

Shapes: K = models, N = elements of a part, R = rows of the matrix, P = pairs of rows, L = lanes,
V = stretches of a part, I = elements of a stretch.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from inarch.compiled import compiled
from inarch.merge._stack import Array, Part, Stack, namespace

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

STRIPS, LANES = 8, 128
BLOCK = STRIPS * LANES
MODELS, DELTAS, BASE_FIRST = 0, 1, 2
"""What the rows are: the models, the models less the base, the base and then the models. Without a
base all three are the models."""


def whole_gram(stack: Stack, rows: int) -> Matrix:
    """Return the inner products over the whole tensor in float64, ``[R, R]``; reads it once.

    Args:
        stack: The tensor.
        rows: ``MODELS``, ``DELTAS`` or ``BASE_FIRST``.
    """
    num_rows = stack.num_models + (stack.has_base and rows == BASE_FIRST)
    made_RR = np.empty((num_rows, num_rows))
    upper = np.triu_indices(num_rows)
    made_RR[upper] = made_RR.T[upper] = total(stack, lambda part: part_products(part, rows))
    return made_RR


def part_products(part: Part, rows: int) -> Vector:
    """Return the inner products of the rows of a part in float64, ``[P]``.

    Pairs are in the order of an upper triangle: 00, 01, 11 for two rows.
    """
    models_KN, base_N = part.models_KN, part.base_N
    mode = MODELS if base_N is None else rows
    num_rows = len(models_KN) + (mode == BASE_FIRST)
    sums_PL = _aligned(num_rows * (num_rows + 1) // 2, LANES)
    if isinstance(models_KN, np.ndarray) and _add_compiled is not None:
        rows_RB = _aligned(num_rows, BLOCK)
        _add_compiled(models_KN, models_KN[0] if base_N is None else base_N, mode, rows_RB, sums_PL)
    else:
        _add_plain(_rows(models_KN, base_N, mode), sums_PL)
    return sums_PL.sum(axis=1)


def row_products(vectors_KN: Array, length: int) -> Array:
    """Return the inner products of the vectors, stretch by stretch, in float64, ``[P, V]``.

    Args:
        vectors_KN: Float32.
        length: Of a stretch; V of them make the N elements.
    """
    num = len(vectors_KN)
    if isinstance(vectors_KN, np.ndarray) and _row_products_compiled is not None:
        products_PV = np.empty((num * (num + 1) // 2, vectors_KN.shape[1] // length))
        _row_products_compiled(vectors_KN, length, _aligned(len(products_PV), LANES), products_PV)
        return products_PV
    return _row_products_plain(vectors_KN, length)


def total(stack: Stack, measure: Callable[[Part], Array]) -> Array:
    """Return the sum of what `measure` returns for each part, in their order; 0.0 without parts.

    Measures are kept only until their turn, not all at once.
    """
    lock = threading.Lock()
    waiting: dict[int, tuple[int, Array]] = {}
    turn, so_far = 0, 0.0

    def add(part: Part) -> None:
        nonlocal turn, so_far
        start, size = part.start, part.models_KN.shape[1]
        measured = measure(part)
        with lock:
            waiting[start] = (size, measured)
            while turn in waiting:
                size, measured = waiting.pop(turn)
                turn += size
                so_far = so_far + measured

    stack.map(add)
    return so_far


def _rows(models_KN: Array, base_N: Array | None, mode: int) -> list[Array]:
    """Return the rows in float64, with zeros behind them that make whole blocks."""
    xp = namespace(models_KN)
    wide = [xp.asarray(model_N, dtype=xp.float64) for model_N in models_KN]
    if base_N is not None and mode != MODELS:
        wide_base = xp.asarray(base_N, dtype=xp.float64)
        wide = [wide_base, *wide] if mode == BASE_FIRST else [row_N - wide_base for row_N in wide]
    missing = -models_KN.shape[1] % BLOCK
    return [xp.concatenate([row_N, xp.broadcast_to(0 * row_N[:1], (missing,))]) for row_N in wide]


def _pairs(rows: list[Array]) -> list[tuple[Array, Array]]:
    """Return each row with itself and those behind it: the order of an upper triangle."""
    return [(row, other) for i, row in enumerate(rows) for other in rows[i:]]


def _aligned(num: int, length: int) -> Matrix:
    """Return zeros ``[num, length]`` that begin where a line of the cache does: a third faster."""
    bytes_ = np.zeros(num * length * 8 + 64, np.uint8)
    skip = -bytes_.ctypes.data % 64
    return bytes_[skip : skip + num * length * 8].view(np.float64).reshape(num, length)


def _add_plain(rows: list[Array], sums_PL: Matrix) -> None:
    """Add the products of each pair of rows, which are whole blocks, to its lanes."""
    for (row_N, other_N), sums_L in zip(_pairs(rows), sums_PL, strict=True):
        strips = (row_N * other_N).reshape(-1, STRIPS, LANES)
        s0, s1, s2, s3, s4, s5, s6, s7 = (strips[:, i] for i in range(STRIPS))
        blocks = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
        sums_L += np.asarray(blocks.sum(0).tolist())


def _row_products_plain(vectors_KN: Array, length: int) -> Array:
    xp = namespace(vectors_KN)
    rows = [xp.asarray(row_N, dtype=xp.float64).reshape(-1, length) for row_N in vectors_KN]
    whole = length - length % LANES
    products = []
    for row_VI, other_VI in _pairs(rows):
        product_VI = row_VI * other_VI
        sums_VL = product_VI[:, :whole].reshape(len(product_VI), -1, LANES).sum(1)
        sums_VL[:, : length - whole] += product_VI[:, whole:]
        products.append(sums_VL.cumsum(1)[:, -1])
    return xp.stack(products)


def _row_products(vectors_KN: Any, length: Any, sums_PL: Any, products_PV: Any) -> None:
    for row in range(products_PV.shape[1]):
        sums_PL[:] = 0
        for start in range(row * length, (row + 1) * length, LANES):
            end = min(start + LANES, (row + 1) * length)
            pair = 0
            for j in range(vectors_KN.shape[0]):
                for k in range(j, vectors_KN.shape[0]):
                    a, b = vectors_KN[j, start:end], vectors_KN[k, start:end]
                    sums_L = sums_PL[pair]
                    for i in range(end - start):
                        sums_L[i] += np.float64(a[i]) * np.float64(b[i])
                    pair += 1
        for pair in range(sums_PL.shape[0]):
            sum_ = 0.0
            for i in range(LANES):
                sum_ += sums_PL[pair, i]
            products_PV[pair, row] = sum_


def _add(models_KN: Any, base_N: Any, mode: Any, rows_RB: Any, sums_PL: Any) -> None:
    num_rows = rows_RB.shape[0]
    first = num_rows - models_KN.shape[0]
    origin = 1.0 if mode == DELTAS else 0.0
    for start in range(0, base_N.size, BLOCK):
        base_B = base_N[start : start + BLOCK]
        size = base_B.size
        if size < BLOCK:
            rows_RB[:] = 0
        for i in range(size if first else 0):
            rows_RB[0, i] = base_B[i]
        for k in range(models_KN.shape[0]):
            model_B, row_B = models_KN[k, start : start + BLOCK], rows_RB[first + k]
            for i in range(size):
                row_B[i] = np.float64(model_B[i]) - origin * np.float64(base_B[i])
        pair = 0
        for j in range(num_rows):
            for k in range(j, num_rows):
                a, b, sums_L = rows_RB[j], rows_RB[k], sums_PL[pair]
                for i in range(LANES):
                    m = i + 4 * LANES
                    low = (a[i] * b[i] + a[i + LANES] * b[i + LANES]) + (
                        a[i + 2 * LANES] * b[i + 2 * LANES] + a[i + 3 * LANES] * b[i + 3 * LANES]
                    )
                    high = (a[m] * b[m] + a[m + LANES] * b[m + LANES]) + (
                        a[m + 2 * LANES] * b[m + 2 * LANES] + a[m + 3 * LANES] * b[m + 3 * LANES]
                    )
                    sums_L[i] += low + high
                pair += 1


_add_compiled = compiled(_add)
_row_products_compiled = compiled(_row_products)
