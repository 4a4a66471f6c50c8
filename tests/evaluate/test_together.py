"""Order effects, canaries and means of judges, on rulings made by hand."""

import math
from collections import Counter

import pytest

from inarch.evaluate.judges.benchmark import Case, JudgedModel, Ruling
from inarch.evaluate.judges.together import canary_of, commonest, mean_of_judges, order_effect
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result


def judged(model: str, *rows: tuple[str, str, bool | None, float]) -> JudgedModel:
    """Return rulings, a row of question, part, whether the model is first, and the value each."""
    cases = tuple(Case(question, part, (), shown) for question, part, shown, _ in rows)
    return JudgedModel(model, "judge", {}, cases, tuple(Ruling(value) for *_, value in rows))


def result(judge: str, *scores: float | None, weight: float = 1.0) -> Result:
    """Return a result whose prompts are numbered; None leaves one out."""
    record = ProtocolRecord(benchmark="arena_hard", version="v2", score="won", judge=judge)
    rows = [
        PromptScore(str(n), "math", score, weight, 30)
        for n, score in enumerate(scores)
        if score is not None
    ]
    return Result(record, "m", tuple(rows))


def test_both_orders_of_the_same_answers_are_held_together() -> None:
    found = order_effect(
        [
            judged("a", ("1", "", True, 0.9), ("1", "", False, 0.8)),  # wins twice
            judged("b", ("1", "", False, 0.3), ("1", "", True, 0.7)),  # wins when it is first
            judged("b", ("2", "", True, math.nan), ("2", "", False, 0.2)),
        ]
    )
    assert found is not None
    assert (found["n"], found["num_left_out"], found["consistent_frac"]) == (2, 1, 0.5)
    assert found["first"] == pytest.approx(0.8)  # (.9 + .7) / 2
    assert found["second"] == pytest.approx(0.55)  # (.8 + .3) / 2


def test_parts_of_a_question_are_apart() -> None:
    """Two games in one order each are no pair."""
    found = order_effect([judged("a", ("1", "turn 1", True, 0.9), ("1", "turn 2", False, 0.2))])
    assert found is not None
    assert "consistent_frac" not in found
    assert found["first_bias"] == pytest.approx(0.7)


def test_one_order_per_question() -> None:
    found = order_effect(
        [judged("a", ("1", "", True, 0.5), ("2", "", False, 0.9), ("3", "", True, 0.2))]
    )
    assert found is not None
    assert (found["n_first"], found["n_second"]) == (2, 1)
    assert found["first"] == pytest.approx(0.35)
    assert found["first_bias"] == pytest.approx(0.35 - 0.9)


def test_where_nothing_is_known_of_orders() -> None:
    assert order_effect([judged("a", ("1", "", None, 7.0))]) is None
    assert order_effect([judged("a", ("1", "", True, 1.0), ("2", "", True, 0.0))]) is None
    nan = math.nan
    assert order_effect([judged("a", ("1", "", True, nan), ("1", "", False, 1.0))]) is None
    drawn = Case("1", "", (), True, Ruling(0.5))
    assert order_effect([JudgedModel("a", "j", {}, (drawn,), (Ruling(0.5),))]) is None


@pytest.mark.parametrize(
    ("score", "compares", "sings"),
    [(49.0, True, False), (50.0, True, True), (2.9, False, False), (3.0, False, True)],
)
def test_a_canary_must_stay_below(score: float, compares: bool, sings: bool) -> None:
    """50 against a baseline; else the worst model, which has 3."""
    others = [result("j", 3.0, 3.0), result("j", 8.0, 6.0)]
    found = canary_of(result("j", score), others, compares)
    assert found is not None
    assert (found.score, found.must_be_below) == (score, 50.0 if compares else 3.0)
    assert found.sings is sings


def test_a_rated_canary_alone_has_nothing_to_stay_below() -> None:
    assert canary_of(result("j", 3.0), [], compares=False) is None
    assert canary_of(result("j", 3.0), [], compares=True) == (3.0, 50.0)


def test_reasons_that_are_not_named_are_counted() -> None:
    failures = Counter({f"reason {n}": n for n in range(1, 9)})
    assert commonest(failures) == {f"reason {n}": n for n in (8, 7, 6, 5, 4)} | {"other reasons": 6}
    assert commonest(Counter({"one": 2})) == {"one": 2}


def test_the_mean_of_judges_is_over_what_all_have_judged() -> None:
    a, b = result("a", 100.0, 50.0, 0.0, weight=2), result("b", 50.0, None, 100.0, weight=6)
    found = mean_of_judges({"A": a, "B": b})
    assert found is not None
    assert found.scores == (
        PromptScore("0", "math", 62.5, 8.0, 30),  # (2 x 100 + 6 x 50) / 8
        PromptScore("2", "math", 75.0, 8.0, 30),
    )
    assert found.summary == {"mean": 68.75, "n": 2}
    assert found.protocol.judge == "mean of a, b"
    assert mean_of_judges({"A": result("a", 1.0), "B": result("b", None, 1.0)}) is None
