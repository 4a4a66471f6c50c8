"""The mean of any number of models on the sphere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge.multislerp import MultislerpSettings, multislerp
from inarch.merge.nuslerp import NuslerpSettings, nuslerp

from .merging import assert_close, f32, merged, oracle, stack
from .promises import SHAPES, assert_same_everywhere, far_models, fine_tunes

X, Y, Z = f32(np.eye(3))


def run(models, base=None, **settings):
    return merged(multislerp, MultislerpSettings(**settings), models, base)


def reference(vectors, weights, variant):
    """The docstring, with vectors."""
    vectors = np.array(vectors, np.float64).reshape(len(vectors), -1)
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / lengths[:, None]
    shares = weights / np.sum(weights)
    point = (shares if variant == "sphere" else weights) @ units
    point /= np.linalg.norm(point)
    if variant == "sphere":
        tangent = np.zeros_like(point)
        for share, unit in zip(shares, units, strict=True):
            rest = unit - (unit @ point) * point
            tangent += share * np.arccos(unit @ point) * rest / np.linalg.norm(rest)
        far = np.linalg.norm(tangent)
        point = np.cos(far) * point + np.sin(far) / far * tangent
    return point * (weights @ lengths)


def test_by_hand():
    # Weights 3 and 1 over a right angle: 22.5 degrees on the sphere; mergekit's is 3 to 1.
    weight = (3.0, 1.0)
    sphere = run([X, Y], weight=weight)
    assert_close(sphere, f32([np.cos(np.pi / 8), np.sin(np.pi / 8), 0]))
    straight = run([X, Y], weight=weight, variant="mergekit")
    assert_close(straight, f32([3, 1, 0]) / np.sqrt(10))
    # Lengths are averaged, (3 x 1 + 1 x 5) / 4 = 2, and do not turn the direction.
    assert_close(run([X, 5 * Y], weight=weight), 2 * sphere, scale=2)
    assert_close(run([X, 5 * Y], weight=weight, variant="mergekit"), 2 * straight, scale=2)
    # Undivided weights: the direction stays, the length is 3 x 1 + 1 x 5.
    undivided = {"weight": weight, "normalize_weights": False}
    assert_close(run([X, 5 * Y], **undivided), 8 * sphere, scale=8)
    # Three axes, in the middle.
    for variant in ("sphere", "mergekit"):
        made = run([X, Y, Z], weight=(1.0,), variant=variant)
        assert_close(made, f32([np.sqrt(1 / 3)] * 3))
    # With a base: of the changes.
    base = f32([1, 2, 3])
    assert_close(run([X + base, Y + base], base, weight=weight), base + sphere, scale=3)
    rule = multislerp(stack([X, 5 * Y], None), MultislerpSettings(weight=weight))
    np.testing.assert_allclose(rule.coefficients, [2 * sphere[0], 2 * sphere[1] / 5], rtol=1e-6)


@given(seed=st.integers(0, 99), t=st.floats(0.01, 0.99))
def test_two_models_of_one_length_give_slerp(seed, t):
    one, two = far_models(2, (20,), seed)
    two *= np.linalg.norm(one) / np.linalg.norm(two)
    weight = (1 - t, t)
    slerped = merged(nuslerp, NuslerpSettings(weight=weight), [one, two], None)
    assert_close(run([one, two], weight=weight), slerped, scale=8)


@given(
    seed=st.integers(0, 99),
    num=st.integers(2, 5),
    variant=st.sampled_from(["sphere", "mergekit"]),
    norm=st.booleans(),
    has_base=st.booleans(),
)
def test_against_float64(seed, num, variant, norm, has_base):
    models, base = fine_tunes(num, (9, 7), seed)
    weights = np.random.default_rng(seed).uniform(0.2, 2, num)
    start = base.astype(np.float64) if has_base else np.zeros(base.shape)
    used = weights / weights.sum() if norm else weights
    moved = reference([model - start for model in models], used, variant)
    settings = {"weight": tuple(weights), "normalize_weights": norm, "variant": variant}
    made = run(models, base if has_base else None, **settings)
    assert_close(made, start + moved.reshape(base.shape), scale=20)


@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "weight", [(1.0, 2.0, 3.0, 0.5), (1.0, -0.5, 3.0, 0.5), (-1.0, -2.0, 0.5, -0.7)]
)
def test_parity_with_mergekit(shape, has_base, weight):
    models, base = fine_tunes(4, shape)
    base = base if has_base else None
    # Weights of sum 6.5 or 4 multiply the rounding of its ways, which add up to zero but for it.
    for norm, scale in ((True, 6), (False, 120)):
        theirs = oracle("multislerp", models, base, weight=list(weight), normalize_weights=norm)
        ours = run(models, base, weight=weight, normalize_weights=norm, variant="mergekit")
        assert_close(ours, theirs, scale)


def test_models_without_direction_have_no_say():
    zero = 0 * X
    weight = (3.0, 1.0, 4.0)
    for variant in ("sphere", "mergekit"):
        alone = run([X, Y], weight=weight[:2], variant=variant)
        beside = run([X, Y, zero], weight=weight, variant=variant)
        assert_close(beside, alone / 2)  # their length is half of the weights' sum
    assert run([zero, zero], weight=(1.0,)).tolist() == [0, 0, 0]
    assert run([X, X], X, weight=(1.0,)).tolist() == X.tolist()
    # What eps calls short has no say either: .5 (1 + .1) long, towards X.
    assert_close(run([X, 0.1 * Y], weight=(1.0,), eps=0.2), f32([0.55, 0, 0]))


def test_directions_that_cancel_are_mixed_straight():
    for variant in ("sphere", "mergekit"):
        assert run([X, -2 * X], weight=(1.0,), variant=variant).tolist() == [-0.5, 0, 0]
    # A weight of 3 against 1: the direction is that of the first, the length .75 + .25 x 2.
    assert_close(run([X, -2 * X], weight=(3.0, 1.0)), f32([1.25, 0, 0]))


def test_equal_models():
    model = far_models(1, (50,))[0]
    made = run([model] * 3, weight=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(made, model, rtol=3e-7)


def test_what_is_refused():
    with pytest.raises(SettingsError, match=r"^the weights 1\.0, -1\.0 sum to zero"):
        run([X, Y], weight=(1.0, -1.0))
    with pytest.raises(SettingsError, match="weight has 3 values for 2 models"):
        run([X, Y], weight=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_everywhere(shape, has_base):
    models, base = fine_tunes(3, shape)
    settings = MultislerpSettings(weight=(1.0, 3.0, 2.0))
    assert_same_everywhere(multislerp, settings, models, base if has_base else None, exact=False)
