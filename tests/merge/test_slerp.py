"""The arc between two models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.slerp import SlerpSettings, slerp

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models, fine_tunes


def run(other, base, t):
    return merged(slerp, SlerpSettings(t=t), [other], base)


def reference(other, base, t):
    """The point at the angle t omega in the plane of the two, lengths interpolated with it."""
    first, second = (v.astype(np.float64).ravel() for v in (base, other))
    one, two = first / np.linalg.norm(first), second / np.linalg.norm(second)
    up = two - (one @ two) * one
    omega = np.arctan2(np.linalg.norm(up), one @ two)
    plane = np.array([[1, np.cos(omega)], [0, np.sin(omega)]])
    x, y = np.linalg.solve(plane, [np.cos(t * omega), np.sin(t * omega)])
    return (x * first + y * second).reshape(base.shape)


def test_by_hand():
    # A right angle: at t = 1/3, cos 30 and sin 30 degrees; lengths are not made one.
    assert_close(run(f32([0, 4]), f32([2, 0]), 1 / 3), f32([2 * np.cos(np.pi / 6), 2]), scale=2)
    # 60 degrees at a quarter: sin 45 / sin 60 and sin 15 / sin 60.
    third = f32([0.5, np.sqrt(0.75)])
    weights = np.array([0.81649658, 0.29885849])
    assert_close(run(third, f32([1, 0]), 0.25), weights @ [[1, 0], third], scale=2)
    rule = slerp(stack([third], f32([1, 0])), SlerpSettings(t=0.25))
    np.testing.assert_allclose(rule.coefficients, [0.29885849], rtol=1e-6)


@pytest.mark.parametrize("angle", [0.03, 0.003])
def test_a_small_angle_is_an_arc(angle):
    # cos = .99955 and .9999955, where SLERP with a threshold goes straight: half way its length is
    # cos(angle / 2), short by angle^2 / 8 = 1.1e-4 of the circle. In 1000 dimensions, so that
    # rounding of the elements does not tilt the angle.
    x, y = np.linalg.qr(np.random.default_rng(0).normal(size=(1000, 2)))[0].T
    made = run(f32(np.cos(angle) * x + np.sin(angle) * y), f32(x), 0.5)
    half = np.cos(angle / 2) * x + np.sin(angle / 2) * y
    np.testing.assert_allclose(made, half, atol=2e-8)
    straight = np.cos(angle / 2)
    assert np.linalg.norm(made.astype(np.float64)) - straight > 0.9 * angle**2 / 8


def test_both_ends_are_the_models_bit_for_bit():
    base, other = far_models(2, (50,))
    base[0], other[1] = -0.0, -0.0
    assert_same_bits(run(other, base, 0.0), base)
    assert_same_bits(run(other, base, 1.0), other)


def test_equal_and_parallel_models():
    model = far_models(1, (50,))[0]
    np.testing.assert_allclose(run(model, model, 0.3), model, rtol=2e-7)
    np.testing.assert_allclose(run(3 * model, model, 0.25), 1.5 * model, rtol=2e-7)


def test_models_without_arc():
    # No length counts as a right angle; opposite models are mixed straight: .75 x 1 - .25 x 2.
    model, zero = f32([1, -2]), f32([0, 0])
    np.testing.assert_allclose(run(zero, model, 1 / 3), np.cos(np.pi / 6) * model, rtol=2e-7)
    np.testing.assert_allclose(run(model, zero, 1 / 3), model / 2, rtol=2e-7)
    assert run(zero, zero, 0.3).tolist() == [0, 0]
    assert run(-2 * model, model, 0.25).tolist() == [0.25, -0.5]
    assert run(f32(-3), f32(2), 0.5) == -0.5


@given(seed=st.integers(0, 99), t=st.floats(-0.5, 1.5), shape=st.sampled_from([(7,), (6, 9)]))
def test_against_float64(seed, t, shape):
    base, other = far_models(2, shape, seed)
    assert_close(run(other, base, t), reference(other, base, t), scale=8)
    (near,), base = fine_tunes(1, shape, seed)
    assert_close(run(near, base, t), reference(near, base, t), scale=4)


@given(seed=st.integers(0, 99), t=st.floats(0, 1))
def test_lengths_stay_and_the_way_back_is_the_same(seed, t):
    base, other = far_models(2, (30,), seed)
    other *= np.linalg.norm(base) / np.linalg.norm(other)
    made = run(other, base, t)
    assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(base), rel=1e-6)
    assert_close(run(base, other, 1 - t), made, scale=3)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 1.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape, t):
    base, other = far_models(2, shape)
    assert_close(run(other, base, t), oracle("slerp", [other], base, t=t), scale=3)


def test_where_mergekit_goes_straight():
    # Above a cosine of .9995 it is linear; the arc differs by less than its height, angle^2 / 8.
    base = far_models(1, (40, 40))[0]
    other = f32(base + 0.02 * far_models(1, (40, 40), seed=1)[0])
    theirs = oracle("slerp", [other], base, t=0.5)
    assert_close(theirs, (base.astype(np.float64) + other) / 2, scale=2)
    ours = run(other, base, 0.5)
    stretch = np.vdot(ours, theirs) / np.vdot(theirs, theirs) - 1
    assert stretch == pytest.approx(0.02**2 / 8, rel=0.1)


def test_what_is_refused():
    models = far_models(2, (3,))
    with pytest.raises(SettingsError, match="slerp needs a base model; give base_model"):
        merged(slerp, SlerpSettings(t=0.5), models[:1], None)
    with pytest.raises(SettingsError, match=r"slerp takes 1 model\(s\) beside base_model, not 2"):
        merged(slerp, SlerpSettings(t=0.5), models, models[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    base, *models = far_models(2, shape)
    assert_same_everywhere(slerp, SlerpSettings(t=0.3), models, base, exact=False)
