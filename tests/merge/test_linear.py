"""The weighted mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inarch.errors import SettingsError
from inarch.merge.linear import LinearSettings, linear

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models


def run(models, base=None, **settings):
    return merged(linear, LinearSettings(**settings), models, base)


def test_by_hand():
    models = [f32([1, 2]), f32([3, 6])]
    assert run(models, weight=(1.0, 3.0)).tolist() == [2.5, 5]  # (1 + 9) / 4, (2 + 18) / 4
    assert run(models, weight=(1.0, 3.0), normalize=False).tolist() == [10, 20]
    assert run(models, weight=(2.0, -1.0)).tolist() == [-1, -2]  # 2 - 3, 4 - 6
    assert run(models, weight=(-1.0, -3.0)).tolist() == [2.5, 5]  # of sum -4: the same shares
    assert run(models, weight=(7.0,)).tolist() == [2, 4]  # one weight for all
    assert linear(stack(models, None), LinearSettings(weight=(1.0, 3.0))).coefficients == (
        0.25,
        0.75,
    )


def test_sums_in_the_order_of_the_user():
    # float32 has no 1e8 + 1: it is lost beside the first model, not behind the last.
    big, one, less = f32([1e8]), f32([1]), f32([-1e8])
    assert run([big, one, less], weight=(1.0,), normalize=False).tolist() == [0]
    assert run([big, less, one], weight=(1.0,), normalize=False).tolist() == [1]


def test_a_model_alone_stays_as_it_is():
    model, other = f32([-0.0, 1e-45, 0.1]), f32([5, 6, 7])
    assert_same_bits(run([model], weight=(0.3,)), model)
    assert_same_bits(run([other, model], weight=(0.0, 2.0)), model)
    assert_same_bits(run([model], base=other, weight=(1.0,)), model)
    assert run([model, other], weight=(0.0,), normalize=False).tolist() == [0, 0, 0]


@pytest.mark.parametrize("weight", [(1.0, -1.0, 0.0), (0.1, 0.2, -0.3), (0.0,)])
def test_weights_that_cancel_are_refused(weight):
    with pytest.raises(SettingsError, match=r"^the weights .* sum to zero"):
        run(far_models(3, (2,)), weight=weight)


def test_bad_weights_are_refused():
    with pytest.raises(SettingsError, match="weight has 2 values for 3 models"):
        run(far_models(3, (2,)), weight=(1.0, 2.0))
    for wrong in ({}, {"weight": (float("nan"),)}, {"weight": (float("inf"),)}):
        with pytest.raises(ValidationError):
            LinearSettings(**wrong)


@given(
    seed=st.integers(0, 99),
    num=st.integers(1, 5),
    shape=st.sampled_from(SHAPES),
    norm=st.booleans(),
)
def test_against_float64(seed, num, shape, norm):
    models = far_models(num, shape, seed)
    weight = tuple(np.random.default_rng(seed).uniform(-0.5, 2, num) + 0.6)
    exact = np.tensordot(weight, np.array(models, np.float64), 1)
    if norm:
        exact = exact / np.sum(weight)
    assert_close(
        run(models, weight=weight, normalize=norm), exact, scale=np.sum(np.abs(weight)) * 4
    )


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape, norm):
    models, weight = far_models(4, shape), (1.0, 2.0, -0.5, 0.25)
    theirs = oracle("linear", models, None, weight=list(weight), normalize=norm)
    assert_close(run(models, weight=weight, normalize=norm), theirs, scale=4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    settings = LinearSettings(weight=(1.0, 0.0, 0.3, -0.2))
    assert_same_everywhere(linear, settings, far_models(4, shape), None, exact=True)
