"""What every method promises: the same result for any parts, arrays and loops."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from inarch.merge import _gram, _sums

from .merging import assert_close, f32, merged

SHAPES = [(), (1,), (19,), (24, 16), (3, 4, 5), (40, 70)]
"""Parts of nine cut the vector; the last one fills blocks of a Gram matrix and leaves a rest."""
LOOPS = [
    (_sums, "_sum_compiled"),
    (_sums, "_move_compiled"),
    (_gram, "_add_compiled"),
    (_gram, "_row_products_compiled"),
    (import_module("inarch.merge.nearswap"), "_hold_compiled"),
]


def bits(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def assert_same_bits(actual: Any, expected: Any) -> None:
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_array_equal(bits(actual), bits(expected))


def assert_same_everywhere(method, settings, models, base, *, exact: bool) -> np.ndarray:
    """Whole or in parts, numpy or torch, compiled or plain.

    Args:
        exact: The rule needs no numbers of the whole tensor, so parts make no difference at all.
    """
    whole = merged(method, settings, models, base)
    same = assert_same_bits if exact else assert_close
    same(merged(method, settings, models, base, part_elements=9), whole)
    for part_elements in (1 << 17, 9):
        how = {"kind": "torch", "part_elements": part_elements}
        same(merged(method, settings, models, base, **how), whole)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in LOOPS:
            patch.setattr(module, name, None)
        assert_same_bits(merged(method, settings, models, base), whole)
    return whole


def fine_tunes(num: int, shape: tuple[int, ...], seed: int = 0) -> tuple[list[np.ndarray], Any]:
    """Models near a base and, in part, near each other."""
    rng = np.random.default_rng(seed)
    base, shared = rng.normal(size=shape), rng.normal(scale=0.3, size=shape)
    models = [f32(base + shared + rng.normal(scale=0.3, size=shape)) for _ in range(num)]
    return models, f32(base)


def far_models(num: int, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """Models with nothing in common."""
    rng = np.random.default_rng(seed)
    return [f32(rng.normal(size=shape)) for _ in range(num)]
