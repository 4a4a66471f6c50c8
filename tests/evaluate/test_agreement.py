"""Agreement of judges: by hand, by scikit-learn's kappa, the position effect that is published."""

import csv

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.evaluate._resample import draw_counts
from inarch.evaluate.alpaca.files import read_judged
from inarch.evaluate.judges.agreement import (
    agreement,
    cohen_kappa,
    consistency,
    pooled_agreement,
    position_effect,
)
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result

NAN = float("nan")


def result(scores, model="m", prompts=None, **change):
    record = ProtocolRecord(benchmark="alpaca_eval2", version="2", score="%", judge="j")
    names = prompts or [f"q{i}" for i in range(len(scores))]
    rows = tuple(PromptScore(q, "", float(s)) for q, s in zip(names, scores, strict=True))
    return Result(record.model_copy(update=change), model, rows)


def rated(scores, **change):
    return result(scores, benchmark="mt_bench", **change)


# ------------------------------------------------------------------------------ two judges


def test_winners_by_hand():
    a = result([90, 50, 10, 51, 30])
    b = result([60, 40, 20, 49.0, 50, 99], judge="k")
    found = agreement(a, b)
    # win win, tie loss, loss loss, win loss, loss tie; q5 has one judge
    assert found.n == 5
    assert found.labels == ("loss", "tie", "win")
    assert found.table == ((1, 1, 0), (1, 0, 0), (1, 0, 1))
    assert found.agree_frac == pytest.approx(2 / 5)
    # by chance: (2 * 3 + 1 * 1 + 2 * 1) / 25 = 0.36; (0.4 - 0.36) / 0.64
    assert found.kappa == pytest.approx(0.0625)
    assert found.mean_abs_difference == pytest.approx((30 + 10 + 10 + 2 + 20) / 5)
    assert found.correlation == pytest.approx(
        np.corrcoef([90, 50, 10, 51, 30], [60, 40, 20, 49, 50])[0, 1]
    )


def test_the_middle_is_a_tie_but_for_rounding():
    a, b = result([50 + 1e-12, 50.001]), result([50.0, 50.001])
    assert agreement(a, b).table == ((0, 0, 0), (0, 1, 0), (0, 0, 1))


def test_ratings_agree_when_rounded_halves_up():
    # 8 8, 9 8, 7 7, 3 5
    found = agreement(rated([8.4, 8.5, 6.5, 3]), rated([7.5, 8.25, 7, 5], judge="k"))
    assert found.labels == ("3", "5", "7", "8", "9")
    assert found.agree_frac == pytest.approx(0.5)
    assert found.mean_abs_difference == pytest.approx((0.9 + 0.25 + 0.5 + 2) / 4)
    assert found.table[0][1] == found.table[4][3] == 1
    # by chance: 8 1 * 2, 7 1 * 1, of 16; (1 / 2 - 3 / 16) / (13 / 16)
    assert found.kappa == pytest.approx(5 / 13)


def test_ratings_in_pairs_are_wins():
    a, b = (rated([100, 0, 50], baseline="b", judge=judge) for judge in "jk")
    assert agreement(a, b).labels == ("loss", "tie", "win")


@pytest.mark.parametrize("seed", range(5))
def test_kappa_and_table_against_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    a = random.integers(1, 8, size=60)
    b = np.where(random.random(60) < 0.4, a, random.integers(1, 8, size=60))
    found = agreement(rated(a), rated(b, judge="k"))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    labels = list(map(int, found.labels))
    assert found.table == tuple(map(tuple, metrics.confusion_matrix(a, b, labels=labels).tolist()))
    assert found.kappa_lower < found.kappa < found.kappa_upper


def test_kappa_at_its_ends():
    assert cohen_kappa(np.diag([3.0, 2, 5])) == 1
    assert cohen_kappa(np.array([[0.0, 5], [5, 0]])) == -1
    # 10 of 100 by A and 20 by B, at random
    assert cohen_kappa(np.array([[2.0, 8], [18, 72]])) == pytest.approx(0)
    assert cohen_kappa(np.array([[7.0, 0], [0, 0]])) is None
    found = agreement(result([90, 80]), result([70, 70]))
    assert (found.kappa, found.kappa_lower, found.correlation) == (None, None, None)
    assert found.agree_frac == 1


def test_models_are_pooled_and_a_prompt_is_drawn_with_all_of_them():
    random = np.random.default_rng(0)
    a = random.choice([0, 50, 100], size=40)
    b = np.where(random.random(40) < 0.5, a, random.choice([0, 50, 100], size=40))
    one = agreement(result(a), result(b, judge="k"))
    pair = [(result(a, m), result(b, m, judge="k")) for m in "mno"]
    many = pooled_agreement(pair)
    assert many.n == 120
    assert many.kappa == pytest.approx(one.kappa)
    # copies of a prompt's verdicts are no new evidence
    assert many[3:5] == pytest.approx(one[3:5])
    apart = [
        (result(a, m, [f"{m}{i}" for i in range(40)]), result(b, m, [f"{m}{i}" for i in range(40)]))
        for m in "mno"
    ]
    narrow = pooled_agreement(apart)
    assert (narrow.kappa_upper - narrow.kappa_lower) / (one.kappa_upper - one.kappa_lower) < 0.75


