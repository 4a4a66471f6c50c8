"""MT-Bench in pairs: by hand, FastChat's table rebuilt with pandas, files."""

import json

import numpy as np
import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate.mt_bench.pairwise import (
    Pair,
    is_pairwise,
    order_consistency,
    read_pairs,
    results,
    score_pairs,
)
from inarch.evaluate.mt_bench.ratings import category_of
from inarch.evaluate.protocol import mean_score


def pair(question, g1, g2, turn=1, models=("m", "b")):
    return Pair(question, category_of(question), turn, models, (g1, g2), "gpt-4", "pair-v2")


def random_pairs(seed, models=("m", "n", "b"), num=80):
    random = np.random.default_rng(seed)
    names = ("model_1", "model_2", "tie", "error")
    return [
        pair(question, *random.choice(names, size=2, p=(0.4, 0.35, 0.2, 0.05)), turn, (one, other))
        for question in range(81, 81 + num)
        for turn in (1, 2)
        for one, other in [random.choice(models, size=2, replace=False)]
    ]


def test_by_hand():
    rows = [
        pair(81, "model_1", "model_1"),  # m wins
        pair(81, "model_1", "model_2", turn=2),  # the first shown wins both: a tie
        pair(82, "model_2", "model_2"),  # b wins
        pair(82, "tie", "tie", turn=2),
        pair(91, "tie", "model_1"),  # a tie
        pair(91, "model_1", "error", turn=2),  # left out
        pair(92, "model_1", "model_1", models=("b", "m")),  # b wins
    ]
    found = score_pairs(rows)
    assert list(found) == ["b", "m"]
    m, b = found["m"], found["b"]
    assert (m.win, m.loss, m.tie, m.n, m.n_invalid) == (1, 2, 3, 6, 1)
    assert m[3:6] == pytest.approx((1 / 6, 2 / 6, 2.5 / 6))
    assert (b.win, b.loss, b.tie, b.win_rate_adjusted) == (2, 1, 3, pytest.approx(3.5 / 6))
    # turn 1: win, loss, tie, loss; turn 2: two ties
    assert m.by_turn == pytest.approx({"1": 1.5 / 4, "2": 0.5})
    # writing: win, tie, loss, tie; roleplay: tie, loss
    assert m.by_category == pytest.approx({"writing": 0.5, "roleplay": 0.25})
    # the same winner: 81 once, 82 twice, 92
    assert m.consistent_frac == pytest.approx(4 / 6)
    # shown first 1 1 0 .5 .5 0, second 1 0 0 .5 1 0
    assert m.first_bias == pytest.approx((3 - 2.5) / 6)
    assert b.first_bias == pytest.approx((3.5 - 3) / 6)
    assert list(score_pairs(rows, "b")) == ["m"]
    assert score_pairs(rows, "b")["m"] == m


def test_the_games_of_a_model_are_told_by_its_place():
    games = pair(81, "model_1", "tie")
    assert games.chances("m") == (1.0, 0.5)
    # shown first in game 2
    assert games.chances("b") == (0.5, 0.0)
    assert np.isnan(pair(81, "error", "model_2").chances("m")[0])
    assert pair(81, "error", "model_2").chances("b") == (1.0, pytest.approx(np.nan, nan_ok=True))


@pytest.mark.parametrize("baseline", [None, "b"])
def test_against_fastchats_table(baseline):
    """The same counts, from a table of one row per model and game."""
    pandas = pytest.importorskip("pandas")
    rows = random_pairs(0)
    table = pandas.DataFrame(
        {
            "model_1": row.models[0],
            "model_2": row.models[1],
            "one": row.winners[0],
            "two": row.winners[1],
        }
        for row in rows
    )
    table = table[(table.one != "error") & (table.two != "error")]
    if baseline:
        table = table[(table.model_1 == baseline) | (table.model_2 == baseline)]
    clear = (table.one == table.two) & (table.one != "tie")
    found = score_pairs(rows, baseline)
    assert len(found) == (2 if baseline else 3)
    for model, row in found.items():
        one, other = table.model_1 == model, table.model_2 == model
        wins = (clear & one & (table.one == "model_1")) | (clear & other & (table.one == "model_2"))
        own = one | other
        ties, total = (own & ~clear).sum(), own.sum()
        assert (row.win, row.tie, row.n) == (wins.sum(), ties, total)
        assert row.win_rate_adjusted == pytest.approx((wins.sum() + ties / 2) / total)
        assert row.loss_rate == pytest.approx((total - ties - wins.sum()) / total)


def test_wins_are_losses_of_others():
    found = score_pairs(random_pairs(1))
    assert sum(row.win for row in found.values()) == sum(row.loss for row in found.values())
    rates = [row.win_rate_adjusted for row in found.values()]
    assert rates == sorted(rates, reverse=True)


def test_the_interval_draws_questions():
    rows = random_pairs(2, models=("m", "b"))
    one, many = score_pairs(rows)["m"], score_pairs(rows[::-1] * 3)["m"]
    assert (many.lower, many.upper) == pytest.approx((one.lower, one.upper))
    assert one.lower < one.win_rate_adjusted < one.upper


