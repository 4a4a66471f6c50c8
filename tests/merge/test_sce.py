"""SCE by its three authors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.merge import _loops
from inarch.merge.sce import SceSettings, sce, spread

from .merging import KINDS, assert_close, assert_defaults, f32, merged, oracle, random_models, stack

VARIANTS = ("paper", "fuseai", "mergekit")
ONE = f32([[0.4, -0.2, 0.1], [0, 0.3, -0.1]])
TWO = f32([[-0.1, -0.3, 0.1], [0.2, 0, 0.5]])
ZERO = np.zeros_like(ONE)


def run(models, base, *, kind="numpy", part_elements=1 << 17, **settings):
    how = {"kind": kind, "part_elements": part_elements}
    return merged(sce, SceSettings(**settings), models, base, **how)


# D1. Squares of the changes add up to .31 and .40: eta = .31/.71, .40/.71 = .4366, .5634.
# At tau = .5, int(.5 x 5 that vary) = 2 elements stay, the first and the last:
# .17 and .26 of .43 = .3953, .6047.
EXAMPLE = {
    (1.0, "paper"): [[0.1746, -0.2563, 0.1], [0.1127, 0.1310, 0.2817]],
    (1.0, "fuseai"): [[0.4, -0.2563, 0.1], [0.2, 0.3, 0.5]],
    (1.0, "mergekit"): [[0.4, -0.2563, 0.1], [0.2, 0.3, 0.5]],
    (0.5, "paper"): [[0.1581, 0, 0], [0, 0, 0.3023]],
    (0.5, "fuseai"): [[0.4, -0.2605, 0.1], [0.2, 0.3, 0.5]],
    (0.5, "mergekit"): [[0.4, 0, 0], [0, 0, 0.5]],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tau", "variant"), EXAMPLE)
def test_worked_example(tau, variant, kind):
    result = run([ONE, TWO], ZERO, select_topk=tau, variant=variant, kind=kind)
    np.testing.assert_allclose(result, EXAMPLE[tau, variant], atol=5.1e-5)
    rule = sce(stack([ONE, TWO], ZERO, kind), SceSettings(select_topk=tau, variant=variant))
    eta = (0.31 / 0.71, 0.40 / 0.71) if tau == 1.0 else (0.17 / 0.43, 0.26 / 0.43)
    np.testing.assert_allclose(rule.coefficients, eta, rtol=1e-6)


def test_normalize_overrules_the_variant():
    for variant in VARIANTS:
        divided = run([ONE, TWO], ZERO, variant=variant, normalize=True)
        np.testing.assert_allclose(divided, EXAMPLE[1.0, "fuseai"], atol=5.1e-5)
        undivided = run([ONE, TWO], ZERO, variant=variant, normalize=False)
        np.testing.assert_allclose(undivided, EXAMPLE[1.0, "paper"], atol=5.1e-5)


def reference(models, base, tau, variant):
    """The card, read once more, in float64 and with a sort."""
    deltas = np.array(models, np.float64) - np.float64(base)
    flat = deltas.reshape(len(models), -1)
    variance = flat.var(axis=0) * (np.ptp(flat, axis=0) > 0)
    count = int(np.float32(tau) * np.float32((variance > 0).sum()))
    order = np.lexsort((np.arange(variance.size), -variance))
    mask = np.zeros(variance.size)
    mask[order[:count]] = 1
    if tau == 1 or (variant != "mergekit" and not variance.any()):
        mask[:] = 1
    means = np.square(flat * mask).mean(axis=1)
    uniform = means.sum() < 1e-6 if variant == "mergekit" else means.sum() == 0
    eta = np.full(len(models), 1 / len(models)) if uniform else means / means.sum()
    kept = flat if variant == "fuseai" else flat * mask
    sign = np.where(kept.sum(axis=0) >= 0, 1, -1)
    agree = np.sign(kept) == sign
    change = (eta[:, None] * kept * agree).sum(axis=0)
    if variant != "paper":
        share = (eta[:, None] * agree).sum(axis=0)
        change = change / np.where(share > 0, share, 1)
    return base + change.reshape(base.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tau", [1.0, 0.7, 0.29, 0.05, 0.0])
@pytest.mark.parametrize("num", [1, 2, 3, 5])
def test_as_the_formula_in_float64(num, tau, variant, kind):
    models, base = random_models(num, (31, 7), seed=num)
    result = run(models, base, select_topk=tau, variant=variant, kind=kind, part_elements=50)
    assert_close(result, reference(models, base, tau, variant))


@pytest.mark.parametrize("tau", [1.0, 0.6, 0.29, 0.1, 0.001])
@pytest.mark.parametrize("num", [1, 2, 3, 4])
@pytest.mark.parametrize("change", [0.1, 1e-4])
def test_parity_with_mergekit(num, tau, change):
    models, base = random_models(num, (20, 10), seed=10 + num, change=change)
    ours = run(models, base, select_topk=tau, variant="mergekit", int8_mask=True)
    assert_close(ours, oracle("sce", models, base, select_topk=tau))


def test_mergekit_weighs_all_alike_below_its_threshold():
    # Mean squares add up to 5e-6 and to 5e-8; the paper weighs 1 : 4 in both cases.
    base = np.zeros((1, 1000), np.float32)
    for scale, expected in ((1e-3, 0.2), (1e-4, 0.5)):
        models = [base + f32(scale), base + f32(2 * scale)]
        made = stack(models, base)
        first, _ = sce(made, SceSettings(variant="mergekit")).coefficients
        assert first == pytest.approx(expected)
        assert sce(made, SceSettings()).coefficients[0] == pytest.approx(0.2)
        assert_close(run(models, base, variant="mergekit"), oracle("sce", models, base))


@pytest.mark.parametrize("kind", KINDS)
def test_mergekit_divides_by_no_less_than_its_threshold(kind):
    models, base = [f32([[1e-2, 0]]), f32([[1e-6, 1e-6]])], f32([[0, 0]])
    # eta_2 = 2e-12 / 1e-4 = 2e-8, alone at the second element: 2e-8 x 1e-6 / 1e-6.
    ours = run(models, base, variant="mergekit", kind=kind)
    np.testing.assert_allclose(ours, [[1e-2, 2e-8]], rtol=1e-4)
    np.testing.assert_allclose(ours, oracle("sce", models, base), rtol=1e-6)
    np.testing.assert_allclose(run(models, base, variant="fuseai"), [[1e-2, 1e-6]], rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_target(variant):
    # D2: nothing varies. mergekit, run, returns the pivot below tau = 1.
    models, base = random_models(1)
    expected = base if variant == "mergekit" else models[0]
    assert_close(run(models, base, select_topk=0.3, variant=variant), expected)
    assert_close(run(models, base, variant=variant), models[0])


def test_small_changes_weigh_as_large_ones():
    # D3: float32 targets whose changes have root mean squares of 1e-4 and 2e-4: 1 : 4.
    rng = np.random.default_rng(0)
    base = rng.normal(scale=0.02, size=(300, 300)).astype(np.float32)
    models = [base + rng.normal(scale=s, size=base.shape).astype(np.float32) for s in (1e-4, 2e-4)]
    for variant in ("paper", "fuseai"):
        eta = sce(stack(models, base), SceSettings(variant=variant)).coefficients
        np.testing.assert_allclose(eta, (0.2, 0.8), rtol=0.01)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_merging(variant, kind):
    # D4
    (model,), base = random_models(1)
    how = {"variant": variant, "kind": kind}
    np.testing.assert_array_equal(run([base, base], base, **how), base)
    np.testing.assert_array_equal(run([base], base, select_topk=0.5, **how), base)
    equal = [model] * 3
    expected = f32(base + (model - base))
    assert_close(run(equal, base, **how), expected)
    kept = run(equal, base, select_topk=0.5, **how)
    assert_close(kept, base if variant == "mergekit" else expected)


def test_a_sum_of_zero_is_plus_and_the_first_of_equals_stays():
    models, base = [f32([1, -1, 1, -1]), f32([-1, 1, -1, 1])], f32([0, 0, 0, 0])
    # eta = 1/2; of four equal variances two are kept.
    assert run(models, base, select_topk=0.5).tolist() == [0.5, 0.5, 0, 0]
    assert run(models, base, variant="mergekit").tolist() == [1, 1, 1, 1]
    assert oracle("sce", [m[None] for m in models], base[None]).tolist() == [[1, 1, 1, 1]]


def test_the_sign_is_that_of_the_changes_before_they_are_weighed():
    # .4 - .3 > 0, though eta = .17/4.26, 4.09/4.26 turns the weighed sum around.
    models, base = [f32([[0.4, 0.1]]), f32([[-0.3, 2.0]])], f32([[0, 0]])
    assert run(models, base, variant="mergekit")[0, 0] == pytest.approx(0.4)
    assert_close(run(models, base, variant="mergekit"), oracle("sce", models, base))


@given(st.integers(0, 1000), st.sampled_from([1.0, 0.4]), st.sampled_from(VARIANTS))
def test_the_order_of_the_models_does_not_count(seed, tau, variant):
    models, base = random_models(3, (5, 7), seed)
    settings = {"select_topk": tau, "variant": variant}
    turned = run([models[i] for i in (2, 0, 1)], base, **settings)
    assert_close(turned, run(models, base, **settings))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_parts_changes_no_selection(kind):
    models, base = random_models(3, (40, 11))
    whole = run(models, base, select_topk=0.3, kind=kind)
    for part_elements in (11, 100, 200):
        parts = run(models, base, select_topk=0.3, kind=kind, part_elements=part_elements)
        assert_close(parts, whole)
        np.testing.assert_array_equal(parts == base, whole == base)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("num", [1, 2, 5])
def test_compiled_and_plain_give_the_same_bits(variant, num, monkeypatch):
    models, base = random_models(num, (35, 70), seed=num)
    models, base = [np.tile(model, (2, 1)) for model in models], np.tile(base, (2, 1))

    def all_ways():
        return [
            run(models, base, select_topk=tau, variant=variant, part_elements=part_elements)
            for tau in (1.0, 0.3)
            for part_elements in (1 << 17, 1400)  # one part, and some besides that of the cut
        ]

    made = all_ways()
    for name in ("spread", "varying", "squares", "combine"):
        monkeypatch.setattr(_loops, name, None)
    np.testing.assert_array_equal(made, all_ways())


@pytest.mark.parametrize("num", [1, 2, 3, 7])
def test_spread(num):
    models, _ = random_models(num, (100,), change=1e-3)
    expected = np.var(np.array(models, np.float64), axis=0) * num
    np.testing.assert_allclose(spread(np.stack(models)), expected, rtol=1e-5, atol=1e-12)
    assert not spread(np.stack([models[0]] * num)).any()


def test_a_base_is_needed():
    with pytest.raises(SettingsError, match="sce needs a base model"):
        run([ONE, TWO], None)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_come_out_positive(kind):
    base = f32([-0.0, 0.0])
    assert not np.signbit(run([base, base], base, kind=kind)).any()


def test_parameters_and_defaults_are_mergekits():
    assert_defaults(SceSettings, "sce")
