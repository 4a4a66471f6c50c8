"""DELLA with an election."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge._method import Method
from inarch.merge._parameters import as_mergekit, level
from inarch.merge.della import DellaSettings, della
from inarch.merge.ties import TiesSettings, ties

from . import references
from .merging import (
    KINDS,
    assert_close,
    assert_defaults,
    assert_parity,
    merged,
    oracle,
    random_models,
)
from .test_della_linear import DENSITIES, EPSILONS, WEIGHTS, prune


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(della, DellaSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_as_the_formula_in_float64_over_the_same_choices(num, normalize, kind):
    models, base = random_models(num, (31, 7), seed=num)
    weights, densities, epsilons = WEIGHTS[:num], DENSITIES[:num], EPSILONS[:num]
    kept = prune(references.changes(models, base), 7, densities, epsilons, seed=5)
    values = {"weight": weights, "density": densities, "epsilon": epsilons, "lambda_": 0.7}
    how = {"kind": kind, "part_elements": 60, "seed": 5, "normalize": normalize}
    expected = references.elected(kept, base, weights, normalize, 0.7)
    assert_close(run(models, base, **values, **how), expected, 3)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_parity_with_mergekit_where_nothing_is_left_to_chance(density, normalize):
    models, base = random_models(3, (20, 10))
    values = {"weight": [0.5, 0.25, -0.3], "density": [1.0, density, 1.0], "lambda": 1.3}
    values |= {"normalize": normalize, "int8_mask": True}
    assert_parity(run, "della", models, base, values)


def test_defaults_are_mergekits():
    models, base = random_models(3, (20, 10))
    theirs = oracle("della", models, base, weight=[0.5, 0.25, 0.3])
    assert_close(run(models, base, weight=(0.5, 0.25, 0.3)), theirs)


def test_dense_it_is_ties():
    models, base = random_models(3)
    values = {"weight": (0.5, 0.2, 0.3), "normalize": True}
    expected = merged(ties, TiesSettings(**values), models, base)
    np.testing.assert_array_equal(run(models, base, **values), expected)


def test_a_recipe_for_mergekit_means_its_variant_and_its_normalize():
    method = Method(della, DellaSettings, "required")
    found, fixed = as_mergekit(method, [level((), None)])
    assert fixed == {"variant": "mergekit"}
    assert "normalize" in found
    found, fixed = as_mergekit(method, [level((), {"variant": ()})])
    assert fixed == {}


def test_a_base_is_needed():
    models, _ = random_models(2)
    with pytest.raises(SettingsError, match="della needs a base model"):
        run(models, None, weight=(1.0,))


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(DellaSettings, "della")
