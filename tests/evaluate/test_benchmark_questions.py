"""Questions in the shapes of four benchmarks, read by hand and refused with their row."""

import json

import pytest

from inarch.errors import DataError
from inarch.evaluate.judges.answers import read_model_answers
from inarch.evaluate.judges.questions import (
    Question,
    read_questions,
    with_baseline,
    with_references,
)


def written(tmp_path, *rows, name="q.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ALPACA = {"instruction": "Sing.", "dataset": "koala", "output": "La.", "generator": "gpt4"}
V01 = {
    "question_id": "328c",
    "category": "arena-hard-v0.1",
    "cluster": "ABC",
    "turns": [{"content": "Use ABC."}],
}
V2 = {"uid": "2edb", "category": "hard_prompt", "subcategory": "coding", "prompt": "Write zig."}
MT = {
    "question_id": 105,
    "category": "reasoning",
    "turns": ["Read.", "List."],
    "reference": ["Alice"],
}


@pytest.mark.parametrize(
    ("benchmark", "row", "question"),
    [
        ("alpaca_eval2", ALPACA, Question("Sing.", "koala", ("Sing.",), "La.", "gpt4")),
        ("alpaca_eval2", {"instruction": "Sing."}, Question("Sing.", "", ("Sing.",))),
        ("alpaca_eval2", {"prompt": "Sing."}, Question("Sing.", "", ("Sing.",))),
        # an empty answer is an answer
        ("alpaca_eval2", {"instruction": "S", "output": ""}, Question("S", "", ("S",), "")),
        ("alpaca_eval2", ALPACA | {"output": None}, Question("Sing.", "koala", ("Sing.",))),
        ("arena_hard_v0.1", V01, Question("328c", "", ("Use ABC.",))),
        ("arena_hard_v0.1", {"question_id": 7, "turns": ["Hi"]}, Question("7", "", ("Hi",))),
        ("arena_hard_v0.1", {"prompt": "Sing."}, Question("Sing.", "", ("Sing.",))),
        (
            "arena_hard_v0.1",
            {"prompt": "Sing.", "question_id": 7},
            Question("7", "", ("Sing.",)),
        ),
        ("arena_hard_v2", V2, Question("2edb", "hard_prompt", ("Write zig.",))),
        ("arena_hard_v2", {"uid": "a", "prompt": "b"}, Question("a", "", ("b",))),
        # the row's own reference is never shown to the official judge
        ("mt_bench", MT, Question("105", "reasoning", ("Read.", "List."))),
    ],
)
def test_a_row_is_a_question(tmp_path, benchmark, row, question):
    assert read_questions(written(tmp_path, row), benchmark) == (question,)


def test_a_list_keeps_its_order(tmp_path):
    path = tmp_path / "q.json"
    path.write_text(json.dumps([ALPACA | {"instruction": text} for text in "bca"]))
    assert [question.id for question in read_questions(path, "alpaca_eval2")] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("benchmark", "row", "said"),
    [
        (
            "alpaca_eval2",
            {"text": "a"},
            "found the columns text, without instruction; expected q",
        ),
        ("alpaca_eval2", {"instruction": None}, "instruction: found None, expected a text"),
        ("alpaca_eval2", {"instruction": " \n"}, "found nothing asked, expected a text"),
        ("mt_bench", MT | {"question_id": 7, "turns": ["a", ""]}, "found nothing asked"),
        ("arena_hard_v0.1", {"uid": "a", "prompt": "b"}, "without question_id, turns"),
        ("arena_hard_v0.1", V01 | {"turns": [{"text": "a"}]}, "turns: found .*expected texts"),
        ("arena_hard_v0.1", V01 | {"turns": []}, "turns: found .., expected texts, at least one"),
        ("arena_hard_v2", V01, "without uid, prompt"),
        ("arena_hard_v2", V2 | {"prompt": ["a"]}, "prompt: found .'a'., expected a text"),
        ("mt_bench", MT | {"turns": "ab"}, "turns: found 'ab', expected texts"),
        ("mt_bench", MT | {"turns": ["a", 2]}, "turns: found .'a', 2., expected texts"),
        ("mt_bench", MT | {"category": 3.5}, "category: found 3.5, expected a text"),
    ],
)
def test_another_row_is_refused(tmp_path, benchmark, row, said):
    right = {"alpaca_eval2": ALPACA, "arena_hard_v0.1": V01, "arena_hard_v2": V2, "mt_bench": MT}
    path = written(
        tmp_path, right[benchmark] | {"question_id": "0", "uid": "0", "instruction": "0"}, row
    )
    with pytest.raises(DataError, match=rf"q.jsonl:2: .*{said}"):
        read_questions(path, benchmark)


def test_a_question_is_asked_once(tmp_path):
    path = written(tmp_path, MT, MT | {"question_id": 106}, MT | {"question_id": "105"})
    with pytest.raises(
        DataError, match=r"q.jsonl:3: found the question '105', which .*q.jsonl:1 has"
    ):
        read_questions(path, "mt_bench")


def test_published_questions_with_their_references(eval_data):
    questions = read_questions(eval_data / "mt_bench/question.jsonl", "mt_bench")
    assert [int(question.id) for question in questions] == list(range(81, 161))
    assert all(len(question.turns) == 2 for question in questions)
    assert not any(question.references for question in questions)
    references = read_model_answers(eval_data / "mt_bench/reference_gpt-4.jsonl", "mt_bench")
    found = with_references(questions, references)
    with_some = [question for question in found if question.references]
    assert [int(question.id) for question in with_some] == list(range(101, 131))
    assert {question.category for question in with_some} == {"reasoning", "math", "coding"}
    assert all(len(question.references) == 2 for question in with_some)
    assert with_some[0].references[0].startswith("If you have just overtaken the second person")


def test_a_baseline_answers_every_question():
    questions = (Question("a", "", ("x",)), Question("b", "", ("y",)))
    found = with_baseline(questions, "gpt", {"b": ("B", "2"), "a": ("A",), "c": ("C",)})
    assert found == (
        Question("a", "", ("x",), "A", "gpt"),
        Question("b", "", ("y",), "B", "gpt"),
    )
    with pytest.raises(
        DataError, match=r"no answer of the baseline gpt to 1 of 2 questions, such as 'b'"
    ):
        with_baseline(questions, "gpt", {"a": ("A",)})
