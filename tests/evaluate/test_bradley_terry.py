"""Strengths: by hand, by two other searches, one opponent, what has no finite strength."""

import json

import numpy as np
import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate._logistic import sigmoid
from inarch.evaluate.arena.battles import ArenaSettings, score_battles
from inarch.evaluate.arena.bradley_terry import (
    PRIOR,
    check_connected,
    fit_strengths,
    rate,
    reaches,
)
from inarch.evaluate.arena.files import read_battles
from inarch.evaluate.arena.pairings import Pairings, pairings_without_baseline, read_pairings


def pairings(*rows) -> Pairings:
    """From (prompt, a, b, outcome)."""
    prompts, a, b, outcomes = zip(*rows, strict=True)
    return Pairings(prompts, a, b, np.array(outcomes, float))


def random_wins(seed, num_models=5, num_battles=200):
    random = np.random.default_rng(seed)
    strength = random.normal(size=num_models)
    wins = np.zeros((num_models, num_models))
    for _ in range(num_battles):
        i, j = random.choice(num_models, size=2, replace=False)
        chance = sigmoid(np.array([strength[i] - strength[j]]))[0]
        if random.random() < 0.2:
            wins[i, j] += 0.5
            wins[j, i] += 0.5
        elif random.random() < chance:
            wins[i, j] += 1
        else:
            wins[j, i] += 1
    return wins


def circle(num_prompts=60, seed=0):
    """Three models, no common opponent: a beats b, b beats c, a and c are equal."""
    random = np.random.default_rng(seed)
    rows = []
    for q in range(num_prompts):
        for a, b, chance in (("a", "b", 0.7), ("b", "c", 0.6), ("c", "a", 0.5)):
            rows.append((f"q{q}", a, b, float(random.random() < chance)))
    return pairings(*rows)


# ------------------------------------------------------------------------------ the optimum


def test_two_models_by_hand():
    # 3 to 1: log 3 apart, half on each side of the mean
    [found] = fit_strengths(np.array([[[0.0, 3], [1, 0]]]))
    assert found == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-12)


def test_a_chain_by_hand():
    # a : b = 3 : 1, b : c = 2 : 1, so a beats c with 6 to 1
    found = rate(
        pairings(
            *[("q", "a", "b", x) for x in (1, 1, 1, 0)], *[("r", "b", "c", x) for x in (1, 1, 0)]
        ),
        anchor="c",
    )
    assert list(found) == ["a", "b", "c"]
    assert found["a"].score == pytest.approx(600 / 7)
    assert found["b"].score == pytest.approx(200 / 3)
    assert found["c"][:3] == (50, 50, 50)
    assert found["b"].elo == pytest.approx(1000 + 400 * np.log10(2))
    assert [(row.n_prompts, row.n_battles) for row in found.values()] == [(1, 4), (2, 7), (1, 3)]


def test_a_tie_is_half_a_win_for_each():
    rows = [("q", "a", "b", 1), ("q", "b", "a", 0), ("q", "a", "b", 0.5), ("q", "b", "a", 0.5)]
    # 3 to 1, whoever is called a
    assert rate(pairings(*rows), "b")["a"].score == pytest.approx(75)


def slow(wins, prior):
    """Plain steps up the slope."""
    strength = np.zeros(len(wins))
    for _ in range(20_000):
        slope = -prior * strength
        for i in range(len(wins)):
            for j in range(len(wins)):
                chance = 1 / (1 + np.exp(strength[j] - strength[i]))
                slope[i] += wins[i, j] * (1 - chance) - wins[j, i] * chance
        strength += slope / (wins.sum() / 2)
        if np.abs(slope).max() < 1e-9:
            break
    return strength - strength.mean()


def hunter(wins):
    """The classical iteration: wins over sum of n / (w_i + w_j)."""
    worth = np.ones(len(wins))
    games = wins + wins.T
    for _ in range(20_000):
        worth = wins.sum(1) / (games / (worth[:, None] + worth[None, :])).sum(1)
        worth /= np.exp(np.log(worth).mean())
    return np.log(worth)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_against_two_other_searches(seed):
    wins = random_wins(seed)
    [found] = fit_strengths(wins[None])
    assert found == pytest.approx(hunter(wins), abs=1e-8)
    assert found == pytest.approx(slow(wins, 0.0), abs=1e-6)
    [weak] = fit_strengths(wins[None], prior=5.0)
    assert weak == pytest.approx(slow(wins, 5.0), abs=1e-6)
    assert np.abs(weak).max() < np.abs(found).max()


