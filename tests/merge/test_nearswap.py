"""The other model, held within t of the base."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inarch.errors import SettingsError
from inarch.merge.nearswap import NearswapSettings, nearswap

from .merging import assert_close, f32, merged, oracle
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models


def run(models, base, t):
    return merged(nearswap, NearswapSettings(t=t), models, base)


def test_by_hand():
    # Distances 0, .25, .5, 1, 4 with t = .5: weights 1, 1, 1, .5, .125 of the other model.
    base, other = f32([1, 1, 1, 1, 1]), f32([1, 1.25, 0.5, 2, -3])
    assert run([other], base, 0.5).tolist() == [1, 1.25, 0.5, 1.5, 0.5]


def test_what_is_near_is_the_other_bit_for_bit():
    base, other = f32([0.0, -0.0, 0.1]), f32([-0.0, 0.0, 0.10001])
    assert_same_bits(run([other], base, 1e-3), other)
    assert_same_bits(run([other + 1], base, 0.0), f32([0, 0, 0.1]))
    assert_same_bits(run([base], base, 0.0), base)
    # At a distance of just t: the other's zero, not that of .5 - .5 or -.5 + .5.
    assert_same_bits(run([f32([-0.0, -0.0])], f32([0.5, -0.5]), 0.5), f32([-0.0, -0.0]))


@given(seed=st.integers(0, 99), t=st.floats(0, 3))
def test_against_the_published_form(seed, t):
    base, other = far_models(2, (40,), seed)
    wide, far = base.astype(np.float64), other.astype(np.float64)
    weight = np.clip(t / np.abs(wide - far), 0, 1)
    assert_close(run([other], base, t), weight * far + (1 - weight) * wide, scale=2)


@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape):
    base, other = far_models(2, shape)
    for t in (0.0, 0.01, 0.5, 10.0):
        assert_close(run([other], base, t), oracle("nearswap", [other], base, t=t), scale=2)


def test_what_is_refused():
    models = far_models(2, (3,))
    with pytest.raises(SettingsError, match="nearswap needs a base model; give base_model"):
        run(models[:1], None, 1.0)
    with pytest.raises(SettingsError, match=r"takes 1 model\(s\) beside base_model, not 2"):
        run(models, models[0], 1.0)
    with pytest.raises(ValidationError):
        NearswapSettings(t=-0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    base, *models = far_models(2, shape)
    assert_same_everywhere(nearswap, NearswapSettings(t=0.5), models, base, exact=True)
