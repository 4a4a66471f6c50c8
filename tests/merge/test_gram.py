"""Inner products over a whole tensor."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from inarch.merge import _gram
from inarch.merge._gram import (
    BASE_FIRST,
    DELTAS,
    MODELS,
    part_products,
    row_products,
    total,
    whole_gram,
)
from inarch.merge._stack import ArrayStack, Part

from .merging import f32


def exact(rows):
    """By sums that round once; the products of float32 are exact in float64."""
    rows = [row.astype(np.float64).ravel() for row in rows]
    return np.array([[math.fsum(a * b) for b in rows] for a in rows])


def random_part(num, size, seed=0):
    rng = np.random.default_rng(seed)
    return Part(0, f32(rng.normal(size=(num, size))), f32(rng.normal(size=size)))


def gram(part, rows):
    """As a matrix."""
    products = part_products(part, rows)
    num = int((2 * len(products)) ** 0.5)
    made = np.zeros((num, num))
    made[np.triu_indices(num)] = products
    return made + np.triu(made, 1).T


def test_by_hand():
    part = Part(0, f32([[1, 2], [0, 3]]), f32([1, 0]))
    assert gram(part, MODELS).tolist() == [[5, 6], [6, 9]]
    assert gram(part, DELTAS).tolist() == [[4, 6], [6, 10]]  # of [0, 2] and [-1, 3]
    assert gram(part, BASE_FIRST).tolist() == [[1, 1, 0], [1, 5, 6], [0, 6, 9]]
    for rows in (MODELS, DELTAS, BASE_FIRST):
        assert gram(part._replace(base_N=None), rows).tolist() == [[5, 6], [6, 9]]


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("num", [1, 3])
def test_compiled_plain_and_torch(num, size, monkeypatch):
    part = random_part(num, size)
    wanted = {
        MODELS: part.models_KN,
        DELTAS: part.models_KN.astype(np.float64) - part.base_N,
        BASE_FIRST: np.array([part.base_N, *part.models_KN]),
    }
    compiled = {rows: gram(part, rows) for rows in wanted}
    monkeypatch.setattr(_gram, "_add_compiled", None)
    tensors = Part(0, torch.from_numpy(part.models_KN), torch.from_numpy(part.base_N))
    for rows, vectors in wanted.items():
        np.testing.assert_array_equal(gram(part, rows), compiled[rows])
        np.testing.assert_allclose(compiled[rows], exact(vectors), rtol=1e-13, atol=1e-11)
        np.testing.assert_allclose(gram(tensors, rows), compiled[rows], rtol=1e-13, atol=1e-11)
    assert tensors.models_KN.numpy().tobytes() == part.models_KN.tobytes()


@pytest.mark.parametrize("length", [1, 5, 127, 128, 129, 1000])
@pytest.mark.parametrize("num", [1, 2, 3])
def test_products_of_rows(length, num, monkeypatch):
    vectors = f32(np.random.default_rng(length).normal(size=(num, 4 * length)))
    compiled = row_products(vectors, length)
    rows = vectors.reshape(num, 4, length)
    wanted = [exact(rows[:, v])[np.triu_indices(num)] for v in range(4)]
    np.testing.assert_allclose(compiled, np.transpose(wanted), rtol=1e-13, atol=1e-12)
    monkeypatch.setattr(_gram, "_row_products_compiled", None)
    np.testing.assert_array_equal(row_products(vectors, length), compiled)
    tensors = row_products(torch.from_numpy(vectors), length)
    np.testing.assert_allclose(tensors, compiled, rtol=1e-13, atol=1e-12)


def test_products_of_rows_by_hand():
    vectors = f32([[1, 2, 0, 1], [3, 0, 5, 5]])
    assert row_products(vectors, 2).tolist() == [[5, 1], [3, 5], [9, 50]]
    assert row_products(vectors, 4).tolist() == [[6], [8], [59]]


def test_tiny_and_huge_numbers():
    # 1e-30 squared is no number of float32, nor is 1e30 squared.
    part = Part(0, f32(np.full((1, 1500), 1e-30)), f32(np.full(1500, 1e30)))
    np.testing.assert_allclose(gram(part, MODELS), [[1500e-60]], rtol=1e-6)
    np.testing.assert_allclose(gram(part, DELTAS), [[1500e60]], rtol=1e-6)


def test_over_parts():
    part = random_part(3, 60 * 50)
    models = [model.reshape(60, 50) for model in part.models_KN]
    for part_elements in (1, 250, 1 << 17):
        made = ArrayStack(models, part.base_N.reshape(60, 50), part_elements=part_elements)
        np.testing.assert_allclose(whole_gram(made, MODELS), exact(models), rtol=1e-13)
        assert whole_gram(made, BASE_FIRST).shape == (4, 4)
    empty = ArrayStack([np.zeros((0, 3), np.float32)] * 2, np.zeros((0, 3), np.float32))
    assert whole_gram(empty, DELTAS).tolist() == [[0, 0], [0, 0]]
    assert whole_gram(empty, BASE_FIRST).tolist() == [[0] * 3] * 3


class Shuffled(ArrayStack):
    """A stack whose parts are measured backwards, and by threads."""

    def map(self, measure):
        parts = super().map(lambda part: part)
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(measure, parts[::-1]))


def test_parts_are_added_in_their_order():
    # 1e17 - 1e17 + 1 is 1 in this order, and 0 in the other.
    made = Shuffled([f32([1e17, -1e17, 1])], part_elements=1)
    assert total(made, lambda part: float(part.models_KN[0, 0])) == 1
    values = np.random.default_rng(0).normal(size=500)
    made = Shuffled([f32(values)], part_elements=1)
    assert total(made, lambda part: float(part.models_KN[0, 0])) == sum(f32(values).tolist())
