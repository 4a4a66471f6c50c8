"""The point whose arcs to all models balance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.merge.karcher import KarcherSettings, karcher

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_everywhere, far_models, fine_tunes


def run(models, base=None, **settings):
    return merged(karcher, KarcherSettings(**settings), models, base)


def on_circle(degrees, length=1.0):
    angle = np.radians(degrees)
    return f32([length * np.cos(angle), length * np.sin(angle), 0])


def logarithms(point, units):
    """The arcs from a point to others, as tangents."""
    rests = units - (units @ point)[:, None] * point
    angles = np.arctan2(np.linalg.norm(rests, axis=1), units @ point)
    return rests * (angles / np.linalg.norm(rests, axis=1))[:, None]


def reference(models, steps):
    """So many steps with vectors."""
    vectors = np.array(models, np.float64).reshape(len(models), -1)
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / lengths[:, None]
    point = units.mean(0) / np.linalg.norm(units.mean(0))
    for _ in range(steps):
        tangent = logarithms(point, units).mean(0)
        far = np.linalg.norm(tangent)
        point = np.cos(far) * point + np.sin(far) / far * tangent
    return (point * lengths.mean()).reshape(models[0].shape)


def test_by_hand():
    # On a circle the mean is that of the angles: (0 + 10 + 50) / 3 = 20 degrees. The mean of the
    # directions, the start, has tan = (0 + .1736 + .7660) / (1 + .9848 + .6428): 19.68 degrees.
    circle = [on_circle(0), on_circle(10), on_circle(50)]
    assert_close(run(circle), on_circle(20))
    start = np.degrees(np.arctan2(0.17364818 + 0.76604444, 1 + 0.98480775 + 0.64278761))
    assert_close(run(circle, max_iter=0), on_circle(start))
    assert_close(run(circle, tol=1.0), run(circle, max_iter=0))
    # Lengths 1, 2 and 6 give 3, and do not turn the direction.
    longer = [on_circle(0), on_circle(10, 2.0), on_circle(50, 6.0)]
    assert_close(run(longer), 3 * on_circle(20), scale=3)
    rule = karcher(stack(longer, None), KarcherSettings())
    made = np.array(rule.coefficients) @ np.array(longer, np.float64)
    np.testing.assert_allclose(made, 3 * on_circle(20), atol=1e-6)
    # A base has no say.
    assert_close(run(circle, base=on_circle(90)), on_circle(20))


@given(seed=st.integers(0, 99), num=st.integers(2, 5), steps=st.integers(0, 4))
def test_each_step_against_vectors(seed, num, steps):
    models, _ = fine_tunes(num, (5, 6), seed)
    made = run(models, max_iter=steps, tol=0.0)
    assert_close(made, reference(models, steps), scale=8)


@given(seed=st.integers(0, 99))
def test_arcs_balance(seed):
    models = [model + 0.5 for model in far_models(4, (12,), seed)]
    units = np.array([m / np.linalg.norm(m) for m in np.array(models, np.float64)])
    mean = run(models, max_iter=100, tol=1e-7).astype(np.float64)
    tangent = logarithms(mean / np.linalg.norm(mean), units).mean(0)
    assert np.linalg.norm(tangent) < 1e-6


def test_the_step_that_is_too_short_is_not_made():
    models, _ = fine_tunes(3, (40,), seed=1)
    steps = [
        np.arccos(np.clip(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
        for a, b in ((reference(models, i), reference(models, i + 1)) for i in range(3))
    ]
    assert steps[0] > 2 * steps[1] > 4 * steps[2]
    made = run(models, tol=float(steps[1]) * 1.01)
    assert_close(made, reference(models, 1), scale=3)
    made = run(models, tol=float(steps[1]) * 0.99)
    assert_close(made, reference(models, 2), scale=3)


def test_one_model_and_equal_models():
    model = far_models(1, (50,))[0]
    np.testing.assert_allclose(run([model]), model, rtol=2e-7)
    np.testing.assert_allclose(run([model] * 3), model, rtol=4e-7)


def test_models_without_length_and_opposite_ones():
    x, zero = on_circle(0), 0 * on_circle(0)
    assert run([zero, zero]).tolist() == [0, 0, 0]
    # No say in the direction; the mean length is (1 + 1 + 0) / 3.
    models = [on_circle(0), on_circle(40), zero]
    assert_close(run(models), on_circle(20, 2 / 3))
    models = [on_circle(0), on_circle(10), on_circle(50), zero]
    assert_close(run(models, max_iter=1), on_circle(20, 3 / 4))
    # Directions that cancel out: that of the first model with a length.
    assert_close(run([zero, -3 * x, 3 * x]), -2 * x, scale=2)
    for models in ([x, -x], [on_circle(0), on_circle(40), zero], [x, -x, on_circle(90)]):
        assert_close(run(models), oracle("karcher", models, None))


@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape):
    for models in (fine_tunes(3, shape)[0], far_models(4, shape)):
        for settings in ({}, {"max_iter": 2}, {"tol": 0.01}):
            assert_close(run(models, **settings), oracle("karcher", models, None, **settings), 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    assert_same_everywhere(karcher, KarcherSettings(), fine_tunes(3, shape)[0], None, exact=False)