def test_the_bounds_of_kappa_draw_by_draw():
    """Each draw again, verdict by verdict; the models' prompts stand in another order."""
    random = np.random.default_rng(1)
    names = [f"q{i}" for i in range(12)]
    verdicts = random.choice([0, 50, 100], size=(2, 2, 12))
    orders = names, names[::-1]
    pair = [
        (result(one, m, order), result(other, m, order, judge="k"))
        for (one, other), m, order in zip(verdicts, "mn", orders, strict=True)
    ]
    kappas = []
    for counts in draw_counts(12):
        drawn = [
            (one, other)
            for count, name in zip(counts, names, strict=True)
            for a, b in pair
            for row, twin in zip(a.scores, b.scores, strict=True)
            if row.prompt == name
            for one, other in [(row.score, twin.score)] * int(count)
        ]
        ones, others = zip(*drawn, strict=True)
        agreed = np.mean(np.equal(ones, others))
        chance = sum(
            np.mean(np.equal(ones, x)) * np.mean(np.equal(others, x)) for x in (0, 50, 100)
        )
        kappas.append((agreed - chance) / (1 - chance))
    found = pooled_agreement(pair)
    assert (found.kappa_lower, found.kappa_upper) == pytest.approx(
        tuple(np.quantile(kappas, [0.025, 0.975]))
    )


def test_what_cannot_agree_is_refused():
    a = result([90, 10])
    with pytest.raises(DataError, match="found m and n"):
        agreement(a, result([90, 10], "n"))
    with pytest.raises(DataError, match="differ in version, baseline"):
        agreement(a, result([90, 10], version="3", baseline="b"))
    with pytest.raises(DataError, match="no prompt in common"):
        agreement(a, result([90], prompts=["x"]))
    with pytest.raises(DataError, match="likelihood, which no judge gave"):
        agreement(*[result([1], benchmark="likelihood")] * 2)
    with pytest.raises(DataError, match="differ in score"):
        pooled_agreement([(a, a), (result([1], "n", score="x"), result([1], "n", score="x"))])


# ------------------------------------------------------------------------------ two orders


def test_consistency_by_hand():
    # win win, win loss, loss win, tie tie, tie win, without a verdict twice
    first = np.array([0.9, 0.8, 0.1, 0.5, 0.5, NAN, 0.7])
    second = np.array([0.6, 0.2, 0.8, 0.5, 0.9, 0.5, NAN])
    found = consistency(first, second)
    assert (found.n, found.num_left_out) == (5, 2)
    assert found.consistent_frac == pytest.approx(2 / 5)
    assert (found.first, found.second) == pytest.approx((0.56, 0.6))
    assert found.first_bias == pytest.approx(-0.04)
    # first loss 1, tie 2, win 2; second 1, 1, 3: by chance (1 + 2 + 6) / 25
    assert found.kappa == pytest.approx((0.4 - 0.36) / 0.64)
    assert found.table == ((0, 0, 1), (0, 1, 1), (1, 0, 1))


def test_the_bias_of_orders_is_paired():
    """What prompts share is not in its interval: half as wide as sd / sqrt(n) of chances."""
    random = np.random.default_rng(0)
    level = random.uniform(0.1, 0.8, size=400)
    first = level + 0.1 + random.normal(0, 0.02, size=400)
    second = level - 0.05 + random.normal(0, 0.02, size=400)
    found = consistency(first, second)
    # sd 0.02 sqrt(2), over sqrt(400), 1.96 on both sides
    width = 2 * 1.96 * 0.02 * np.sqrt(2) / 20
    assert found.upper - found.lower == pytest.approx(width, rel=0.1)
    assert found.lower < 0.15 < found.upper
    apart = position_effect(np.r_[first, second], np.arange(800) < 400)
    assert apart.first_bias == pytest.approx(found.first_bias)
    assert (apart.upper - apart.lower) > 5 * width


def test_a_judge_that_names_the_first_is_never_consistent():
    found = consistency(np.ones(9), np.zeros(9))
    assert found[2:8] == (0.0, 0.0, 1.0, 0.0, 1.0, 1.0)
    with pytest.raises(DataError, match="found 2 prompts, none with a verdict in both"):
        consistency(np.array([NAN, 1.0]), np.array([1.0, NAN]))


def test_the_position_effect_by_hand():
    found = position_effect(
        np.array([1.0, 0.5, NAN, 0.2, 0.4]), np.array([True, False, True, True, False])
    )
    assert found[:3] == (2, 2, 1)
    assert found[3:6] == pytest.approx((0.6, 0.45, 0.15))
    # first: 1, 0.6 or 0.2; second: 0.5, 0.45 or 0.4
    assert (found.lower, found.upper) == pytest.approx((0.2 - 0.5, 1 - 0.4))
    with pytest.raises(DataError, match="found 0 verdicts with the model first and 2"):
        position_effect(np.array([1.0, 0.0]), np.array([False, False]))


def test_the_interval_of_the_position_effect_holds_the_truth_19_times_out_of_20():
    held = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        shown = random.random(80) < 0.5
        chances = random.normal(np.where(shown, 0.4, 0.6), np.where(shown, 0.1, 0.3))
        found = position_effect(chances, shown)
        held += found.lower <= -0.2 <= found.upper
    assert 88 <= held <= 100


def test_published_position_effect(eval_data):
    """FuseChat-Llama-3.1-8B: 54.6 % when first, 72.2 % when second."""
    path = eval_data / "alpaca_eval2/annotations/FuseChat-Llama-3.1-8B-Instruct.csv"
    with path.open() as file:
        shown = np.array([row["is_switched"] == "1" for row in csv.DictReader(file)])
    found = position_effect(read_judged(path).preference_N - 1, shown)
    assert (found.n_first, found.n_second, found.num_left_out) == (406, 399, 0)
    assert (found.first, found.second) == pytest.approx((0.546, 0.722), abs=5e-4)
    assert -0.24 < found.lower < found.first_bias < found.upper < -0.12
