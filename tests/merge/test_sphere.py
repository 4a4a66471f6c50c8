"""Points on a sphere as weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inarch.merge._sphere import arc_weights, cosines, direction, per_length, step


def pair(angle, first=1.0, second=1.0):
    """Products of two vectors of given lengths."""
    return np.array([first**2, first * second * np.cos(angle), second**2])


@given(angle=st.floats(1e-6, 3.1), t=st.floats(-1, 2), length=st.floats(1e-3, 1e3))
def test_arc_weights_by_linear_algebra(angle, t, length):
    # The point at angle t omega, in the basis of the two unit vectors.
    vectors = np.array([[1, np.cos(angle)], [0, np.sin(angle)]])
    expected = np.linalg.solve(vectors, [np.cos(t * angle), np.sin(t * angle)])
    # Products near 1 know small angles to 1e-8, which hardly moves the weights.
    made = arc_weights(pair(angle, length, 3.0), t)
    np.testing.assert_allclose(made, expected, atol=1e-7 + 1e-8 / angle)


def test_arc_weights_by_hand():
    root = np.sqrt(0.5)
    np.testing.assert_allclose(arc_weights(pair(np.pi / 2), 0.5), [root, root])
    # sin(45)/sin(60), sin(15)/sin(60) degrees
    np.testing.assert_allclose(
        arc_weights(pair(np.pi / 3), 0.25), [0.8164966, 0.2988585], rtol=1e-6
    )
    # No angle, no length, and pointing apart: the limit, orthogonal, and straight.
    assert np.allclose(arc_weights(np.array([4.0, 6.0, 9.0]), 0.25), [0.75, 0.25], rtol=1e-15)
    no_length = arc_weights(np.array([4.0, 0.0, 0.0]), 0.25)
    np.testing.assert_allclose(no_length, [np.cos(np.pi / 8), np.sin(np.pi / 8)])
    np.testing.assert_allclose(arc_weights(pair(np.pi), 0.25), [0.75, 0.25])
    np.testing.assert_allclose(arc_weights(pair(np.pi - 9e-4), 0.25), [0.75, 0.25])
    assert arc_weights(pair(np.pi - 2e-3), 0.25)[0] > 300
    assert [float(weight) for weight in arc_weights(pair(1.0), 0.0)] == [1, 0]
    assert [float(weight) for weight in arc_weights(pair(1.0), 1.0)] == [0, 1]


def test_arc_weights_of_many_pairs_and_of_tensors():
    angles = [0.0, 1e-3, 1.0, 3.0, np.pi]
    many = np.array([pair(angle, 2.0, 0.5) for angle in angles]).T
    made = arc_weights(many, 0.3)
    for i in range(len(angles)):
        single = arc_weights(many[:, i], 0.3)
        np.testing.assert_allclose([made[0][i], made[1][i]], single, rtol=1e-14)
    tensors = arc_weights(torch.from_numpy(many), 0.3)
    np.testing.assert_allclose(np.array(tensors), made, rtol=1e-12)


def test_cosines_leave_out_what_has_no_length():
    products = np.array([[4.0, 3.0, 0.0], [3.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    lengths = np.array([2.0, 3.0, 0.0])
    assert cosines(products, lengths).tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]]
    assert per_length(np.array([1.0, 6.0, 5.0]), lengths).tolist() == [0.5, 2, 0]


def test_direction():
    apart = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert direction(np.array([0.5, 0.5]), apart) is None
    np.testing.assert_allclose(direction(np.array([0.75, 0.25]), apart), [1.5, 0.5])
    # |3 x + 4 y| = 5
    np.testing.assert_allclose(direction(np.array([3.0, 4.0]), np.eye(2)), [0.6, 0.8])


@given(seed=st.integers(0, 999))
def test_step_against_vectors(seed):
    rng = np.random.default_rng(seed)
    units = rng.normal(size=(4, 6))
    units /= np.linalg.norm(units, axis=1)[:, None]
    weights = rng.dirichlet(np.ones(4))
    start = rng.normal(size=4)
    start /= np.linalg.norm(start @ units)
    point = start @ units
    tangent = np.zeros(6)
    for weight, unit in zip(weights, units, strict=True):
        rest = unit - (unit @ point) * point
        angle = np.arctan2(np.linalg.norm(rest), unit @ point)
        tangent += weight * angle * rest / np.linalg.norm(rest)
    length = np.linalg.norm(tangent)
    expected = np.cos(length) * point + np.sin(length) * tangent / length
    made, far = step(start, weights, units @ units.T)
    np.testing.assert_allclose(made @ units, expected, atol=1e-7)
    assert far == pytest.approx(length, abs=1e-7)


def test_an_arc_to_the_opposite_point_counts_as_none():
    apart = np.array([[1.0, -1.0], [-1.0, 1.0]])
    made, far = step(np.array([1.0, 0.0]), np.array([0.5, 0.5]), apart)
    assert far == 0
    assert made.tolist() == [1, 0]
