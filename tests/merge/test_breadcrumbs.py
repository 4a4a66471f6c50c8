"""Model Breadcrumbs."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge.breadcrumbs import BreadcrumbsSettings, breadcrumbs

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

GRID = [
    (0.9, 0.01),
    (0.5, 0.1),
    (0.5, 0.6),
    (0.29, 0.57),
    (0.71, 0.29),
    (0.58, 0.01),
    (0.005, 0.5),
    (0.0, 0.3),
    (1.0, 0.2),
]


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(breadcrumbs, BreadcrumbsSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand(kind):
    # Of ten changes the two largest go, then the five largest stay.
    changes = f32([1, -2, 3, -4, 5, -6, 7, -8, 9, -10])
    values = {"density": (0.5,), "gamma": (0.2,), "kind": kind}
    result = run([changes], np.zeros_like(changes), weight=(0.5,), lambda_=2.0, **values)
    assert result.tolist() == [0, 0, 0, -4, 5, -6, 7, -8, 0, 0]


def crumbs(values, densities, gammas):
    """The band of each row, by a sort."""
    kept = np.zeros_like(values)
    for row, out, density, gamma in zip(values, kept, densities, gammas, strict=True):
        count = int(density * row.size)
        skip = min(int(gamma * row.size), row.size - count)
        order = np.lexsort((np.arange(row.size), -np.abs(row)))[skip : skip + count]
        out[order] = row[order]
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 5])
def test_as_the_formula_in_float64(num, normalize, kind):
    models, base = random_models(num, (31, 7), seed=num)
    weights, densities = (0.4, -0.3, 0.8, 0.0, 1.5)[:num], (0.3, 0.9, 1.0, 0.5, 0.0)[:num]
    gammas = (0.1, 0.05, 0.2, 0.7, 0.1)[:num]
    kept = crumbs(references.changes(models, base), densities, gammas)
    values = {"weight": weights, "density": densities, "normalize": normalize, "lambda_": 0.7}
    result = run(models, base, kind=kind, part_elements=60, gamma=gammas, **values)
    assert_close(result, references.summed(kept, base, weights, normalize, 0.7), 3)


@pytest.mark.parametrize(("density", "gamma"), GRID)
@pytest.mark.parametrize("num", [1, 3])
def test_parity_with_mergekit(num, density, gamma):
    models, base = random_models(num, (20, 10), seed=10 + num)
    values = {
        "weight": [0.5, 0.25, -0.3][:num],
        "density": [density, 0.5, 0.9][:num],
        "gamma": [gamma, 0.1, 0.01][:num],
        "lambda": 1.3,
        "int8_mask": True,
    }
    for normalize in (True, False):
        values["normalize"] = normalize
        assert_parity(run, "breadcrumbs", models, base, values)


def test_defaults_are_mergekits():
    models, base = random_models(2, (20, 10))
    for density in ({}, {"density": 0.5}):
        theirs = oracle("breadcrumbs", models, base, weight=[0.5, 0.5], **density)
        ours = {key: (value,) for key, value in density.items()}
        assert_close(run(models, base, weight=(0.5,), **ours), theirs)


def test_rescale_keeps_the_summed_magnitude():
    # 4 + 5 + 6 of 28 stay.
    changes = f32([[1, -2, 3, -4, 5, -6, 7]])
    values = {"rescale": True}
    result = run([changes], 0 * changes, weight=(1.0,), density=(0.5,), gamma=(0.2,), **values)
    expected = f32([[0, 0, 0, -4, 5, -6, 0]]) * 28 / 15
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    theirs = oracle(
        "breadcrumbs", [changes], 0 * changes, weight=[1.0], density=0.5, gamma=0.2, **values
    )
    np.testing.assert_allclose(result, theirs, rtol=1e-6)


def test_of_equal_magnitudes_the_first_are_the_larger():
    # Order: 2, then the 1s from the left. Two are dropped, three stay.
    changes = f32([1, 1, -1, 2, 1, 1])
    values = {"weight": (1.0,), "density": (0.5,), "gamma": (0.34,)}
    for part_elements in (1, 2, 6):
        result = run([changes], 0 * changes, part_elements=part_elements, **values)
        assert result.tolist() == [0, 1, -1, 0, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_parts_changes_no_bit(kind):
    models, base = random_models(3, (40, 11))
    grid = [np.round(m * 16) / 16 for m in (*models, base)]
    values = {"weight": (0.5, 0.2, 0.3), "density": (0.3, 0.5, 0.7), "gamma": (0.2,), "kind": kind}
    for *ms, b in ((*models, base), grid):
        whole, rescaled = run(ms, b, **values), run(ms, b, rescale=True, **values)
        for part_elements in (11, 100, 200):
            parts = run(ms, b, part_elements=part_elements, **values)
            np.testing.assert_array_equal(parts, whole)
            # the sums of magnitudes are rounded part by part
            parts = run(ms, b, part_elements=part_elements, rescale=True, **values)
            assert_close(parts, rescaled, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_merging(kind):
    models, base = random_models(2)
    values = {"weight": (1.0,), "kind": kind}
    assert_close(run(models[:1], base, density=(1.0,), **values), models[0])
    np.testing.assert_array_equal(run([base, base], base, density=(0.5,), **values), base)
    np.testing.assert_array_equal(run(models, base, density=(0.0,), **values), base)


def test_compiled_plain_and_torch_give_the_same_bits():
    models, base = random_models(4, (60, 70))
    values = {"weight": (0.4, -0.3, 0.8, 0.1), "density": (0.3, 0.9, 1.0, 0.5), "gamma": (0.1,)}
    assert_plain_and_torch_alike(run, ("combine", "bands"), models, base, **values)


def test_what_does_not_fit_is_refused():
    models, base = random_models(2)
    with pytest.raises(SettingsError, match="base_model"):
        run(models, None, weight=(1.0,))
    with pytest.raises(SettingsError, match="gamma has 3 values for 2 models"):
        run(models, base, weight=(1.0,), gamma=(0.1, 0.2, 0.3))
    with pytest.raises(SettingsError, match="sum to zero"):
        run(models, base, weight=(1.0, -1.0), normalize=True)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(run([base, base], base, kind=kind, weight=(1.0, -1.0))).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(BreadcrumbsSettings, "breadcrumbs")
