"""The base plus weighted changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.task_arithmetic import TaskArithmeticSettings, task_arithmetic

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, fine_tunes


def run(models, base, **settings):
    return merged(task_arithmetic, TaskArithmeticSettings(**settings), models, base)


def test_by_hand():
    base, models = f32([1, 1]), [f32([2, 1]), f32([1, 5])]  # changes [1, 0] and [0, 4]
    assert run(models, base, weight=(0.5, 0.25)).tolist() == [1.5, 2]
    assert run(models, base, weight=(0.5, 0.25), lambda_=2.0).tolist() == [2, 3]
    assert run(models, base, weight=(1.0, 3.0), normalize=True).tolist() == [1.25, 4]
    assert run(models, base, weight=(-1.0, 0.0)).tolist() == [0, 1]
    settings = TaskArithmeticSettings.model_validate({"weight": (0.5,), "lambda": 3.0})
    assert task_arithmetic(stack(models, base), settings).coefficients == (1.5, 1.5)


def test_small_changes_of_large_weights_are_not_lost():
    # (1 - w) base + w model would round at 1e4: changes of 2^-10 come back exact.
    base = f32([10000.0])
    model = base + np.float32(2**-10)
    assert run([model, model], base, weight=(0.5, 0.5)).tolist() == model.tolist()


def test_models_without_change_give_the_base():
    base = f32([0.1, 1e-45, -3])
    assert_same_bits(run([base, base], base, weight=(0.3, 0.8)), base)
    assert_same_bits(run([base + 1], base, weight=(0.0,)), base)
    # A base of -0 with a change of 0 is 0, by the rules of addition.
    assert_same_bits(run([f32([-0.0])], f32([-0.0]), weight=(1.0,)), f32([0.0]))


def test_what_is_refused():
    models, base = fine_tunes(2, (3,))
    with pytest.raises(SettingsError, match="task_arithmetic needs a base model; give base_model"):
        run(models, None, weight=(1.0,))
    with pytest.raises(SettingsError, match=r"^the weights 1\.0, -1\.0 sum to zero"):
        run(models, base, weight=(1.0, -1.0), normalize=True)
    with pytest.raises(SettingsError, match="weight has 3 values for 2 models"):
        run(models, base, weight=(1.0, 1.0, 1.0))
    run(models, base, weight=(1.0, -1.0))


@given(seed=st.integers(0, 99), num=st.integers(1, 5), norm=st.booleans(), factor=st.floats(-2, 2))
def test_against_float64(seed, num, norm, factor):
    models, base = fine_tunes(num, (5, 6), seed)
    weight = tuple(np.random.default_rng(seed).uniform(0.1, 1, num))
    exact = np.tensordot(weight, np.array(models, np.float64) - base, 1) * factor
    exact = base + (exact / np.sum(weight) if norm else exact)
    settings = {"weight": weight, "normalize": norm, "lambda_": factor}
    assert_close(run(models, base, **settings), exact, scale=10)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape, norm):
    models, base = fine_tunes(4, shape)
    weight = (1.0, 2.0, -0.5, 0.25)
    shared = {"normalize": norm, "lambda": 0.7, "int8_mask": True}
    theirs = oracle("task_arithmetic", models, base, weight=list(weight), **shared)
    assert_close(run(models, base, weight=weight, **shared), theirs, scale=5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    settings = TaskArithmeticSettings(weight=(1.0, 0.0, 0.3, -0.2), lambda_=0.9)
    assert_same_everywhere(task_arithmetic, settings, *fine_tunes(4, shape), exact=True)
