"""Arena-Hard: scores by hand, by a Bradley-Terry fit, as published; intervals by prompts."""

import json

import numpy as np
import pytest

from inarch.evaluate.arena.battles import ArenaSettings, Battles, results, score_battles
from inarch.evaluate.arena.files import read_battles
from inarch.evaluate.protocol import mean_score


def battles(rows, **change) -> Battles:
    """From (prompt, model, outcome)."""
    prompts, models, outcomes = zip(*rows, strict=True)
    plain = Battles(
        "v0.1", prompts, models, ("",) * len(rows), np.array(outcomes, float), {"": "b"}
    )
    return plain._replace(**change)


def random_battles(seed, num_prompts=60, models=("m", "n")) -> Battles:
    random = np.random.default_rng(seed)
    return battles(
        [
            (f"q{q}", model, outcome)
            for q in range(num_prompts)
            for model in models
            for outcome in [random.choice([0, 0.5, 1])] * random.integers(1, 7)
        ]
    )


def test_by_hand():
    # m: 3 x 1, 1 x 0, 1 x 0.5 of 5 battles: 70 %; n: 1 x 0 of 1.
    rows = [("q", "m", 1)] * 3 + [("q", "m", 0), ("r", "m", 0.5), ("q", "n", 0)]
    found = score_battles(battles(rows, num_invalid={("m", ""): 2}), ArenaSettings())
    assert list(found) == ["m", "b", "n"]
    assert found["m"].whole.score == pytest.approx(70)
    assert (found["m"].whole.n_prompts, found["m"].n_battles, found["m"].n_invalid) == (2, 5, 2)
    assert found["n"].whole[:4] == (0, 0, 0, 1)
    assert found["b"].whole == (50, 50, 50, 2)


def test_published(eval_data):
    expected = json.loads((eval_data / "arena_hard_v01/expected.json").read_text())
    read = read_battles(eval_data / "arena_hard_v01/battles.jsonl")
    for intervals in ("prompts", "rows"):
        found = score_battles(read, ArenaSettings(intervals=intervals))
        assert found.keys() == expected["official_code_bt"].keys()
        for model, right in expected["weighted_mean_win_rate"].items():
            assert found[model].whole.score == pytest.approx(right, abs=1e-9)
            official = expected["official_code_bt"][model]
            assert found[model].whole.score == pytest.approx(official["win_rate"], abs=1e-6)
            published = expected["published"][model]["score"]
            assert found[model].whole.score == pytest.approx(published, abs=0.005)
            assert found[model].n_battles == expected["n_battles_weighted"][model]
            assert found[model].whole.n_prompts == 500
            width = found[model].whole.upper - found[model].whole.lower
            theirs = official["ci95_bootstrap_upper"] - official["ci95_bootstrap_lower"]
            # 100 draws tell a width to some 10 %; prompts need 1.6 times the width of rows
            if intervals == "rows":
                assert width == pytest.approx(theirs, rel=0.25)
            else:
                assert 1.3 < width / theirs < 2.0


@pytest.mark.parametrize("seed", range(3))
def test_a_bradley_terry_fit_says_the_same(seed):
    """Doubled rows, +-ln 10, no penalty, as v0.1 has it: with one opponent it is the mean."""
    from inarch.evaluate._logistic import Penalty, fit_logistic

    read = random_battles(seed, models=("m", "n", "o"))
    names = list(dict.fromkeys(read.models))
    features = np.log(10) * np.eye(3)[[names.index(model) for model in read.models]]
    ones = np.full((1, len(features)), 2.0)
    elo = 400 * fit_logistic(features, read.outcome_N, ones, Penalty(), np.zeros((1, 3)))[0]
    found = score_battles(read, ArenaSettings())
    for name, rating in zip(names, elo, strict=True):
        assert found[name].whole.score == pytest.approx(100 / (1 + 10 ** (-rating / 400)), abs=1e-6)


