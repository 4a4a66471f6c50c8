"""D3 of the facts: what bfloat16 does to small changes, and that it is said."""

import numpy as np
import pytest

from inarch.merge._jobs import Job
from inarch.merge._rounding import rounding_notes
from inarch.merge.varm import VarmSettings, varm
from inarch.settings import Settings

from .merging import stack
from .test_stream import Memory


def models(change: float, dtype: str) -> tuple[Memory, Memory, Memory]:
    """A base of size .02, and two models whose changes are of size `change` and twice that."""
    rng = np.random.default_rng(0)
    base = values(Memory(rng.normal(scale=0.02, size=(300, 300)), "BF16"))  # as it is published
    one, two = (base + rng.normal(scale=k * change, size=base.shape) for k in (1, 2))
    return Memory(base, dtype, "base"), Memory(one, dtype, "one"), Memory(two, dtype, "two")


def values(memory: Memory) -> np.ndarray:
    out = np.empty(memory.stored.size, np.float32)
    memory.fill(0, out)
    return out.reshape(memory.shape)


def job(base: Memory, *others: Memory, copy: bool = False) -> Job:
    return Job("t", "BF16", "varm", Settings(), others, base, copy)


@pytest.mark.parametrize(
    ("change", "dtype", "warned"),
    [(1e-4, "F32", []), (1e-4, "BF16", []), (1e-5, "F32", []), (1e-5, "BF16", ["one", "two"])],
)
def test_coefficients_and_warning(change, dtype, warned):
    base, one, two = models(change, dtype)
    made = varm(stack([values(one), values(two)], values(base)), VarmSettings())
    notes = rounding_notes([job(base, one, two)])
    assert [note.split(":")[0] for note in notes] == warned
    # changes of 1 : 2 have squares of 1 : 4
    off = abs(made.coefficients[0] - 0.2)
    assert off < 0.01 if dtype == "F32" else off < 0.02 or warned
    if warned:
        assert made.coefficients[0] < 0.16  # .12 in the facts
        assert "88% of" in notes[0]
        assert "78% of" in notes[1]


def test_what_was_not_trained_does_not_count():
    base, one, two = models(1e-2, "BF16")
    jobs = [job(base, base, two), job(base, one, two), job(base, one, two, copy=True)]
    assert rounding_notes(jobs) == []
    assert rounding_notes([]) == []


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_a_matrix_without_elements_tells_nothing(shape):
    nothing = Memory(np.zeros(shape), "BF16")
    assert rounding_notes([job(nothing, nothing)]) == []
