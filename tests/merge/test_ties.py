"""TIES."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.ties import TiesSettings, ties

from . import references
from .merging import (
    KINDS,
    assert_close,
    assert_defaults,
    assert_parity,
    assert_plain_and_torch_alike,
    f32,
    merged,
    oracle,
    random_models,
)

ZERO = f32([[0, 0, 0, 0]])


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(ties, TiesSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand(kind):
    one, two = f32([[4, -3, 1, 2]]), f32([[-2, -1, 3, 0.5]])
    # Half of each: 4 -3 . . and -2 . 3 . ; votes 4 - 2 x 2 = 0 (plus), -3, 6.
    values = {"weight": (1.0, 2.0), "density": (0.5,)}
    assert run([one, two], ZERO, kind=kind, **values).tolist() == [[4, -3, 3, 0]]
    raw = run([one, two], ZERO, kind=kind, normalize=False, lambda_=0.5, **values)
    assert raw.tolist() == [[2, -1.5, 3, 0]]


def trim(values, densities):
    """The largest of each row, by a sort."""
    kept = np.zeros_like(values)
    for row, out, density in zip(values, kept, densities, strict=True):
        count = max(int(density * row.size), 1 if density > 0 else 0)
        order = np.lexsort((np.arange(row.size), -np.abs(row)))[:count]
        out[order] = row[order]
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 5])
def test_as_the_formula_in_float64(num, normalize, kind):
    models, base = random_models(num, (31, 7), seed=num)
    weights, densities = (0.4, -0.3, 0.8, 0.0, 1.5)[:num], (0.3, 0.9, 1.0, 0.5, 0.0)[:num]
    kept = trim(references.changes(models, base), densities)
    expected = references.elected(kept, base, weights, normalize, 0.7)
    values = {"weight": weights, "density": densities, "normalize": normalize, "lambda_": 0.7}
    assert_close(run(models, base, kind=kind, part_elements=60, **values), expected, 3)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.2, 0.29, 0.57, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_parity_with_mergekit(num, normalize, density):
    models, base = random_models(num, (20, 10), seed=10 + num)
    values = {
        "weight": [0.5, 0.25, -0.3, 1.1][:num],
        "density": [density, 0.5, 0.9, 1.0][:num],
        "normalize": normalize,
        "lambda": 1.3,
        "int8_mask": True,
    }
    assert_parity(run, "ties", models, base, values)


def test_rescale_keeps_the_summed_magnitude():
    # 3 + 4 of 10 stay: times 10 / 7.
    model = f32([[1, 2, 3, -4]])
    result = run([model], ZERO, weight=(1.0,), density=(0.5,), rescale=True)
    np.testing.assert_allclose(result, [[0, 0, 30 / 7, -40 / 7]], rtol=1e-6)
    theirs = oracle("ties", [model], ZERO, weight=[1.0], density=0.5, rescale=True)
    np.testing.assert_allclose(result, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("models", "weights", "expected"),
    [
        # A sum of zero elects plus.
        ([[1, -1, 0.5, 0]], (1.0,), [1, -1, 0.5, 0]),
        ([[1, -1, 0.5, 0], [-1, 1, -0.5, 0]], (1.0,), [1, 1, 0.5, 0]),
        # A zero has no weight: 3 x 1 / 3, not 3 x 1 / 4.
        ([[1, 0, 0.5, 0], [3, 1, 0, 0]], (1.0, 3.0), [2.5, 1, 0.5, 0]),
        # A negative weight turns the vote around: 1 and -1; 1 and 1, divided by 1 - .5.
        ([[1, 1, 0, 0], [2, -2, 0, 0]], (1.0, -0.5), [1, 4, 0, 0]),
        # Weights that agree and sum to zero are not divided by: 1 + 2.
        ([[1, 0, 0, 0], [-2, 0, 0, 0]], (1.0, -1.0), [3, 0, 0, 0]),
        ([[1, 2, 3, 4]], (0.0,), [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_signs_zeros_and_weights(models, weights, expected, kind):
    models = [f32([m]) for m in models]
    assert run(models, ZERO, weight=weights, kind=kind).tolist() == [expected]
    full = list(weights) * (len(models) // len(weights))
    assert oracle("ties", models, ZERO, weight=full).tolist() == [expected]


def test_of_equal_magnitudes_the_first_stay():
    model = f32([[1, -1, 1, 2, -1]])
    result = run([model], np.zeros_like(model), weight=(1.0,), density=(0.6,))
    assert result.tolist() == [[1, -1, 0, 2, 0]]


def test_one_dense_model_is_the_model():
    (model,), base = random_models(1)
    assert_close(run([model], base, weight=(0.3,)), model)
    np.testing.assert_array_equal(run([base, base], base, weight=(1.0,), density=(0.4,)), base)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1.0, 0.4]), st.booleans())
def test_the_order_of_the_models_does_not_count(seed, density, normalize):
    models, base = random_models(3, (5, 7), seed)
    weights = np.array([0.2, 0.7, 0.4])
    turn = [2, 0, 1]
    values = {"density": (density,), "normalize": normalize}
    one = run(models, base, weight=tuple(weights), **values)
    assert_close(
        run([models[i] for i in turn], base, weight=tuple(weights[turn]), **values), one, 3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_parts_changes_no_bit(kind):
    models, base = random_models(3, (40, 11))
    grid = [np.round(m * 16) / 16 for m in (*models, base)]
    for *ms, b in ((*models, base), grid):
        values = {"weight": (0.5, 0.2, 0.3), "density": (0.3, 0.5, 0.7), "kind": kind}
        whole = run(ms, b, **values)
        for part_elements in (11, 100, 200):
            parts = run(ms, b, part_elements=part_elements, **values)
            np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("normalize", [True, False])
def test_compiled_plain_and_torch_give_the_same_bits(normalize):
    models, base = random_models(4, (60, 70))
    values = {"weight": (0.4, -0.3, 0.8, 0.1), "density": (0.3, 0.9, 1.0, 0.5), "lambda_": 0.7}
    values["normalize"] = normalize
    assert_plain_and_torch_alike(run, ("combine", "bands"), models, base, **values)


def test_what_does_not_fit_is_refused():
    models, base = random_models(2)
    with pytest.raises(SettingsError, match="base_model"):
        run(models, None, weight=(1.0,))
    with pytest.raises(SettingsError, match="density has 3 values for 2 models"):
        run(models, base, weight=(1.0,), density=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        TiesSettings(weight=(1.0,), density=(1.5,))


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(run([base, base], base, kind=kind, weight=(1.0, -1.0))).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(TiesSettings, "ties")
