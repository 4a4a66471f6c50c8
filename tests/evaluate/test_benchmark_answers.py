"""Models' answers in the shapes of four benchmarks: what is written is read."""

import json
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inarch.errors import DataError
from inarch.evaluate.arena.files import read_styles
from inarch.evaluate.arena.style import Style
from inarch.evaluate.judges.answer_style import style_counts
from inarch.evaluate.judges.answers import (
    answering_model,
    read_model_answers,
    write_model_answers,
)
from inarch.evaluate.judges.official import BenchmarkName
from inarch.evaluate.judges.questions import Question

QUESTIONS = (
    Question("7", "math", ("Count.", "Again.")),
    Question("x", "", ("Sing.", "Louder.")),
    Question("9", "", ("Skip.", "")),
)
ANSWERS = {"x": ("La\u2028 **la** é\ud83c", "LA"), "7": ("# 1", "2"), "gone": ("", "")}


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    return (
        json.loads(text) if path.suffix == ".json" else [json.loads(r) for r in text.splitlines()]
    )


def written(tmp_path, benchmark, answers=ANSWERS, name=None):
    path = tmp_path / (name or ("a.json" if benchmark == "alpaca_eval2" else "a.jsonl"))
    write_model_answers(path, benchmark, "m", QUESTIONS, answers)
    return path


def lines(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --------------------------------------------------------------------------- the official shapes


def test_alpaca(tmp_path):
    assert rows_of(written(tmp_path, "alpaca_eval2")) == [
        {"dataset": "math", "instruction": "7", "output": "# 1", "generator": "m"},
        {"instruction": "x", "output": "La\u2028 **la** é\ud83c", "generator": "m"},
    ]


def test_arena_v01(tmp_path):
    path = written(tmp_path, "arena_hard_v0.1")
    first, second = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    assert second["conv_metadata"] == style_counts("La\u2028 **la** é\ud83c")
    counted = {"token_len": second["conv_metadata"]["token_len"]}
    turn = {"content": "La\u2028 **la** é\ud83c"} | counted
    assert second == {
        "question_id": "x",
        "model_id": "m",
        "choices": [{"index": 0, "turns": [turn]}],
        "conv_metadata": second["conv_metadata"],
    }
    assert first["question_id"] == "7"


def test_arena_v2(tmp_path):
    path = written(tmp_path, "arena_hard_v2")
    first = json.loads(path.read_text().split("\n")[0])
    assert first == {
        "uid": "7",
        "model": "m",
        "messages": [
            {"role": "user", "content": "Count."},
            {"role": "assistant", "content": {"answer": "# 1"}},
        ],
        "metadata": style_counts("# 1"),
    }


def test_mt_bench(tmp_path):
    path = written(tmp_path, "mt_bench")
    assert json.loads(path.read_text().split("\n")[0]) == {
        "question_id": 7,
        "model_id": "m",
        "choices": [{"index": 0, "turns": ["# 1", "2"]}],
    }


@pytest.mark.parametrize("benchmark", ["arena_hard_v0.1", "arena_hard_v2"])
def test_the_style_of_what_is_written_is_read(tmp_path, benchmark):
    # "La", a line separator, " **", "la", "** ", "é": six or so; one bold part
    styles = read_styles(written(tmp_path, benchmark))
    assert styles["x", "m"] == Style(style_counts(ANSWERS["x"][0])["token_len"], 0, 0, 1)
    assert styles["7", "m"] == Style(3, 1, 0, 0)


def test_arena_files_of_both_versions_are_read(tmp_path):
    choices = [{"index": 0, "turns": [{"content": "one", "token_len": 3}]}, {"turns": []}]
    path = lines(
        tmp_path,
        {"question_id": "a", "model_id": "m", "choices": choices},
        {"uid": "b", "model": "m", "messages": [{"content": "q"}, {"content": {"answer": "two"}}]},
        {"uid": "c", "model": "m", "messages": [{"role": "assistant", "content": "three"}]},
    )
    for version in ("arena_hard_v0.1", "arena_hard_v2"):
        assert read_model_answers(path, version) == {"a": ("one",), "b": ("two",), "c": ("three",)}
        assert answering_model(path, version) == "m"


def test_alpaca_without_a_generator(tmp_path):
    path = lines(tmp_path, {"instruction": "a", "output": ""})
    assert read_model_answers(path, "alpaca_eval2") == {"a": ("",)}
    assert answering_model(path, "alpaca_eval2") == ""


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    benchmark=st.sampled_from(get_args(BenchmarkName)),
    model=st.text(min_size=1),
    texts=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1),
        st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
        min_size=1,
    ),
)
def test_what_is_written_is_read(tmp_path, benchmark, model, texts):
    model = model.encode("utf-8", "replace").decode()
    num_turns = 2 if benchmark == "mt_bench" else 1
    answers = {name: turns[:num_turns] for name, turns in texts.items()}
    if benchmark == "mt_bench":  # ids are numbers there
        answers = {str(i): turns for i, turns in enumerate(answers.values())}
    questions = [Question(name, "c", (name,) * num_turns) for name in answers]
    path = tmp_path / ("a.json" if benchmark == "alpaca_eval2" else "a.jsonl")
    write_model_answers(path, benchmark, model, questions, answers)
    assert read_model_answers(path, benchmark) == answers
    assert answering_model(path, benchmark) == model


# ------------------------------------------------------------------------------------- refused


OWN = {"question_id": "a", "model_id": "m", "choices": [{"turns": ["x"]}]}


@pytest.mark.parametrize(
    ("benchmark", "row", "said"),
    [
        ("alpaca_eval2", {"instruction": "a"}, "without output; expected answers to alpaca_eval2"),
        ("alpaca_eval2", {"instruction": "a", "output": 3.5}, "output: found 3.5, expected a text"),
        ("arena_hard_v2", {"uid": "a"}, "without model, messages"),
        (
            "arena_hard_v2",
            {"uid": "a", "model": "m", "messages": []},
            "messages: found .., expected",
        ),
        (
            "arena_hard_v2",
            {"uid": "a", "model": "m", "messages": [{"content": {"answer": None}}]},
            "messages: found .*, expected a list, the last one",
        ),
        (
            "mt_bench",
            {"uid": "a", "model": "m", "messages": []},
            "without question_id, model_id, ch",
        ),
        ("mt_bench", OWN | {"choices": []}, "choices: found .., expected"),
        ("mt_bench", OWN | {"choices": None}, "choices: found None, expected"),
        ("mt_bench", OWN | {"choices": [{"turns": []}]}, "choices: found .*, expected"),
        ("mt_bench", OWN | {"choices": [{"turns": ["x", None]}]}, "choices: found .*, expected"),
        ("arena_hard_v0.1", OWN | {"choices": [{"turns": [{}]}]}, "choices: found .*, expected"),
    ],
)
def test_another_row_is_refused(tmp_path, benchmark, row, said):
    with pytest.raises(DataError, match=f"a.jsonl:1: .*{said}"):
        read_model_answers(lines(tmp_path, row), benchmark)


def test_one_model_answers_each_question_once(tmp_path):
    path = lines(tmp_path, OWN, OWN | {"question_id": "b", "model_id": "n"})
    with pytest.raises(
        DataError, match=r"a.jsonl:2: found an answer by 'n' after 'm'; expected one"
    ):
        read_model_answers(path, "mt_bench")
    path = lines(tmp_path, OWN, OWN | {"question_id": "b"}, OWN)
    with pytest.raises(DataError, match=r"a.jsonl:3: found another answer to 'a'; expected one"):
        read_model_answers(path, "mt_bench")
