"""The best approximation of low rank: by hand, beside the SVD, and what Eckart and Young say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.merge._low_rank import low_rank


def normal(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_by_hand():
    # 3 e1 e2^T + 4 e2 e1^T: singular values 4 and 3; rank 1 keeps the 4 and 16 / 25 of the norm.
    matrix = np.array([[0, 3, 0], [4, 0, 0]], np.float32)
    made = low_rank(matrix, 1, 1.0, 0)
    np.testing.assert_allclose(made.left @ made.right, [[0, 0, 0], [4, 0, 0]], atol=1e-6)
    assert made.kept == pytest.approx(16 / 25)
    # Split evenly: both factors have the norm of 2.
    assert np.linalg.norm(made.left) == pytest.approx(2)
    assert np.linalg.norm(made.right) == pytest.approx(2)
    # The share decides between 1 and 2.
    assert len(low_rank(matrix, 2, 0.64 - 1e-6, 0).right) == 1
    assert low_rank(matrix, 2, 0.5, 0).kept == pytest.approx(16 / 25)
    assert len(low_rank(matrix, 2, 0.64 + 1e-6, 0).right) == 2
    assert len(low_rank(matrix, 1, 0.9, 0).right) == 1


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**32 - 1))
def test_what_is_lost_are_the_squares_of_the_dropped_singular_values(rows, columns, rank, seed):
    matrix = normal((rows, columns), seed)
    made = low_rank(matrix, rank, 1.0, 0)
    squares = np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2
    lost = np.square(matrix - made.left.astype(np.float64) @ made.right).sum()
    np.testing.assert_allclose(lost, squares[rank:].sum(), atol=1e-5 * squares.sum())
    np.testing.assert_allclose(made.kept, squares[:rank].sum() / squares.sum(), atol=1e-5)
    found = len(made.right)  # what is below the rounding of float32 is no direction
    assert made.left.shape == (rows, found)
    assert (squares[:rank] > 1e-6 * squares[0]).sum() <= found <= min(rank, rows, columns)
    norms = np.square(made.left).sum(axis=0)
    np.testing.assert_allclose(norms, np.square(made.right).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(norms, np.sqrt(squares[:found]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50), (1, 7)])
def test_full_rank_is_the_matrix(shape):
    matrix = normal(shape)
    made = low_rank(matrix, 100, 1.0, 0)
    np.testing.assert_allclose(made.left @ made.right, matrix, atol=3e-6)
    assert made.kept == pytest.approx(1)


def test_a_matrix_of_smaller_rank_gets_that_rank():
    matrix = normal((50, 3)) @ normal((3, 80), 1)
    made = low_rank(matrix, 20, 1.0, 0)
    assert len(made.right) == 3
    np.testing.assert_allclose(made.left @ made.right, matrix, atol=1e-5)
    zeros = low_rank(np.zeros((4, 5), np.float32), 2, 1.0, 0)
    assert (zeros.left @ zeros.right == 0).all()
    assert (len(zeros.right), zeros.kept) == (1, 1)


@pytest.mark.parametrize("decay", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(450, 600), (600, 450)])
def test_large_matrices_lose_hardly_more_than_the_least(shape, decay):
    # With rank 16, a Krylov space of 192 columns stands for 450: the other way of the module.
    few = min(shape)
    spectrum = np.arange(1.0, few + 1) ** -decay
    left, right = (np.linalg.qr(normal((side, few), side))[0] for side in shape)
    made = low_rank((left * spectrum) @ right.T, 16, 1.0, 0)
    best = (spectrum[:16] ** 2).sum() / (spectrum**2).sum()
    assert best * (1 - 1e-4) < made.kept < best * (1 + 1e-6)
    lost = np.square((left * spectrum) @ right.T - made.left @ made.right).sum()
    assert 1 - made.kept == pytest.approx(lost / (spectrum**2).sum(), abs=1e-5)


def test_noise_without_a_spectrum_is_the_worst_case():
    matrix = normal((450, 600))
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    best = squares[:16].sum() / squares.sum()
    assert best * 0.995 < low_rank(matrix, 16, 1.0, 0).kept <= best * 1.000001


def test_the_same_seed_gives_the_same_bits():
    matrix = normal((450, 600))
    one, two, other = (low_rank(matrix, 16, 1.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.left, two.left)
    np.testing.assert_array_equal(one.right, two.right)
    assert not np.array_equal(one.left, other.left)
