"""Model Breadcrumbs with an election."""

import pytest

from inarch.errors import SettingsError
from inarch.merge.breadcrumbs_ties import BreadcrumbsTiesSettings, breadcrumbs_ties
from inarch.merge.ties import TiesSettings, ties

from . import references
from .merging import (
    KINDS,
    assert_close,
    assert_defaults,
    assert_parity,
    f32,
    merged,
    oracle,
    random_models,
)
from .test_breadcrumbs import GRID, crumbs


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(breadcrumbs_ties, BreadcrumbsTiesSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand(kind):
    # The largest of each four goes, the next two stay: . -3 . 2 and . -2 . 3; votes -5 and 5 each.
    one, two = f32([4, -3, 1, 2]), f32([1, -2, 4, 3])
    values = {"weight": (1.0,), "density": (0.5,), "gamma": (0.25,), "kind": kind}
    assert run([one, two], 0 * one, **values).tolist() == [0, -5, 0, 5]
    assert run([one, two], 0 * one, normalize=True, **values).tolist() == [0, -2.5, 0, 2.5]
    # Against each other: 3 - 2 is plus, so the -2 is left out.
    assert run([-one, two], 0 * one, **values).tolist() == [0, 3, 0, 3]


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
    assert_close(result, references.elected(kept, base, weights, normalize, 0.7), 3)


@pytest.mark.parametrize(("density", "gamma"), GRID)
@pytest.mark.parametrize("num", [1, 3])
def test_parity_with_mergekit(num, density, gamma):
    models, base = random_models(num, (20, 10), seed=10 + num)
    values = {
        "weight": [0.5, 0.25, -0.3][:num],
        "density": [density, 0.5, 0.9][:num],
        "gamma": [gamma, 0.1, 0.01][:num],
        "lambda": 1.3,
    }
    for normalize in (True, False):
        values["normalize"] = normalize
        assert_parity(run, "breadcrumbs_ties", models, base, values)


def test_defaults_are_mergekits():
    models, base = random_models(2, (20, 10))
    for density in ({}, {"density": 0.5}):
        theirs = oracle("breadcrumbs_ties", models, base, weight=[0.5, 0.5], **density)
        ours = {key: (value,) for key, value in density.items()}
        assert_close(run(models, base, weight=(0.5,), **ours), theirs)


def test_without_gamma_it_is_ties():
    models, base = random_models(3)
    values = {"weight": (0.5, 0.2, 0.3), "density": (0.4,), "normalize": True}
    expected = merged(ties, TiesSettings(**values), models, base)
    assert run(models, base, gamma=(0.0,), **values).tolist() == expected.tolist()


def test_a_base_is_needed():
    models, _ = random_models(2)
    with pytest.raises(SettingsError, match="breadcrumbs_ties needs a base model"):
        run(models, None, weight=(1.0,))


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(BreadcrumbsTiesSettings, "breadcrumbs_ties")
