"""DARE with an election."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge.dare_ties import DareTiesSettings, dare_ties
from inarch.merge.ties import TiesSettings, ties

from . import references
from .merging import (
    KINDS,
    assert_close,
    assert_defaults,
    assert_parity,
    assert_plain_and_torch_alike,
    merged,
    oracle,
    random_models,
)
from .test_dare_linear import DENSITIES, WEIGHTS, draw


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(dare_ties, DareTiesSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_as_the_formula_in_float64_over_the_same_choices(num, normalize, kind):
    models, base = random_models(num, (31, 7), seed=num)
    weights, densities = WEIGHTS[:num], DENSITIES[:num]
    kept = draw(references.changes(models, base), densities, seed=5)
    values = {"weight": weights, "density": densities, "normalize": normalize, "lambda_": 0.7}
    result = run(models, base, kind=kind, part_elements=60, seed=5, **values)
    assert_close(result, references.elected(kept, base, weights, normalize, 0.7), 3)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_parity_with_mergekit_where_nothing_is_left_to_chance(density, normalize):
    models, base = random_models(3, (20, 10))
    values = {"weight": [0.5, 0.25, -0.3], "density": [1.0, density, 1.0], "lambda": 1.3}
    values |= {"normalize": normalize, "int8_mask": True}
    assert_parity(run, "dare_ties", models, base, values)


def test_defaults_are_mergekits():
    models, base = random_models(3, (20, 10))
    theirs = oracle("dare_ties", models, base, weight=[0.5, 0.25, 0.3])
    assert_close(run(models, base, weight=(0.5, 0.25, 0.3)), theirs)


def test_dense_it_is_ties():
    models, base = random_models(3)
    values = {"weight": (0.5, 0.2, 0.3), "normalize": True}
    expected = merged(ties, TiesSettings(**values), models, base)
    np.testing.assert_array_equal(run(models, base, **values), expected)


def test_compiled_plain_and_torch_give_the_same_bits():
    models, base = random_models(4, (60, 70))
    for normalize in (True, False):
        values = {"weight": WEIGHTS, "density": DENSITIES, "lambda_": 0.7, "normalize": normalize}
        assert_plain_and_torch_alike(
            run, ("combine", "drawn", "uniform_bits"), models, base, **values
        )


def test_a_base_is_needed():
    models, _ = random_models(2)
    with pytest.raises(SettingsError, match="dare_ties needs a base model"):
        run(models, None, weight=(1.0,))


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(DareTiesSettings, "dare_ties")
