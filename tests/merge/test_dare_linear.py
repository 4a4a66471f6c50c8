"""DARE without an election."""

import numpy as np
import pytest

from inarch.errors import SettingsError
from inarch.merge import _combine, _loops
from inarch.merge._random import key
from inarch.merge.dare_linear import DareLinearSettings, dare_linear

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
    stack,
)
from .test_random import scalar


def run(models, base, *, kind="numpy", part_elements=1 << 17, name="tensor", **values):
    how = {"kind": kind, "part_elements": part_elements, "name": name}
    return merged(dare_linear, DareLinearSettings(**values), models, base, **how)


def draw(values, densities, *, seed=0, name="tensor", rescale=True):
    """The changes that are kept, one by one."""
    kept = np.zeros_like(values)
    for model, density in enumerate(densities):
        stream = key(seed, name, model)
        for i, value in enumerate(values[model]):
            if scalar(stream, i) < density * 2**31:
                kept[model, i] = value / density if rescale else value
    return kept


WEIGHTS, DENSITIES = (0.4, -0.3, 0.8, 0.1), (0.3, 0.9, 1.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_as_the_formula_in_float64_over_the_same_choices(num, normalize, kind):
    models, base = random_models(num, (31, 7), seed=num)
    weights, densities = WEIGHTS[:num], DENSITIES[:num]
    for rescale in (True, False):
        kept = draw(references.changes(models, base), densities, seed=5, rescale=rescale)
        values = {"weight": weights, "density": densities, "normalize": normalize, "lambda_": 0.7}
        result = run(models, base, kind=kind, part_elements=60, seed=5, rescale=rescale, **values)
        assert_close(result, references.summed(kept, base, weights, normalize, 0.7), 3)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_parity_with_mergekit_where_nothing_is_left_to_chance(density, normalize):
    models, base = random_models(3, (20, 10))
    values = {"weight": [0.5, 0.25, -0.3], "density": [1.0, density, 1.0], "lambda": 1.3}
    values |= {"normalize": normalize, "int8_mask": True}
    assert_parity(run, "dare_linear", models, base, values)


@pytest.mark.parametrize("density", [0.01, 0.3, 0.9])
def test_what_is_kept_and_how_large_it_becomes(density):
    num = 100_000
    base = np.zeros((100, num // 100), np.float32)
    model = np.random.default_rng(0).normal(size=base.shape).astype(np.float32)
    result = run([model], base, weight=(1.0,), density=(density,))
    kept = result != 0
    assert abs(kept.sum() - num * density) < 4 * np.sqrt(num * density * (1 - density))
    np.testing.assert_allclose(result[kept], model[kept] / density, rtol=1e-6)
    # mergekit: as many, but divided by the share of the summed magnitude that was kept.
    theirs = oracle("dare_linear", [model], base, weight=[1.0], density=density)
    assert abs((theirs != 0).sum() - num * density) < 4 * np.sqrt(num * density * (1 - density))
    assert np.abs(theirs).sum() == pytest.approx(np.abs(model).sum(), rel=1e-4)


def test_the_choices_follow_seed_name_model_and_place_alone():
    base = np.zeros((64, 64), np.float32)
    one = base + 1
    values = {"weight": (1.0,), "density": (0.5,)}
    first = run([one], base, **values)
    others = [
        run([one], base, seed=1, **values),
        run([one], base, name="other", **values),
        run([base, one], base, **values),
    ]
    for other in others:
        # Of 4096 pairs of coins half agree.
        assert abs((first == other).mean() - 0.5) < 4 * 0.5 / 64
    for part_elements in (64, 100, 1000):
        np.testing.assert_array_equal(
            run([one], base, part_elements=part_elements, **values), first
        )
    np.testing.assert_array_equal(
        run([one, one * 5], base, weight=(1.0, 0.0), density=(0.5,)), first
    )


def test_behind_two_to_the_32_the_loops_still_agree(monkeypatch):
    models, base = random_models(2, (1000,))
    part, same = (_combine.Part(2**32 - 500, np.stack(models), base) for _ in range(2))
    draws = [_combine.Draw(key(0, "x", k), 2**30) for k in range(2)]
    how = _combine.Combination((0.5, 0.5), votes="none")
    fast = _combine.combine_drawn(part, draws, (2.0, 2.0), how)
    monkeypatch.setattr(_loops, "drawn", None)
    np.testing.assert_array_equal(_combine.combine_drawn(same, draws, (2.0, 2.0), how), fast)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_kept_below_the_limit_and_not_at_it(kind):
    stream = key(0, "x", 0)
    ones, zeros = np.ones((1, 8), np.float32), np.zeros(8, np.float32)
    part = stack(ones, zeros, kind).map(lambda part: part)[0]
    draw = _combine.Draw(stream, scalar(stream, 3))
    how = _combine.Combination((1.0,), votes="none")
    kept = np.asarray(_combine.combine_drawn(part, [draw], (1.0,), how))
    assert kept.tolist() == [float(scalar(stream, i) < scalar(stream, 3)) for i in range(8)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_merging(kind):
    models, base = random_models(2)
    values = {"weight": (1.0,), "kind": kind}
    assert_close(run(models[:1], base, **values), models[0])
    np.testing.assert_array_equal(run([base, base], base, density=(0.5,), **values), base)
    for rescale in (True, False):
        nothing = run(models, base, density=(0.0,), rescale=rescale, **values)
        np.testing.assert_array_equal(nothing, base)


def test_compiled_plain_and_torch_give_the_same_bits():
    models, base = random_models(4, (60, 70))
    values = {"weight": WEIGHTS, "density": DENSITIES, "lambda_": 0.7}
    assert_plain_and_torch_alike(run, ("combine", "drawn", "uniform_bits"), models, base, **values)


def test_what_does_not_fit_is_refused():
    models, base = random_models(2)
    with pytest.raises(SettingsError, match="dare_linear needs a base model"):
        run(models, None, weight=(1.0,))
    with pytest.raises(SettingsError, match="density has 3 values for 2 models"):
        run(models, base, weight=(1.0,), density=(0.1, 0.2, 0.3))
    with pytest.raises(SettingsError, match="sum to zero"):
        run(models, base, weight=(1.0, -1.0), normalize=True)
    assert f32(run(models, base, weight=(1.0, -1.0))).shape == base.shape


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(
        run([base, base], base, kind=kind, weight=(1.0, -1.0), density=(0.5,))
    ).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(DareLinearSettings, "dare_linear")