def test_a_question_is_drawn_with_all_its_turns():
    """Twenty questions won in two turns, twenty lost in one: 40 of 60, and not 20 of 40."""
    won = [pair(q, "model_1", "model_1", turn) for q in range(81, 101) for turn in (1, 2)]
    lost = [pair(q, "model_2", "model_2") for q in range(101, 121)]
    found = score_pairs(won + lost)["m"]
    assert found.win_rate_adjusted == pytest.approx(2 / 3)
    # the standard error of the ratio: sqrt(20 (2 / 3)^2 + 20 (2 / 3)^2) / 60 = 0.07
    assert (found.lower, found.upper) == pytest.approx((2 / 3 - 0.139, 2 / 3 + 0.139), abs=0.02)


def test_the_order_of_all_battles():
    rows = [pair(81, "model_1", "model_2"), pair(82, "model_1", "model_1")]
    others = pair(84, "model_1", "model_1", models=("m", "n"))
    assert order_consistency([*rows, others], "b") == order_consistency(rows)
    found = order_consistency([*rows, pair(83, "error", "tie")])
    # the first shown wins both, then m: 1 1 first, 0 1 second
    assert (found.n, found.num_left_out) == (2, 1)
    assert (found.consistent_frac, found.first_bias) == (0.5, 0.5)


def test_results_mean_the_adjusted_rate():
    rows = random_pairs(3, models=("m", "b")) + random_pairs(4, models=("n", "b"))
    scores = score_pairs(rows, "b")
    found = results(rows, made={"x": 1}, references="r")
    assert sorted(result.model for result in found) == ["m", "n"]
    for result in found:
        told = scores[result.model]
        assert mean_score(result.scores) == pytest.approx(100 * told.win_rate_adjusted)
        assert (result.protocol.baseline, result.protocol.references) == ("b", "r")
        assert result.made == {"x": 1, "n_invalid": told.n_invalid}
        assert result.summary["win"] == told.win
    assert results(rows, "b") == [result._replace(
        made={"n_invalid": result.made["n_invalid"]},
        protocol=result.protocol.model_copy(update={"references": ""}),
    ) for result in found]  # fmt: skip


def test_whom_all_meet_is_named_or_shared():
    rows = random_pairs(0)
    with pytest.raises(SettingsError, match="found no model in all rows; name whom"):
        results(rows)
    with pytest.raises(SettingsError, match="found b and m in all rows; name whom"):
        results([pair(81, "tie", "tie")])
    with pytest.raises(SettingsError, match="baseline: found 'x', expected one of b, m, n"):
        score_pairs(rows, "x")
    with pytest.raises(DataError, match="found no verdict in 1 rows"):
        score_pairs([pair(81, "error", "tie")])


# ------------------------------------------------------------------------------------ files


def line(**change):
    return {
        "question_id": 101,
        "model_1": "m",
        "model_2": "b",
        "g1_winner": "model_1",
        "g2_winner": "tie",
        "judge": ["gpt-4", "pair-math-v1"],
        "g1_judgment": "[[A]]",
        "turn": 1,
        **change,
    }


def lines(tmp_path, *rows):
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_official_rows(tmp_path):
    path = lines(tmp_path, line(), line(question_id=7, turn=2))
    assert is_pairwise(path)
    games = ("m", "b"), ("model_1", "tie"), "gpt-4", "pair-math-v1"
    assert read_pairs(path) == (
        Pair(101, "reasoning", 1, *games),
        Pair(7, "other", 2, *games),
    )
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question_id": 7, "category": "own"}\n')
    assert [row.category for row in read_pairs(path, questions)] == ["reasoning", "own"]
    single = {"question_id": 81, "model": "m", "turn": 1, "score": 3}
    assert not is_pairwise(lines(tmp_path, single))


def test_what_is_left_out_and_what_is_repeated_is_told_once(tmp_path, caplog):
    rows = read_pairs(lines(tmp_path, line(g1_winner="error"), line(), line(turn=2, model_1="n")))
    assert [record.getMessage() for record in caplog.records] == [
        "1 turns with a game without a verdict are left out",
        "1 turns are judged more than once for a pair; each judgment counts",
    ]
    caplog.clear()
    assert list(score_pairs(rows, "m")) == ["b"]
    assert [record.getMessage() for record in caplog.records] == ["1 turns without m are left out"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"turn": 3}, "turn: found 3, expected 1 or 2"),
        ({"g2_winner": "A"}, "g2_winner: found 'A', expected model_1, model_2, tie, error"),
        ({"model_2": "m"}, "found m against itself"),
        ({"judge": ["k", "pair-v2"]}, "judge: found 'k' after 'gpt-4'"),
        ({"g1_winner": None}, "g1_winner: found None, expected a text"),
    ],
)
def test_a_wrong_row_is_refused_by_its_place(tmp_path, change, complaint):
    with pytest.raises(DataError, match=rf":2: {complaint}"):
        read_pairs(lines(tmp_path, line(), line(**change)))