def test_fits_do_not_mix():
    stack = np.stack([random_wins(seed) for seed in range(4)])
    together = fit_strengths(stack, 0.1)
    for found, wins in zip(together, stack, strict=True):
        assert found == pytest.approx(fit_strengths(wins[None], 0.1)[0], abs=1e-10)


def test_a_long_way_to_the_optimum():
    """One loss in a million between neighbours: steps that jump would not come back."""
    wins = np.zeros((5, 5))
    for i in range(4):
        wins[i, i + 1], wins[i + 1, i] = 1e6, 1
    [found] = fit_strengths(wins[None])
    assert np.diff(found) == pytest.approx(np.full(4, -np.log(1e6)), abs=1e-6)


def test_whole_steps_would_not_arrive():
    """Each model is expected to win as often as it does, where Newton's own steps run away."""
    wins = np.zeros((6, 6))
    wins[0, [3, 5]] = 6, 283392
    wins[1, [2, 4, 5]] = 669012360, 89854, 224264
    wins[2, [0, 4, 5]] = 967, 4, 996
    wins[3, [1, 2, 4, 5]] = 6274, 300917438, 95, 9
    wins[4, [0, 1, 5]] = 559, 62, 343561228
    wins[5, [1, 4]] = 7455952, 1
    [found] = fit_strengths(wins[None])
    expected = (wins + wins.T) * sigmoid(found[:, None] - found[None, :])
    assert expected.sum(1) == pytest.approx(wins.sum(1), rel=1e-7)
    assert found.mean() == pytest.approx(0, abs=1e-12)


# ------------------------------------------------------------------------------ one opponent


@pytest.mark.parametrize("seed", range(3))
def test_with_one_opponent_it_is_the_weighted_mean(seed):
    random = np.random.default_rng(seed)
    rows = [
        (f"q{q}", *random.permutation(["base", model]), outcome)
        for q in range(30)
        for model in ("m", "n", "o")
        for outcome in [random.choice([0, 0.5, 1])] * random.integers(1, 4)
    ]
    found = rate(pairings(*rows), "base")
    for model in ("m", "n", "o"):
        own = [x if a == model else 1 - x for _, a, b, x in rows if model in (a, b)]
        assert found[model].score == pytest.approx(100 * np.mean(own), abs=1e-9)
        assert found[model].n_battles == len(own)


def test_published(eval_data):
    path = eval_data / "arena_hard_v01/battles.jsonl"
    expected = json.loads((path.parent / "expected.json").read_text())["official_code_bt"]
    found = rate(read_pairings(path), "gpt-4-0314")
    usual = score_battles(read_battles(path), ArenaSettings())
    for model, right in expected.items():
        assert found[model].score == pytest.approx(right["win_rate"], abs=1e-6)
        whole = usual[model].whole
        # 1000 draws tell a bound to some 5 % of the width, and none is the same
        width = max(whole.upper - whole.lower, 1e-9)
        assert found[model][1:3] == pytest.approx(whole[1:3], abs=0.1 * width)
        assert found[model].n_prompts == 500
    assert pairings_without_baseline(path) is None


# ------------------------------------------------------------------------------ intervals


def test_the_interval_holds_the_truth_19_times_out_of_20():
    held = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        rows = []
        for q in range(80):
            luck = random.normal(0, 1)  # the prompt's, for all its battles
            for a, b, apart in (("a", "b", 0.8), ("b", "c", -0.3), ("c", "a", -0.5)):
                chance = sigmoid(np.array([apart + luck * 0.5]))[0]
                rows.append((f"q{q}", a, b, float(random.random() < chance)))
        found = rate(pairings(*rows), "c")["b"]
        # on average over luck: a little nearer to the middle than sigma(-0.3) = 42.6
        held += found.lower <= 42.8 <= found.upper
    assert 52 <= held <= 60


def test_the_order_of_battles_does_not_matter():
    one = circle()
    order = np.random.default_rng(1).permutation(len(one.a))
    other = pairings(*[(one.prompts[i], one.a[i], one.b[i], one.outcome_N[i]) for i in order])
    assert rate(other, "a") == {model: pytest.approx(row) for model, row in rate(one, "a").items()}


def test_a_prompts_battles_are_drawn_together():
    once = circle()
    many = Pairings(*(4 * part for part in once[:3]), np.tile(once.outcome_N, 4))
    one, other = rate(once, "a")["b"], rate(many, "a")["b"]
    assert other.score == pytest.approx(one.score, abs=1e-9)
    assert other[1:3] == pytest.approx(one[1:3], abs=0.2)


