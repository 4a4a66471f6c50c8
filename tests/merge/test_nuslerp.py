"""SLERP by weights, of models or of changes, whole or vector by vector."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inarch.errors import SettingsError
from inarch.merge.nuslerp import NuslerpSettings, nuslerp

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_everywhere, far_models, fine_tunes

WAYS = [
    {},
    {"nuslerp_flatten": False},
    {"nuslerp_flatten": False, "nuslerp_row_wise": True},
]


def run(models, base=None, **settings):
    return merged(nuslerp, NuslerpSettings(**settings), models, base)


def slerp64(one, two, t):
    one, two = one.astype(np.float64), two.astype(np.float64)
    cosine = np.vdot(one, two) / np.linalg.norm(one) / np.linalg.norm(two)
    omega = np.arccos(cosine)
    return (np.sin((1 - t) * omega) * one + np.sin(t * omega) * two) / np.sin(omega)


def test_by_hand():
    # A right angle; weights 1 and 2: two thirds of the way, cos 60 and sin 60 degrees.
    one, two = f32([1, 0]), f32([0, 1])
    assert_close(run([one, two], weight=(1.0, 2.0)), f32([0.5, np.sqrt(0.75)]))
    assert_close(run([one, two], weight=(3.0,)), f32([np.sqrt(0.5)] * 2))
    # t = -1 / (2 - 1) = -1: as far again on the other side, cos(-90) and sin(-90).
    assert_close(run([one, two], weight=(2.0, -1.0)), f32([0, -1]))
    rule = nuslerp(stack([one, two], None), NuslerpSettings(weight=(1.0, 2.0)))
    np.testing.assert_allclose(rule.coefficients, [0.5, np.sqrt(0.75)])
    # Changes [1, 0] and [0, 1] of a base.
    base = f32([5, 7])
    assert_close(run([one + base, two + base], base, weight=(1.0, 2.0)), f32([5.5, 7.8660254]))


def test_rows_and_columns_by_hand():
    # Rows: a right angle, and 4 beside 4 without angle. Columns: [1, 4] to [0, 4] and [0, 0] to
    # [1, 0], where one has no length, which counts as a right angle.
    one, two = f32([[1, 0], [4, 0]]), f32([[0, 1], [4, 0]])
    half = np.sqrt(0.5)
    by_row = run([one, two], weight=(1.0,), **WAYS[1])
    assert_close(by_row, f32([[half, half], [4, 0]]), scale=4)
    by_column = run([one, two], weight=(1.0,), **WAYS[2])
    expected = f32([slerp64(one[:, 0], two[:, 0], 0.5), [half, 0]]).T
    assert_close(by_column, expected, scale=4)
    assert abs(by_row - by_column).max() > 0.1


@given(
    seed=st.integers(0, 99),
    way=st.sampled_from(WAYS),
    has_base=st.booleans(),
    shape=st.sampled_from([(6,), (5, 8), (3, 4, 5)]),
)
def test_against_float64(seed, way, has_base, shape):
    models, base = fine_tunes(2, shape, seed)
    start = base.astype(np.float64) if has_base else 0.0
    one, two = (model - start for model in models)
    if not way or len(shape) == 1:
        moved = slerp64(one, two, 0.75)
    else:
        axis = 0 if "nuslerp_row_wise" in way else len(shape) - 1
        one, two = np.moveaxis(one, axis, -1), np.moveaxis(two, axis, -1)
        moved = np.empty(one.shape)
        for at in np.ndindex(one.shape[:-1]):
            moved[at] = slerp64(one[at], two[at], 0.75)
        moved = np.moveaxis(moved, -1, axis)
    made = run(models, base if has_base else None, weight=(1.0, 3.0), **way)
    assert_close(made, start + moved, scale=8)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape, has_base, way):
    models, base = fine_tunes(2, shape)
    base = base if has_base else None
    theirs = oracle("nuslerp", models, base, weight=[1.0, 3.0], **way)
    assert_close(run(models, base, weight=(1.0, 3.0), **way), theirs, scale=4)


def test_a_model_that_did_not_change():
    # No length counts as a right angle, here and in mergekit: sin(.75 x 90 degrees) of the change.
    (model, _), base = fine_tunes(2, (20,))
    made = run([base, model], base, weight=(1.0, 3.0))
    expected = base + np.sin(0.75 * np.pi / 2) * (model.astype(np.float64) - base)
    assert_close(made, expected, scale=2)
    assert_close(made, oracle("nuslerp", [base, model], base, weight=[1.0, 3.0]), scale=2)
    assert run([base, base], base, weight=(1.0, 3.0)).tolist() == base.tolist()


def test_what_is_refused():
    models = far_models(3, (3,))
    with pytest.raises(SettingsError, match=r"nuslerp takes 2 model\(s\), not 3"):
        run(models, weight=(1.0,))
    with pytest.raises(SettingsError, match=r"^the weights 1\.0, -1\.0 sum to zero"):
        run(models[:2], weight=(1.0, -1.0))
    with pytest.raises(ValidationError, match="nuslerp_row_wise has no effect with"):
        NuslerpSettings(weight=(1.0,), nuslerp_row_wise=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape, has_base, way):
    models, base = fine_tunes(2, shape)
    settings = NuslerpSettings(weight=(1.0, 3.0), **way)
    assert_same_everywhere(nuslerp, settings, models, base if has_base else None, exact=False)
