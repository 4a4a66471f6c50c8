"""MT-Bench live: what the judge is asked about each turn, how it is read, what is written."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.made_up_mt_bench import answer, benchmark, lines, question

from inarch.errors import DataError
from inarch.evaluate.judges.answers import read_model_answers
from inarch.evaluate.judges.benchmark import Case, JudgedModel, Ruling
from inarch.evaluate.mt_bench.files import read_ratings
from inarch.evaluate.mt_bench.judge import MtBenchBenchmark
from inarch.evaluate.mt_bench.ratings import score_ratings
from inarch.evaluate.mt_bench.settings import MtBenchProtocol
from inarch.io.endpoints import Reply
from inarch.records import Message
from inarch.settings import validate


def opened(folder: Path, *numbers: int, **change: Any) -> MtBenchBenchmark:
    """The made-up benchmark with some settings changed."""
    own = benchmark(folder, numbers or (81, 111)) | change
    return MtBenchBenchmark(validate(MtBenchProtocol, own, "test"))


def judged(made: MtBenchBenchmark, *rulings: Ruling, model: str = "m.1") -> JudgedModel:
    dialogues = {q.id: (f"a{q.id} t1", f"a{q.id} t2")[: len(q.turns)] for q in made.questions}
    cases = tuple(made.cases(model, dialogues))
    return JudgedModel(model, "gpt-9", dialogues, cases[: len(rulings)], rulings)


# ------------------------------------------------------------------------- what is asked


def test_what_the_judge_is_asked_by_hand(tmp_path):
    made = opened(tmp_path)
    cases = made.cases("m", {"81": ("{a} é", "b"), "111": ("c", "{question}")})
    assert [(case.question, case.part) for case in cases] == [
        *(("81", "turn 1"), ("81", "turn 2"), ("111", "turn 1"), ("111", "turn 2"))
    ]
    assert [case.messages for case in cases] == [
        (Message("system", "Be kind."), Message("user", "Q q81 t1 A {a} é {x}")),
        (Message("system", "Be strict.\n\n"), Message("user", "1 q81 t1 {a} é 2 q81 t2 b")),
        (Message("system", "Be kind."), Message("user", "Q q111 t1 R r111 t1 A c")),
        (  # a system prompt that is empty is no message
            Message(
                "user",
                "1 q111 t1 R r111 t1 2 q111 t2 R r111 t2 | q111 t1 c q111 t2 {question}",
            ),
        ),
    ]
    assert all(case.model_first is None and case.ruling is None for case in cases)
    assert (made.options.temperature, made.options.max_tokens) == (0, 2048)
    assert made.options.top_logprobs is None


def test_every_category_gets_its_prompt_and_its_temperature(tmp_path):
    made = opened(tmp_path, *range(81, 161, 10))
    found = {}
    for q in made.questions:
        first, second = made.cases("m", {q.id: ("x", "y")})
        shows = ["r" + q.id in case.messages[-1].content for case in (first, second)]
        sampling = made.sampling(q)
        assert (sampling.top_p, sampling.top_k, sampling.max_new_tokens) == (1, None, 1024)
        found[q.category] = (shows, sampling.temperature)
    yes, no = [True, True], [False, False]
    assert found == {
        "writing": (no, 0.7),
        "roleplay": (no, 0.7),
        "reasoning": (yes, 0.0),
        "math": (yes, 0.0),
        "coding": (yes, 0.0),
        "extraction": (no, 0.0),
        "stem": (no, 0.1),
        "humanities": (no, 0.1),
    }
    assert made.sampling(made.questions[0]._replace(category="own")).temperature == 0.7


def test_a_question_without_an_answer_and_one_of_a_single_turn(tmp_path):
    rows = [question(81), question(82, turns=1), question(83)]
    made = opened(tmp_path, questions=str(lines(tmp_path / "q.jsonl", rows)))
    cases = made.cases("m", {"83": ("x", "y"), "82": ("z",)})
    assert [(case.question, case.part) for case in cases] == [
        *(("82", "turn 1"), ("83", "turn 1"), ("83", "turn 2"))
    ]


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (
            "Q {question}",
            r"asked.jsonl: single-v1: found the places \{question\}; expected \{answer\}, \{que",
        ),
        ("{question} {answer} {ref_answer_1}", r"found the places .*\{ref_answer_1\}; expected"),
        ("{question} {answer.upper}", r"found the places \{answer.upper\}, \{question\}"),
        ("{question} {answer} {", r"single-v1: .*write \{\{ and \}\} for braces"),
        ("nothing", r"found the places none"),
    ],
)
def test_a_prompt_with_other_places_is_refused(tmp_path, template, complaint):
    own = benchmark(tmp_path, (81,), single_v1=template)
    with pytest.raises(DataError, match=complaint):
        MtBenchBenchmark(validate(MtBenchProtocol, own, "test"))


# ------------------------------------------------------------------------------ references


def test_a_missing_reference_is_refused(tmp_path):
    short = [answer(111, "right", ["one turn only"]), answer(112, "right", ["a", "b"])]
    path = lines(tmp_path / "short.jsonl", short)
    with pytest.raises(
        DataError, match=r"short.jsonl: found no reference answers to 2 questions .* 111, 121;"
    ):
        opened(tmp_path, 81, 111, 112, 121, references=str(path))


def test_references_that_are_official_are_known_by_their_content(eval_data, tmp_path, caplog):
    official = eval_data / "mt_bench"
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((official / "reference_gpt-4.jsonl").read_bytes())
    with caplog.at_level(logging.WARNING):
        made = opened(tmp_path, questions=str(official / "question.jsonl"), references=str(copy))
    wrong = "104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130"
    assert f"wrong for 13 questions ({wrong})" in caplog.text
    assert len(made.questions) == 80
    found = made.result(judged(made, Ruling(5.0)))
    assert found.protocol.references == "gpt-4 f957a5bc977badb6"
    assert found.protocol.data == "question.jsonl 119565adbab82227"
    assert sum(bool(q.references) for q in made.questions) == 30
    caplog.clear()
    assert (
        opened(tmp_path)
        .result(judged(made, Ruling(5.0)))
        .protocol.references.startswith("right.jsonl ")
    )
    assert not caplog.text


@pytest.mark.parametrize(
    "row", [question(81) | {"question_id": "a"}, question(81, turns=3)], ids=["id", "turns"]
)
def test_a_question_that_is_none_of_mt_bench_is_refused(tmp_path, row):
    with pytest.raises(DataError, match=r"q.jsonl: found the question .* expected a whole number"):
        opened(tmp_path, questions=str(lines(tmp_path / "q.jsonl", [row])))


# -------------------------------------------------------------------------------- readings


@pytest.mark.parametrize(
    ("words", "rating", "label"),
    [
        ("Good. Rating: [[8]]", 8, "8"),
        ("[[7.5]], not [[9]]", 7.5, "7.5"),
        ("Rating: [6]", 6, "6"),
        ("[[11]]", 11, "11"),
        ("[[10.0]]", 10, "10"),
    ],
)
def test_a_rating_is_read(tmp_path, words, rating, label):
    case = Case("81", "turn 1", ())
    said = [Reply("no", "stop", "j"), Reply(words, "stop", "j")]
    assert opened(tmp_path).read(case, said) == Ruling(rating, label, words)


@pytest.mark.parametrize(
    ("reason", "failure"),
    [("stop", "no rating in the judgment"), ("length", "the judgment is cut before a rating")],
)
def test_a_judgment_without_a_rating(tmp_path, reason, failure):
    found = opened(tmp_path).read(Case("81", "turn 1", ()), [Reply("Fine: 8", reason, "j")])
    assert math.isnan(found.value)
    assert (found.words, found.failure) == ("Fine: 8", failure)


# ---------------------------------------------------------------------------- what is told


def test_the_result_by_hand(tmp_path, caplog):
    # turn 1: 8, 3; turn 2: 11. Average 22 / 3, where the mean of the turns is 8.25.
    made = opened(tmp_path)
    one = judged(made, Ruling(8), Ruling(11), Ruling(3), Ruling(math.nan, failure="no rating"))
    found = made.result(one)
    summary = dict(found.summary)
    assert (summary["turn_1"], summary["turn_2"]) == (5.5, 11)
    assert summary["average"] == pytest.approx(22 / 3)
    assert (summary["n"], summary["n_invalid"], summary["n_repeated"]) == (3, 1, 0)
    assert summary["by_category"] == {"writing": 9.5, "math": 3}
    assert summary["lower"] < summary["average"] < summary["upper"]
    assert [(s.prompt, s.category, s.score, s.weight) for s in found.scores] == [
        *(("81", "writing", 9.5, 2), ("111", "math", 3, 1))
    ]
    assert "1 ratings are not from 1 to 10" in caplog.text
    assert found.model == "m.1"
    assert found.protocol.judge == "gpt-9"
    assert found.made["n_unanswered"] == 0
    assert made.result(one._replace(dialogues={})).made["n_unanswered"] == 2


def test_the_record_says_what_must_agree(tmp_path):
    def record(number: int, folder: str, **change: str) -> Any:
        (tmp_path / folder).mkdir()
        own = benchmark(tmp_path / folder, (81, number), **change)
        made = MtBenchBenchmark(validate(MtBenchProtocol, own, "test"))
        return made.result(judged(made, Ruling(5))).protocol

    one = record(111, "one")
    assert record(111, "same") == one
    assert record(112, "questions").data != one.data
    assert record(112, "references").references != one.references
    other = record(111, "prompts", single_v1="{question} {answer}")
    assert other.prompts != one.prompts
    assert other.model_copy(update={"prompts": one.prompts}) == one
    assert one.benchmark == "mt_bench"
    assert "temperature 0, 2048 tokens" in one.judging
    made = opened(tmp_path)
    made.questions = made.questions[:1]
    assert made.result(judged(made, Ruling(5))).protocol.data == one.data + ", the first 1"


def test_nothing_that_counts_is_no_result(tmp_path):
    made = opened(tmp_path)
    bad = Ruling(math.nan, failure="no rating in the judgment")
    with pytest.raises(
        DataError, match=r"m.1: none of 2 judgments .*: no rating in the judgment; e"
    ):
        made.result(judged(made, bad, bad))


def test_official_files_are_written_and_say_the_same(tmp_path):
    rows = [question(81), question(111), question(7, "own", turns=1)]
    made = opened(tmp_path, questions=str(lines(tmp_path / "q.jsonl", rows)))
    rulings = [Ruling(8.5, "8.5", "fine 🌱 [[8.5]]"), Ruling(math.nan, words="hm", failure="no")]
    rulings += [
        Ruling(math.nan, failure="HTTP 500"),
        Ruling(4, "4", "[[4]]"),
        Ruling(2, "2", "[2]"),
    ]
    one = judged(made, *rulings)
    (tmp_path / "out").mkdir()
    path = made.save(tmp_path / "out/m.1", one)
    assert path == tmp_path / "out/m.1.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["question_id"], r["turn"], r["score"], r["judgment"]) for r in found] == [
        (81, 1, 8.5, "fine 🌱 [[8.5]]"),
        (81, 2, -1, "hm"),
        (111, 1, -1, "$ERROR$"),
        (111, 2, 4, "[[4]]"),
        (7, 1, 2, "[2]"),
    ]
    names = ["v1", "v1-multi-turn", "math-v1", "math-v1-multi-turn", "v1"]
    assert [r["judge"] for r in found] == [["gpt-9", f"single-{name}"] for name in names]
    assert {r["model"] for r in found} == {"m.1"}
    read = score_ratings(read_ratings(path))["m.1"]
    assert read._asdict() == made.result(one).summary
    assert read.by_category == {"writing": 8.5, "math": 4, "own": 2}
    answers = tmp_path / "out/model_answer/m.1.jsonl"
    assert read_model_answers(answers, "mt_bench") == one.dialogues
    first = json.loads(answers.read_text().splitlines()[0])
    assert first["choices"] == [{"index": 0, "turns": ["a81 t1", "a81 t2"]}]
    assert (first["question_id"], first["model_id"]) == (81, "m.1")
