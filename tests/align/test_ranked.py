"""Answers of known quality, read from the forms in which they are published."""

import json
from collections import Counter
from pathlib import Path

import pytest

from inarch.align._ranked import Ranked, RankedSettings, as_chat, ranked, ranked_rows
from inarch.errors import DataError, SettingsError
from inarch.records import Message
from inarch.settings import validate

ASKED = (Message("user", "Why?"),)
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "你好 👋"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Why?"},
]


def read(row, score="fine-grained_score"):
    dropped = Counter()
    return ranked(row, "row 3", score, dropped), +dropped


def test_nectar():
    row = {
        "prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why: \n\nreally?\n\nAssistant: ",
        "answers": [
            {"answer": "worst", "model": "m", "rank": 3.0},
            {"answer": "best", "model": "n", "rank": 1.0},
            {"answer": "middle", "model": "o", "rank": 2.0},
        ],
        "turns": 2,
        "good_natured": True,
    }
    made, dropped = read(row)
    turns = ("user", "Hi"), ("assistant", "Hello"), ("user", "Why: \n\nreally?")
    assert made == Ranked("row 3", turns, ("worst", "best", "middle"), (-3.0, -1.0, -2.0))
    assert not dropped


def test_ultrafeedback():
    row = {
        "instruction": "Why?",
        "completions": [
            {"response": "a", "overall_score": 10.0, "fine-grained_score": 1.25, "annotations": {}},
            {"response": "b", "overall_score": 7.5, "fine-grained_score": 4.5, "annotations": {}},
        ],
        "correct_answers": ["None"],
    }
    assert read(row)[0] == Ranked("row 3", ASKED, ("a", "b"), (1.25, 4.5))
    assert read(row, "overall_score")[0].scores == (10.0, 7.5)


def test_lists_and_pairs():
    chat = tuple(Message(**turn) for turn in TURNS)
    assert read({"prompt": TURNS, "answers": ["x", "y", "z"], "scores": [1, 2.5, 0]})[0] == Ranked(
        "row 3", chat, ("x", "y", "z"), (1.0, 2.5, 0.0)
    )
    pair = {"prompt": "Why?", "chosen": "good", "rejected": "bad"}
    assert read(pair)[0] == Ranked("row 3", ASKED, ("good", "bad"), (1.0, 0.0))
    # UltraFeedback, binarized: whole chats, scores beside them; the worse one may score higher.
    told = [*TURNS, {"role": "assistant", "content": "good"}]
    worse = [*TURNS, {"role": "assistant", "content": "bad"}]
    scored = {"chosen": told, "rejected": worse, "score_chosen": 4.0, "score_rejected": 6.5}
    assert read(scored)[0] == Ranked("row 3", chat, ("good", "bad"), (4.0, 6.5))


def test_helpful_and_harmless_pairs_have_the_turns_that_they_spell():
    begin = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    made, _ = read({"chosen": begin + " So.", "rejected": begin + " No."})
    assert made.prompt == (("user", "Hi"), ("assistant", "Hello"), ("user", "Why?"))
    assert made.answers == (" So.", " No.")
    # What both answers begin with is theirs, and no turn before them.
    made, _ = read({"chosen": begin + " It may be.", "rejected": begin + " It may not."})
    assert made.prompt == (("user", "Hi"), ("assistant", "Hello"), ("user", "Why?"))
    assert made.answers == ("It may be.", "It may not.")


@pytest.mark.parametrize(
    ("prompt", "chat"),
    [
        ("Human: a", (("user", "Human: a"),)),
        ("a\n\nHuman: b", (("user", "a\n\nHuman: b"),)),
        ("\n\nHuman: a", (("user", "a"),)),
        ((Message("user", "\n\nHuman: a"),), (("user", "\n\nHuman: a"),)),
    ],
)
def test_prompts_that_spell_no_turns_stay(prompt, chat):
    assert as_chat(prompt) == chat


def test_what_is_left_out_is_counted():
    answers = ["a", "", " \n", "b", "a", "\ud800", "c"]
    made, dropped = read({"prompt": "Why?", "answers": answers, "scores": [1, 9, 9, 0, 2, 9, None]})
    assert (made.answers, made.scores) == (("a", "b"), (2.0, 0.0))  # the better score of equals
    assert dropped == {
        "answers whose completion is empty": 2,
        "answers with lone surrogates": 1,
        "answers that stand twice in a row": 1,
        "answers without a score": 1,
    }
    made, dropped = read({"prompt": "Why?", "chosen": "a", "rejected": ""})
    assert (made, dropped) == (None, {"rows with fewer than two answers": 1})
    assert read({"prompt": "", "answers": ["a", "b"], "scores": [1, 2]})[0] is None
    nan = {"answer": "x", "rank": float("nan")}
    assert read({"prompt": "p", "answers": [nan, nan]})[1]["answers without a score"] == 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("text", "found str"),
        (
            {"prompt": "p", "completion": "a"},
            "the columns completion, prompt; expected",
        ),
        ({"prompt": "p", "answers": ["a"], "scores": [1, 2]}, r"scores: found \[1, 2\] for 1 answ"),
        ({"prompt": "p", "answers": ["a", "b"], "scores": [1, "2"]}, "scores: found '2', expected"),
        ({"prompt": "p", "answers": ["a", "b"]}, "found the entry 'a', expected one with answer"),
        ({"prompt": "p", "answers": [{"answer": "a", "rank": True}]}, "rank: found True"),
        (
            {"instruction": "p", "completions": [{"response": "a"}]},
            "response and fine-grained",
        ),
        ({"answers": ["a", "b"], "scores": [1, 2]}, "prompt"),
    ],
)
def test_rows_of_other_forms_are_named(row, problem):
    with pytest.raises(DataError, match=rf"^row 3: .*{problem}"):
        read(row)


def test_rows_of_a_file(tmp_path: Path):
    path = tmp_path / "some.jsonl"
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "b" if i else "a"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped = Counter()
    found = list(ranked_rows(RankedSettings(path=str(path), limit=3), dropped))
    assert [row.prompt[0].content for row in found] == ["1", "2"]
    assert found[0].where == f"{path}:2"
    assert +dropped == {"rows with fewer than two answers": 1}
    assert validate(RankedSettings, "x.jsonl", "here") == RankedSettings(path="x.jsonl")
    with pytest.raises(SettingsError, match="score"):
        validate(RankedSettings, {"path": "x", "score": "overal_score"}, "here")
