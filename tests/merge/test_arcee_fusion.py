"""What changed most, by an outlier's threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.arcee_fusion import ArceeFusionSettings, arcee_fusion, divergence

from .merging import f32, merged, oracle
from .promises import SHAPES, assert_same_bits, assert_same_everywhere, far_models


def run(other, base, **how):
    return merged(arcee_fusion, ArceeFusionSettings(), [other], base, **how)


def test_a_vector_by_hand():
    # Changes 1, 2, 3, 4 and x. Ranks 1, 2 and 3 of 0..4: 2, 3 and 4; 3 + 1.5 (4 - 2) = 6.
    base = f32([10, 20, 30, 40, 50])
    for last, taken in ((7.0, 1), (6.0, 1), (5.9, 0), (-6.0, 1)):
        made = run(base + f32([1, -2, 3, -4, last]), base)
        assert (made != base).tolist() == [False] * 4 + [bool(taken)]
        assert made[4] == base[4] + np.float32(last) * taken
    # Four: ranks 0, 1 and 2 (.75 x 3, cut off): 1, 2, 3, and 2 + 1.5 (3 - 1) = 5.
    assert (run(base[:4] + f32([1, 2, 3, 5]), base[:4]) != base[:4]).tolist() == [0, 0, 0, 1]
    assert (run(base[:4] + f32([1, 2, 3, 4.9]), base[:4]) == base[:4]).all()


def test_a_row_counts_by_its_divergence():
    # The first row moves almost as one: its softmax stays. Of the second row, k = .034, importance
    # is .7 k, .1 k, .1 k and .2 k; ranks 1, 3 and 5 of 8 are about 0, 0 and .1 k: .15 k is needed.
    base = f32([[0, 0, 0, 0], [0, 0, 0, 0]])
    other = f32([[5, 5, 5, 5.001], [0.7, 0.1, 0.1, 0.2]])
    assert run(other, base).tolist() == [[0, 0, 0, 0], [f32(0.7), 0, 0, f32(0.2)]]


def test_divergence_by_hand():
    # (3/4, 1/4) against (1/2, 1/2): .75 ln 1.5 + .25 ln .5; the other way it would be .1438.
    made = divergence(f32([[0, 0], [0, 0]]), f32([[np.log(3), 0], [2, 2]]))
    np.testing.assert_allclose(made, [0.1308120, 0], atol=1e-7)
    # Weights hundreds apart overflow nothing: all mass moves, -log q = 1000.
    np.testing.assert_allclose(divergence(f32([[1000, 0]]), f32([[0, 1000]])), [1000])


def test_rows_of_one_element_have_no_divergence_at_all():
    # Noise instead of 0 would rank them, where all are alike and all are taken.
    base, other = far_models(2, (200, 1))
    assert (divergence(base, 9 * other) == 0).all()
    assert_same_bits(run(9 * other, base), 9 * other)


@pytest.mark.parametrize("change", [1.0, 1e-3, 1e-5])
def test_divergence_of_rows_that_hardly_differ(change):
    # Half the variance of the change under the softmax, to the first order; the sum of
    # p (log p - log q) in float32 has errors of 1e-8, where this is 5e-11 for a change of 1e-5.
    base, noise = far_models(2, (4, 500))
    other = f32(base + change * noise)
    wide, d = base.astype(np.longdouble), other.astype(np.longdouble) - base
    q = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    p = q * np.exp(d) / (q * np.exp(d)).sum(1, keepdims=True)
    exact = (p * (np.log(p) - np.log(q))).sum(1).astype(np.float64)
    made = divergence(base, other)
    np.testing.assert_allclose(made, exact, rtol=1e-5)
    tensors = divergence(torch.from_numpy(base), torch.from_numpy(other))
    np.testing.assert_allclose(tensors, made, rtol=1e-5)
    if change < 1:
        mean = (q * d).sum(1, keepdims=True)
        first_order = ((q * (d - mean) ** 2).sum(1) / 2).astype(np.float64)
        np.testing.assert_allclose(made, first_order, rtol=3 * change)


def reference(other, base):
    """By sorting, and by the divergence as it is written, in float64."""
    x, y = base.astype(np.float64), other.astype(np.float64)
    importance = np.abs(y - x)
    if base.ndim > 1:
        p, q = (np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in (y, x))
        importance = importance * (p * np.log(p / q)).sum(-1, keepdims=True)
    ranked = np.sort(importance, axis=None)
    low, median, high = (ranked[int(q * (ranked.size - 1))] for q in (0.25, 0.5, 0.75))
    return np.where(importance >= median + 1.5 * (high - low), other, base)


@given(
    seed=st.integers(0, 999),
    shape=st.sampled_from([(1,), (2,), (3,), (4,), (57,), (5, 1), (9, 14), (3, 4, 5)]),
    kept=st.sampled_from([0.3, 1.0]),
)
def test_against_a_sort(seed, shape, kept):
    base, noise, lots = far_models(3, shape, seed)
    other = f32(base + 0.4 * noise * (abs(lots) < 2 * kept))
    assert_same_bits(run(other, base), reference(other, base))


@pytest.mark.parametrize("shape", SHAPES)
def test_parity_with_mergekit(shape):
    base, noise = far_models(2, shape)
    other = f32(base + 0.3 * noise)
    assert_same_bits(run(other, base), oracle("arcee_fusion", [other], base))
    assert_same_bits(run(base, base), base)


def test_what_is_refused():
    models = far_models(2, (3,))
    with pytest.raises(SettingsError, match="arcee_fusion needs a base model; give base_model"):
        merged(arcee_fusion, ArceeFusionSettings(), models[:1], None)
    with pytest.raises(SettingsError, match=r"takes 1 model\(s\) beside base_model, not 2"):
        merged(arcee_fusion, ArceeFusionSettings(), models, models[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape):
    base, noise = far_models(2, shape)
    other = f32(base + 0.3 * noise)
    assert_same_everywhere(arcee_fusion, ArceeFusionSettings(), [other], base, exact=True)
