"""DELLA without an election."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge._random import key
from inarch.merge.dare_linear import DareLinearSettings, dare_linear
from inarch.merge.della_linear import DellaLinearSettings, della_linear

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
from .test_random import scalar

WEIGHTS, DENSITIES, EPSILONS = (0.4, -0.3, 0.8, 0.1), (0.3, 0.8, 1.0, 0.0), (0.2, 0.1, 0.3, 0.3)


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(della_linear, DellaLinearSettings(**values), models, base, **how)


def prune(changes, columns, densities, epsilons, *, seed=0, rescale=True):
    """The changes that are kept, row by row by a sort."""
    kept = np.zeros_like(changes)
    for model, (density, epsilon) in enumerate(zip(densities, epsilons, strict=True)):
        stream = key(seed, "tensor", model)
        for first in range(0, changes.shape[1], columns):
            row = changes[model, first : first + columns]
            for rank, column in enumerate(np.lexsort((-np.arange(columns), np.abs(row)))):
                chance = density
                if density not in (0, 1) and columns > 1:
                    chance += epsilon * (2 * rank / (columns - 1) - 1)
                if scalar(stream, first + column) < chance * 2**31:
                    kept[model, first + column] = row[column] / (chance if rescale else 1)
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(31, 7), (3, 5, 7), (50,), (4, 1), ()])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_as_the_formula_in_float64_over_the_same_choices(num, shape, kind):
    models, base = random_models(num, shape, seed=num)
    numbers = (DENSITIES[:num], EPSILONS[:num])
    for rescale in (True, False):
        changes = references.changes(models, base)
        columns = shape[-1] if shape else 1
        kept = prune(changes, columns, *numbers, seed=5, rescale=rescale)
        values = {"density": numbers[0], "epsilon": numbers[1], "lambda_": 0.7, "seed": 5}
        values |= {"weight": WEIGHTS[:num], "rescale": rescale}
        result = run(models, base, kind=kind, part_elements=21, **values)
        assert_close(result, references.summed(kept, base, WEIGHTS[:num], False, 0.7), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_chances_grow_with_the_rank_in_the_row(kind):
    # Two rows of 1 -2 3 -4 5, the second a thousand times as large, 4000 times: chances .1 to .9.
    row = f32([1, -2, 3, -4, 5])
    model = np.tile(np.stack([row, row * 1000]), (4000, 1))
    base = np.zeros_like(model)
    values = {"weight": (1.0,), "density": (0.5,), "epsilon": (0.4,), "kind": kind}
    result = run([model], base, **values)
    for rows in (result[::2], result[1::2]):
        shares = (rows != 0).mean(axis=0)
        np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=4 * 0.5 / np.sqrt(4000))
    kept = result != 0
    factors = np.broadcast_to(1 / f32([0.1, 0.3, 0.5, 0.7, 0.9]), model.shape)
    np.testing.assert_allclose(result[kept], (model * factors)[kept], rtol=1e-6)


def test_mergekit_draws_with_the_same_chances():
    model = np.tile(f32([1, -2, 3, -4, 5]), (4000, 1))
    theirs = oracle("della_linear", [model], model * 0, weight=[1.0], density=0.5, epsilon=0.4)
    shares = (theirs != 0).mean(axis=0)
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=4 * 0.5 / np.sqrt(4000))
    # It keeps the summed magnitude of the tensor; so does its variant here.
    assert np.abs(theirs).sum() == pytest.approx(np.abs(model).sum(), rel=1e-5)
    values = {"weight": (1.0,), "density": (0.5,), "epsilon": (0.4,)}
    normed = run([model], model * 0, variant="mergekit", **values)
    assert np.abs(normed).sum() == pytest.approx(np.abs(model).sum(), rel=1e-5)
    raw = run([model], model * 0, rescale=False, variant="mergekit", **values)
    np.testing.assert_array_equal(raw, model * (raw != 0))
    np.testing.assert_allclose(normed, raw * (np.abs(model).sum() / np.abs(raw).sum()), rtol=1e-6)


def test_of_equal_magnitudes_the_first_rank_highest():
    # Five equals: the first is kept most often.
    model = np.full((4000, 5), -2, np.float32)
    result = run([model], model * 0, weight=(1.0,), density=(0.5,), epsilon=(0.4,))
    shares = (result != 0).mean(axis=0)
    np.testing.assert_allclose(shares, [0.9, 0.7, 0.5, 0.3, 0.1], atol=4 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_parity_with_mergekit_where_nothing_is_left_to_chance(density, normalize):
    models, base = random_models(3, (20, 10))
    values = {"weight": [0.5, 0.25, -0.3], "density": [1.0, density, 1.0], "lambda": 1.3}
    values |= {"normalize": normalize, "int8_mask": True, "epsilon": [0.1, 0.1, 0.1]}
    assert_parity(run, "della_linear", models, base, values)


def test_without_epsilon_it_is_dare():
    models, base = random_models(3)
    values = {"weight": (0.5, 0.2, 0.3), "density": (0.4,)}
    expected = merged(dare_linear, DareLinearSettings(**values), models, base)
    assert_close(run(models, base, epsilon=(0.0,), **values), expected, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 11), (440,)])
def test_the_size_of_the_parts_changes_no_bit(shape, kind):
    models, base = random_models(2, shape)
    values = {"weight": (0.5, 0.2), "density": (0.4,), "kind": kind}
    whole = run(models, base, **values)
    for part_elements in (11, 100, 200):
        np.testing.assert_array_equal(
            run(models, base, part_elements=part_elements, **values), whole
        )


def test_compiled_plain_and_torch_give_the_same_bits():
    models, base = random_models(4, (60, 70))
    grid = [np.round(m * 8) / 8 for m in (*models, base)]
    for *ms, b in ((*models, base), grid):
        values = {"weight": WEIGHTS, "density": DENSITIES, "epsilon": EPSILONS, "lambda_": 0.7}
        assert_plain_and_torch_alike(run, ("combine", "ranks", "uniform_bits"), ms, b, **values)


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_merging(kind):
    models, base = random_models(2)
    values = {"weight": (1.0,), "kind": kind}
    assert_close(run(models[:1], base, **values), models[0])
    np.testing.assert_array_equal(run([base, base], base, density=(0.5,), **values), base)
    for rescale in (True, False):
        for variant in ("paper", "mergekit"):
            how = {"density": (0.0,), "rescale": rescale, "variant": variant}
            np.testing.assert_array_equal(run(models, base, **how, **values), base)


@pytest.mark.parametrize(("density", "epsilon"), [(0.9, 0.15), (0.1, 0.1), (0.1, 0.15)])
def test_chances_outside_zero_to_one_are_refused(density, epsilon):
    models, base = random_models(1)
    with pytest.raises(SettingsError, match=f"density {density} and epsilon {epsilon}"):
        run(models, base, weight=(1.0,), density=(density,), epsilon=(epsilon,))


def test_what_does_not_fit_is_refused():
    models, base = random_models(2)
    with pytest.raises(SettingsError, match="della_linear needs a base model"):
        run(models, None, weight=(1.0,))
    with pytest.raises(SettingsError, match="epsilon has 3 values for 2 models"):
        run(models, base, weight=(1.0,), epsilon=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(
        run([base, base], base, kind=kind, weight=(1.0, -1.0), density=(0.5,))
    ).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(DellaLinearSettings, "della_linear")