def test_the_anchor_changes_no_order_and_no_difference():
    by_mean, by_a = rate(circle()), rate(circle(), "a")
    assert list(by_mean) == list(by_a)
    shift = by_mean["a"].elo - 1000
    for model, row in by_mean.items():
        assert row.elo - by_a[model].elo == pytest.approx(shift)
    assert np.mean([row.elo for row in by_mean.values()]) == pytest.approx(1000)


# ------------------------------------------------------------------------------ no finite strength


def test_chains_of_wins():
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 2] = wins[2, 3] = 1
    assert (reaches(wins) == np.triu(np.ones((4, 4), bool))).all()
    wins[3, 0] = 0.5
    assert reaches(wins).all()
    assert (reaches(np.zeros((3, 3))) == np.eye(3, dtype=bool)).all()


def test_a_model_that_wins_or_loses_all_is_told_and_bounded(caplog):
    read = circle()
    rows = [*zip(*read, strict=True)]
    for q in range(20):
        rows += [(f"q{q}", "best", "a", 1), (f"q{q}", "worst", "c", 0)]
    found = rate(pairings(*rows), "a")
    assert "best, worst: all battles with the others go one way" in caplog.text
    assert next(iter(found)) == "best"
    assert list(found)[-1] == "worst"
    assert (found["best"].finite, found["worst"].finite, found["b"].finite) == (False, False, True)
    assert (found["best"].upper, found["worst"].lower) == (100, 0)
    assert 90 < found["best"].lower <= found["best"].score < 100
    assert 0 < found["worst"].score <= found["worst"].upper < 10
    usual = rate(read, "a")
    for model in "abc":
        assert found[model].score == pytest.approx(usual[model].score, abs=1)


def test_the_prior_is_about_half_a_win_and_half_a_loss():
    # 20 wins of 20 with half of each beside: 20.5 / 21
    found = rate(pairings(*[(f"q{q}", "a", "b", 1) for q in range(20)]), "b")["a"]
    assert found.score == pytest.approx(100 * 20.5 / 21, abs=1.5)
    [strength] = fit_strengths(np.array([[[0.0, 20], [0, 0]]]), PRIOR)
    assert found.elo == pytest.approx(1000 + 400 / np.log(10) * np.ptp(strength))


def test_two_that_both_beat_a_third_do_not_bound_each_other():
    rows = [(f"q{q}", model, "c", 1) for q in range(9) for model in "ab"]
    found = rate(pairings(*rows), "a")
    assert (found["b"].lower, found["b"].upper) == (0, 100)
    assert found["c"].lower == 0
    assert found["c"].upper < 50
    assert found["a"].finite
    # the anchor of the mean is with whom most battles are
    by_mean = rate(pairings(*rows))
    assert [row.finite for row in by_mean.values()].count(True) == 1
    assert by_mean["c"].finite


def test_what_no_battle_joins_is_refused_by_name():
    rows = [("q", "a", "b", 1), ("q", "c", "d", 0.5), ("r", "d", "e", 0)]
    with pytest.raises(DataError, match=r"2 groups .*: a, b; c, d, e; they do not compare"):
        rate(pairings(*rows))
    with pytest.raises(SettingsError, match="anchor: found 'x', expected one of a, b, c, d, e"):
        rate(pairings(*rows), "x")
    check_connected(np.array([[0.0, 0], [1, 0]]), ["a", "b"])


# ------------------------------------------------------------------------------ files


def test_files(tmp_path):
    path = tmp_path / "b.jsonl"

    def write(*rows):
        keys = ("question_id", "model_a", "model_b", "winner")
        lines = (json.dumps(dict(zip(keys, row, strict=True))) for row in rows)
        path.write_text("\n".join(lines))

    rows = [
        *[("q", "a", "b", "model_a"), ("q", "b", "c", "tie")],
        *[(7, "c", "a", "model_b"), (7, "c", "a", "tie (bothbad)")],
    ]
    write(*rows)
    found = read_pairings(path)
    assert found[:3] == (("q", "q", "7", "7"), tuple("abcc"), tuple("bcaa"))
    assert list(found.outcome_N) == [1, 0.5, 0, 0.5]
    again = pairings_without_baseline(path)
    assert again is not None
    assert again[:3] == found[:3]
    write(*rows[:2])
    assert pairings_without_baseline(path) is None
    write(rows[0], ("q", "a", "b", "a"))
    with pytest.raises(DataError, match=r":2: winner: found 'a', expected model_a, model_b"):
        read_pairings(path)
    write(rows[0], ("q", "a", "a", "tie"))
    with pytest.raises(DataError, match=":2: found a against itself"):
        read_pairings(path)
    path.write_text('{"uid": "x", "games": []}')
    assert pairings_without_baseline(path) is None
