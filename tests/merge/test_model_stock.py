"""As far towards the mean as the changes agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.model_stock import ModelStockSettings, model_stock

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models, fine_tunes

BASE = f32([3, 1])


def run(models, base, filter_wise=False):
    return merged(model_stock, ModelStockSettings(filter_wise=filter_wise), models, base)


def stock(*changes):
    """The merged change."""
    return run([BASE + f32(change) for change in changes], BASE) - BASE


def test_by_hand():
    # 45 degrees: cos = .7071, t = 1.4142 / 1.7071 = .8284; the mean is [1, .5].
    assert_close(stock([1, 0], [1, 1]), f32([0.8284271, 0.4142136]), scale=3)
    # Lengths do not count for t: the mean is [2, .5].
    assert_close(stock([3, 0], [1, 1]), f32([1.6568542, 0.4142136]), scale=3)
    # Cosines 1, 0 and 0: mean 1/3, t = 1 / (1 + 2/3) = .6; the mean is [2/3, 1/3].
    assert_close(stock([1, 0], [1, 0], [0, 1]), f32([0.4, 0.2]), scale=3)
    rule = model_stock(stack([BASE + f32([1, 0]), BASE + f32([1, 1])], BASE), ModelStockSettings())
    np.testing.assert_allclose(rule.coefficients, [0.41421356] * 2, rtol=1e-6)


def test_orthogonal_opposed_and_missing_changes():
    assert stock([1, 0], [0, 1]).tolist() == [0, 0]
    # 120 degrees: cos = -.5, t = -1 / .5 = -2; the mean is [.25, .433].
    apart = stock([1, 0], [-0.5, np.sqrt(0.75)])
    assert_close(apart, f32([-0.5, -np.sqrt(0.75)]), scale=3)
    assert stock([1, 0.5], [-1, -0.5]).tolist() == [0, 0]
    # cos = -1 + 5e-11: what is left of the mean, [0, 5e-6], is rounding to the formula.
    assert stock([1, 0], [-1, 1e-5]).tolist() == [0, 0]
    # No change has a cosine of 0 with any: with [1, 0] twice the mean is 1/3, so t = .6.
    assert_close(stock([1, 0], [1, 0], [0, 0]), f32([0.4, 0]), scale=3)
    assert stock([0, 0], [0, 0]).tolist() == [0, 0]
    assert stock([1, 0], [0, 0]).tolist() == [0, 0]


def test_equal_models():
    models, base = fine_tunes(1, (6, 5))
    for filter_wise in (False, True):
        assert_close(run(models * 3, base, filter_wise), models[0], scale=3)
        assert_same_bits(run([base] * 3, base, filter_wise), base)


def test_rows_by_hand():
    # 45 degrees as above in the first row, a right angle in the second.
    base = f32([[0, 0], [5, 5]])
    one, two = base + f32([[1, 0], [1, 0]]), base + f32([[1, 1], [0, 1]])
    expected = base + f32([[0.8284271, 0.4142136], [0, 0]])
    assert_close(run([one, two], base, filter_wise=True), expected, scale=5)
    # A row that no model changed stays, whatever the others do.
    assert_close(run([one, one - f32([[0, 0], [1, 0]])], base, filter_wise=True)[1], base[1])


def reference(models, base, filter_wise):
    changes = np.array(models, np.float64) - base
    rows = (
        (len(models), -1, base.shape[-1]) if filter_wise and base.ndim > 1 else (len(models), 1, -1)
    )
    changes = changes.reshape(rows)
    made = np.zeros(changes.shape[1:])
    for i in range(changes.shape[1]):
        pairs = [
            np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
            for j, a in enumerate(changes[:, i])
            for b in changes[:j, i]
        ]
        cos = np.mean(pairs)
        t = len(models) * cos / (1 + (len(models) - 1) * cos)
        made[i] = t * changes[:, i].mean(0)
    return base + made.reshape(base.shape)


@given(
    seed=st.integers(0, 99),
    num=st.integers(2, 5),
    filter_wise=st.booleans(),
    shape=st.sampled_from([(20,), (6, 20), (2, 3, 15)]),
)
def test_against_float64(seed, num, filter_wise, shape):
    models, base = fine_tunes(num, shape, seed)
    exact = reference(models, base, filter_wise)
    made = run(models, base, filter_wise)
    # Near cancellation t is large, and so is what rounding does to it.
    np.testing.assert_allclose(made, exact, rtol=1e-6, atol=1e-6 * max(3, abs(exact).max() ** 2))


@pytest.mark.parametrize("filter_wise", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape, filter_wise):
    models, base = fine_tunes(3, shape, seed=2)
    theirs = oracle("model_stock", models, base, filter_wise=filter_wise)
    assert_close(run(models, base, filter_wise), theirs, scale=4)


def test_what_is_refused():
    models = far_models(2, (3,))
    with pytest.raises(SettingsError, match="model_stock needs a base model; give base_model"):
        run(models, None)
    with pytest.raises(SettingsError, match="two models or more, not of 1"):
        run(models[:1], models[1])


@pytest.mark.parametrize("filter_wise", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape, filter_wise):
    settings = ModelStockSettings(filter_wise=filter_wise)
    assert_same_everywhere(model_stock, settings, *fine_tunes(3, shape), exact=False)
