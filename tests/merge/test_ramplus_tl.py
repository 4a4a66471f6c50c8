"""RAM+ within each tensor."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge import _loops
from inarch.merge.ram import RamSettings, ram
from inarch.merge.ramplus_tl import RamplusTlSettings, ramplus_tl

from . import references
from .merging import KINDS, assert_close, assert_defaults, merged, oracle, random_models, stack
from .test_ram import average


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(ramplus_tl, RamplusTlSettings(**values), models, base, **how)


def two(shared, first, second):
    """Models of 100 elements that share some changes, 1 and 3, and have some alone, 1 each."""
    one, other = np.zeros((2, 100), np.float32)
    one[:shared], other[:shared] = 1, 3
    one[shared : shared + first] = 1
    other[shared + first : shared + first + second] = 1
    return [one, other], np.zeros(100, np.float32)


@pytest.mark.parametrize(
    ("counts", "r", "alpha", "factors"),
    [
        # min(4 / 20, .2) = .2; min(4 / 40, .2) = .1
        ((4, 20, 40), 0.1, 0.2, (1.02, 1.01)),
        ((10, 20, 40), 2.0, 10.0, (2.0, 1.5)),
        ((10, 20, 40), 2.0, 0.3, (1.6, 1.5)),
        ((0, 20, 40), 2.0, 0.3, (1.0, 1.0)),
        ((4, 20, 40), 1.0, 0.0, (1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_factors_by_hand(counts, r, alpha, factors, kind):
    models, base = two(*counts)
    settings = RamplusTlSettings(r=r, alpha=alpha)
    rule = ramplus_tl(stack(models, base, kind, part_elements=7), settings)
    np.testing.assert_allclose(rule.coefficients, factors)
    shared, first, second = counts
    expected = [2.0] * shared + [factors[0]] * first + [factors[1]] * second
    result = run(models, base, r=r, alpha=alpha, kind=kind)
    np.testing.assert_allclose(result, expected + [0] * (100 - len(expected)), rtol=1e-6)
    np.testing.assert_allclose(result, oracle("ramplus_tl", models, base, r=r, alpha=alpha))


def test_nothing_unique_needs_no_factor():
    models, base = two(10, 0, 5)
    np.testing.assert_allclose(run(models, base), oracle("ramplus_tl", models, base))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num", [1, 2, 5])
def test_as_the_formula_in_float64(num, kind):
    models, base = random_models(num, (31, 7), seed=num)
    changes = references.changes(models, base)
    many = np.abs(changes) > 0.1
    unique = [sum(many[k] & (many.sum(axis=0) == 1)) for k in range(num)]
    shared = [sum(many[k] & (many.sum(axis=0) > 1)) for k in range(num)]
    factors = [1 + 2 * min(s / u, 0.9) for s, u in zip(shared, unique, strict=True)]
    expected = base + average(changes, 0.1, factors).reshape(base.shape)
    values = {"epsilon": 0.1, "r": 2.0, "alpha": 0.9}
    assert_close(run(models, base, kind=kind, part_elements=60, **values), expected, 3)


@pytest.mark.parametrize("num", [1, 2, 4])
def test_parity_with_mergekit(num):
    models, base = random_models(num, (20, 10), seed=num)
    for values in ({}, {"epsilon": 0.1}, {"epsilon": 0.1, "r": 0.7, "alpha": 3.0}, {"r": -0.5}):
        theirs = oracle("ramplus_tl", models, base, **values)
        assert_close(run(models, base, **values), theirs, 3)


def test_without_amplification_it_is_ram():
    models, base = random_models(3)
    expected = merged(ram, RamSettings(epsilon=0.1), models, base)
    np.testing.assert_array_equal(run(models, base, epsilon=0.1, r=0.0), expected)


def test_what_needs_no_merging():
    (model,), base = random_models(1)
    assert_close(run([model], base), model)
    assert_close(run([model, base], base), model)
    np.testing.assert_array_equal(run([base, base], base), base)


def test_compiled_plain_and_torch_give_the_same_bits(monkeypatch):
    models, base = random_models(4, (60, 70))
    values = {"epsilon": 0.1, "r": 0.7, "alpha": 3.0}
    fast = run(models, base, part_elements=500, **values)
    np.testing.assert_array_equal(run(models, base, kind="torch", **values), fast)
    monkeypatch.setattr(_loops, "average_changes", None)
    np.testing.assert_array_equal(run(models, base, **values), fast)


def test_a_base_is_needed():
    models, _ = random_models(2)
    with pytest.raises(SettingsError, match="ramplus_tl needs a base model"):
        run(models, None)


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(RamplusTlSettings, "ramplus_tl")
