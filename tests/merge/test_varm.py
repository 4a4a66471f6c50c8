"""VaRM at its four units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge._weighted import shares
from inarch.merge.sce import SceSettings, sce
from inarch.merge.varm import VarmSettings, squared_change, varm

from .merging import KINDS, assert_close, f32, merged, random_models, stack

ONE = f32([[0.4, -0.2, 0.1], [0, 0.3, -0.1]])
TWO = f32([[-0.1, -0.3, 0.1], [0.2, 0, 0.5]])
ZERO = np.zeros_like(ONE)


def run(models, base, *, kind="numpy", part_elements=1 << 17, **settings):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(varm, VarmSettings(**settings), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_worked_example(kind):
    # Squares add up to .31 and .40: weights .4366 and .5634; .4366 x .4 - .5634 x .1 = .1183.
    expected = [[0.1183, -0.2563, 0.1], [0.1127, 0.1310, 0.2380]]
    np.testing.assert_allclose(run([ONE, TWO], ZERO, kind=kind), expected, atol=5.1e-5)
    rule = varm(stack([ONE, TWO], ZERO, kind), VarmSettings())
    np.testing.assert_allclose(rule.coefficients, (0.31 / 0.71, 0.40 / 0.71), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_by_element(kind):
    # (.4^3 - .1^3) / (.4^2 + .1^2) = .063 / .17; of 0 and .2 it is .2; of 0 and 0 it is 0.
    models, base = [f32([1.4, 1.0, 1]), f32([0.9, 1.2, 1])], f32([1, 1, 1])
    expected = [1 + 0.063 / 0.17, 1.2, 1]
    result = run(models, base, unit="element", kind=kind)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num", [1, 2, 5])
def test_as_the_formula_in_float64(num, kind):
    models, base = random_models(num, (31, 7), seed=num)
    deltas = np.array(models, np.float64) - base
    squares = np.square(deltas)
    by_matrix = squares.mean(axis=(1, 2)) / squares.mean(axis=(1, 2)).sum()
    expected = base + (by_matrix[:, None, None] * deltas).sum(axis=0)
    how = {"kind": kind, "part_elements": 50}
    assert_close(run(models, base, **how), expected)
    whole = squares.sum(axis=0)
    expected = base + (squares / np.where(whole == 0, 1, whole) * deltas).sum(axis=0)
    assert_close(run(models, base, unit="element", **how), expected)


@pytest.mark.parametrize("unit", ["model", "layer"])
def test_wider_units_add_up_what_each_tensor_changed(unit):
    # Squares 1 + 9 and 4 + 1: two thirds and one third.
    base = f32([0, 0])
    tensors = [[f32([1, 0]), f32([0, 2])], [f32([0, 3]), f32([1, 0])]]
    sums = np.sum([squared_change(stack(models, base)) for models in tensors], axis=0)
    assert sums.tolist() == [10, 5]
    result = run(tensors[0], base, unit=unit, coefficients=shares(sums))
    np.testing.assert_allclose(result, [2 / 3, 2 / 3], rtol=1e-6)


def test_wider_units_need_their_coefficients():
    with pytest.raises(SettingsError, match=r"unit: layer .* squared_change"):
        run([ONE, TWO], ZERO, unit="layer")
    with pytest.raises(SettingsError, match="3 values for 2 models"):
        run([ONE, TWO], ZERO, unit="model", coefficients=(0.2, 0.3, 0.5))
    with pytest.raises(ValueError, match="no effect with unit: matrix"):
        VarmSettings(coefficients=(0.5, 0.5))


def test_a_model_without_change_has_no_weight():
    # The released code weighs all alike here: half of the change.
    changed = f32([0.5, -1.5])
    base = f32([0, 0])
    for unit in ("matrix", "element"):
        assert run([changed, base], base, unit=unit).tolist() == changed.tolist()
    assert varm(stack([changed, base], base), VarmSettings()).coefficients == (1, 0)
    assert varm(stack([base, base], base), VarmSettings()).coefficients == (0.5, 0.5)
    assert run([base, base], base).tolist() == base.tolist()


@pytest.mark.parametrize("unit", ["matrix", "element"])
def test_equal_models_are_the_model(unit):
    (model,), base = random_models(1)
    for num in (1, 2, 3):
        assert_close(run([model] * num, base, unit=unit), model)


def test_without_conflict_sce_is_varm():
    # D2: changes of one sign, so nothing is erased.
    rng = np.random.default_rng(3)
    base = rng.normal(size=(9, 9)).astype(np.float32)
    models = [base + np.abs(rng.normal(size=base.shape)).astype(np.float32) for _ in range(3)]
    assert_close(run(models, base), merged(sce, SceSettings(), models, base))


@given(st.integers(0, 1000), st.sampled_from(["matrix", "element"]))
def test_the_order_of_the_models_does_not_count(seed, unit):
    models, base = random_models(3, (5, 7), seed)
    turned = run([models[i] for i in (2, 0, 1)], base, unit=unit)
    assert_close(turned, run(models, base, unit=unit))


def test_an_empty_tensor_stays_empty():
    empty = np.zeros((0, 4), np.float32)
    rule = varm(stack([empty, empty], empty), VarmSettings())
    assert rule.coefficients == (0.5, 0.5)
    assert squared_change(stack([empty, empty], empty)) == (0, 0)


def test_a_base_is_needed():
    with pytest.raises(SettingsError, match="varm needs a base model"):
        run([ONE, TWO], None)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(run([base, base], base, kind=kind)).any()
