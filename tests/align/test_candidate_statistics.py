"""What a set of rows is like, in numbers."""

import pytest

from inarch.align._candidate_statistics import Statistics
from inarch.align._candidates import Candidate, ChooseSettings, pair, triple, winner


def of(model: str, *scored: tuple[str, float | None]) -> list[Candidate]:
    return [
        Candidate(model, i, i, text, score, "" if score is not None else "empty answer")
        for i, (text, score) in enumerate(scored)
    ]


def test_triples_by_hand():
    told, settings = Statistics(), ChooseSettings()
    rows = [  # a wins, b wins, both share the best score; source > target: yes, equal, no
        ((("xx", 0.9),), (("y", 0.5),), (("ppp", 0.7), ("q", 0.1))),
        ((("xx", 0.1),), (("yyyy", 0.6),), (("ppp", 0.6), ("q", 0.5))),
        ((("x", 0.4),), (("y", 0.4),), (("pppp", 0.8), ("qqqq", 0.5))),
        ((("", None),), (("y", 0.5),), (("p", 0.5), ("p", 0.5))),
    ]
    for a, b, own in rows:
        sources, mine = of("a", *a) + of("b", *b), of("t", *own)
        told.add(sources, mine, triple(sources, mine, settings))
    found = told.summary()
    assert found["rows"] == 3
    assert found["wins"] == {"a": 2, "b": 2}
    assert found["ties"] == 1
    assert found["dropped"] == {"prompts to which all answers of the target are one text": 1}
    # source - target: 0.2, 0, -0.4; target - rejected: 0.6, 0.1, 0.3
    gaps = found["gaps"]
    assert gaps["source - target"] == pytest.approx({"mean": -0.2 / 3, "median": 0.0})
    assert gaps["target - rejected"] == pytest.approx({"mean": 1 / 3, "median": 0.3})
    assert found["source_above_target_frac"] == pytest.approx(1 / 3)
    assert found["mean_characters"] == pytest.approx(
        {"source": (2 + 4 + 1) / 3, "target": (3 + 3 + 4) / 3, "rejected": (1 + 1 + 4) / 3}
    )
    assert found["models"]["a"] == {
        "answers": 4,
        "failures": {"empty answer": 1},
        "mean_score": pytest.approx((0.9 + 0.1 + 0.4) / 3),
        "mean_characters": pytest.approx(5 / 3),
    }
    assert found["models"]["t"]["answers"] == 8


def test_pairs_by_hand():
    told, settings = Statistics(), ChooseSettings(form="pairs")
    sources = of("a", ("x", 0.5), ("yyy", 0.25))
    told.add(sources, (), pair(sources, settings))
    found = told.summary()
    assert found["gaps"] == {"chosen - rejected": {"mean": 0.25, "median": 0.25}}
    assert found["mean_characters"] == {"chosen": 1, "rejected": 3}
    assert "source_above_target_frac" not in found


def test_prompts_for_sft_count_for_the_sources_alone():
    told = Statistics()
    sources = of("a", ("x", 0.5))
    told.add(sources, (), winner(sources, ChooseSettings()))
    found = told.summary()
    assert (found["rows"], found["wins"], found["dropped"]) == (0, {"a": 1}, {})
    assert found["gaps"] == {}


def test_a_model_that_never_answers_has_no_mean():
    told = Statistics()
    sources = of("a", ("", None))
    told.add(sources, (), winner(sources, ChooseSettings()))
    assert told.summary()["models"]["a"]["mean_score"] is None
    assert told.summary()["wins"] == {}