def test_intervals_by_prompts_do_not_shrink_when_rows_are_repeated():
    once = random_battles(0)
    many = battles(
        [
            row
            for row in zip(once.prompts, once.models, once.outcome_N, strict=True)
            for _ in range(9)
        ]
    )
    for kind, shrinks in (("prompts", 1.0), ("rows", 1 / 3)):
        settings = ArenaSettings(intervals=kind)
        one, other = (score_battles(b, settings)["m"].whole for b in (once, many))
        assert other.score == pytest.approx(one.score)
        ratio = (other.upper - other.lower) / (one.upper - one.lower)
        assert ratio == pytest.approx(shrinks, rel=0.001 if kind == "prompts" else 0.35)


def test_rows_under_v2_are_drawn_for_a_90_percent_interval():
    old = random_battles(0, num_prompts=400)
    settings = ArenaSettings(intervals="rows")
    narrow, wide = (
        score_battles(old._replace(version=version), settings)["m"].whole
        for version in ("v2", "v0.1")
    )
    # 2 * 1.645 against 2 * 1.960 sd
    ratio = (narrow.upper - narrow.lower) / (wide.upper - wide.lower)
    assert ratio == pytest.approx(1.645 / 1.960, rel=0.15)


def test_categories_have_scores_and_baselines_of_their_own(caplog):
    rows = [("q", "m", 1), ("r", "m", 0), ("s", "m", 0.5)]
    parts = battles(
        rows,
        categories=("hard", "hard", "fun"),
        baseline_of={"hard": "o", "fun": "g"},
        version="v2",
    )
    found = score_battles(parts, ArenaSettings())
    assert found["m"].by_category["hard"].score == 50
    assert found["m"].by_category["hard"].n_prompts == 2
    assert found["m"].by_category["fun"].n_prompts == 1
    assert {model: list(row.by_category) for model, row in found.items()} == {
        "m": ["fun", "hard"],
        "o": ["hard"],
        "g": ["fun"],
    }
    assert "different baselines" in caplog.text


def test_a_baseline_of_one_category_may_be_a_model_in_another():
    rows = [("q", "m", 1), ("r", "m", 0), ("r", "o", 1), ("s", "o", 0)]
    hard, fun = "hard", "fun"
    parts = battles(rows, categories=(hard, fun, fun, fun), baseline_of={hard: "o", fun: "g"})
    found = score_battles(parts, ArenaSettings())
    told = {model: (row.whole.score, row.n_battles) for model, row in found.items()}
    assert told == {"m": (50, 2), "o": (50, 2), "g": (50, 0)}
    won = score_battles(parts._replace(outcome_N=np.ones(4)), ArenaSettings())["o"]
    assert (won.whole.score, won.whole.n_prompts) == (100, 2)
    assert {name: part.score for name, part in won.by_category.items()} == {hard: 50, fun: 100}


def test_games_that_are_left_out_are_those_of_the_category():
    rows = [("q", "m", 1), ("r", "m", 0)]
    left_out = {("m", "hard"): 2, ("m", "fun"): 1, ("n", "fun"): 4}
    parts = battles(rows, categories=("hard", "fun"), num_invalid=left_out)
    parts = parts._replace(baseline_of={"hard": "b", "fun": "b"})
    assert score_battles(parts, ArenaSettings())["m"].n_invalid == 3
    assert [result.made["n_invalid"] for result in results(parts)] == [3]
    hard = parts.of_category("hard")
    assert score_battles(hard, ArenaSettings())["m"].n_invalid == 2
    assert [result.made["n_invalid"] for result in results(hard)] == [2]


def test_the_order_of_rows_does_not_matter():
    once = random_battles(0)
    order = np.random.default_rng(1).permutation(len(once.prompts))
    turned = battles(
        [(once.prompts[i], once.models[i], once.outcome_N[i]) for i in order],
    )
    one, other = (score_battles(each, ArenaSettings()) for each in (once, turned))
    assert {m: row.whole for m, row in other.items()} == {
        m: pytest.approx(row.whole) for m, row in one.items()
    }


def test_results_mean_the_scores():
    read = random_battles(3)._replace(judge="j")
    scores = score_battles(read, ArenaSettings())
    found = results(read)
    assert [result.model for result in found] == ["m", "n"]
    for result in found:
        assert mean_score(result.scores) == pytest.approx(scores[result.model].whole.score)
        assert (result.protocol.judge, result.protocol.baseline) == ("j", "b")
        assert sum(row.weight for row in result.scores) == scores[result.model].n_battles
