"""RAM."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge import _loops
from inarch.merge.ram import RamSettings, ram

from . import references
from .merging import KINDS, assert_close, assert_defaults, f32, merged, oracle, random_models


def run(models, base, *, kind="numpy", part_elements=1 << 17, **values):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(ram, RamSettings(**values), models, base, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand(kind):
    # Shared 1 and 3; unique 2 and 4; shared 5, -5 and 1; a change of no more than epsilon.
    models = [f32([1, 2, 0, 0, 5, 0.25]), f32([3, 0, 4, 0, -5, 0]), f32([0, 0, 0, 0, 1, 0])]
    base = np.zeros(6, np.float32)
    result = run(models, base, kind=kind, epsilon=0.25)
    np.testing.assert_allclose(result, [2, 2, 4, 0, 1 / 3, 0], rtol=1e-7)
    np.testing.assert_allclose(
        oracle("ram", models, base, epsilon=0.25), [2, 2, 4, 0, 1 / 3, 0], rtol=1e-7
    )


def average(changes, epsilon, scales):
    """Element by element."""
    merged_N = np.zeros(changes.shape[1])
    for i, column in enumerate(changes.T):
        found = [k for k, change in enumerate(column) if abs(change) > epsilon]
        if len(found) == 1:
            merged_N[i] = column[found[0]] * scales[found[0]]
        elif found:
            merged_N[i] = sum(column[k] for k in found) / len(found)
    return merged_N


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num", [1, 2, 5])
def test_as_the_formula_in_float64(num, kind):
    models, base = random_models(num, (31, 7), seed=num)
    changes = references.changes(models, base)
    for epsilon in (1e-5, 0.1):
        result = run(models, base, kind=kind, part_elements=60, epsilon=epsilon)
        expected = base + average(changes, epsilon, [1] * num).reshape(base.shape)
        assert_close(result, expected, 3)


@pytest.mark.parametrize("epsilon", [1e-5, 0.0, 0.1])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_parity_with_mergekit(num, epsilon):
    models, base = random_models(num, (20, 10), seed=num)
    theirs = oracle("ram", models, base, epsilon=epsilon)
    assert_close(run(models, base, epsilon=epsilon), theirs, 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_the_models_does_not_count(seed):
    models, base = random_models(3, (5, 7), seed)
    turned = run([models[i] for i in (2, 0, 1)], base)
    assert_close(turned, run(models, base))


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_merging(kind):
    (model,), base = random_models(1, (9, 9))
    for models in ([model], [model, base], [model, model, base, model]):
        assert_close(run(models, base, kind=kind), model)
    np.testing.assert_array_equal(run([base, base], base, kind=kind), base)


def test_compiled_plain_and_torch_give_the_same_bits(monkeypatch):
    models, base = random_models(4, (60, 70))
    fast = run(models, base, part_elements=500)
    np.testing.assert_array_equal(run(models, base, kind="torch"), fast)
    monkeypatch.setattr(_loops, "average_changes", None)
    np.testing.assert_array_equal(run(models, base), fast)


def test_a_base_is_needed():
    models, _ = random_models(2)
    with pytest.raises(SettingsError, match="ram needs a base model"):
        run(models, None)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(run([base, base], base, kind=kind)).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(RamSettings, "ram")
