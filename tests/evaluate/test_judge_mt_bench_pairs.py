"""MT-Bench in pairs, live: both orders of each turn, verdicts, official rows, the baseline."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.made_up_mt_bench import answer, benchmark, lines, question

from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges.answers import read_model_answers
from inarch.evaluate.judges.benchmark import Case, JudgedModel, Ruling
from inarch.evaluate.mt_bench.judge import MtBenchBenchmark, open_mt_bench
from inarch.evaluate.mt_bench.judge_pairs import PairwiseBenchmark
from inarch.evaluate.mt_bench.pairwise import read_pairs, score_pairs
from inarch.evaluate.mt_bench.settings import MtBenchProtocol
from inarch.io.endpoints import Reply
from inarch.records import Message
from inarch.settings import validate

BOTH = {"81": ("{m} 1", "m 2"), "111": ("m 3", "m 4\ud83c")}


def opened(folder: Path, *numbers: int, **change: Any) -> PairwiseBenchmark:
    numbers = numbers or (81, 111)
    rows = [answer(n, "base", (f"b{n} one", f"b{n} two")) for n in numbers]
    file = str(lines(folder / "base.jsonl", rows))
    own = benchmark(folder, numbers) | {"mode": "pairwise", "baseline": file} | change
    made = open_mt_bench(validate(MtBenchProtocol, own, "test"))
    assert isinstance(made, PairwiseBenchmark)
    return made


def judged(made: PairwiseBenchmark, verdicts: str, dialogues: Any = BOTH) -> JudgedModel:
    """Rule a case per letter: the verdict as the judge writes it, ``-`` for none."""
    cases = tuple(made.cases("m/1", dialogues))
    words = [f"So [[{letter}]]" if letter != "-" else "hm" for letter in verdicts]
    said = zip(cases, words, strict=False)
    rulings = tuple(made.read(case, [Reply(text, "stop", "j")]) for case, text in said)
    return JudgedModel("m/1", "gpt-9", dialogues, cases[: len(rulings)], rulings)


def test_what_the_judge_is_asked_by_hand(tmp_path):
    cases = opened(tmp_path).cases("m", BOTH)
    assert [(case.question, case.part, case.model_first) for case in cases] == [
        (number, part, first)
        for number in ("81", "111")
        for part in ("turn 1", "turn 2")
        for first in (True, False)
    ]
    assert [case.messages[0] for case in cases] == [Message("system", "Compare.")] * 8
    assert [case.messages[1].content for case in cases] == [
        "Q q81 t1 A {m} 1 B b81 one",
        "Q q81 t1 A b81 one B {m} 1",
        "A q81 t1 {m} 1 q81 t2 m 2 B q81 t1 b81 one q81 t2 b81 two",
        "A q81 t1 b81 one q81 t2 b81 two B q81 t1 {m} 1 q81 t2 m 2",
        "Q q111 t1 R r111 t1 A m 3 B b111 one",
        "Q q111 t1 R r111 t1 A b111 one B m 3",
        "R q111 t1 r111 t1 q111 t2 r111 t2 A q111 t1 m 3 q111 t2 m 4\ud83c "
        "B q111 t1 b111 one q111 t2 b111 two",
        "R q111 t1 r111 t1 q111 t2 r111 t2 A q111 t1 b111 one q111 t2 b111 two "
        "B q111 t1 m 3 q111 t2 m 4\ud83c",
    ]
    assert opened(tmp_path).sampling(opened(tmp_path).questions[0]).temperature == 0.7


@pytest.mark.parametrize(
    ("words", "first", "value"),
    [
        ("[[A]]", True, 1.0),
        ("[[A]]", False, 0.0),
        ("[[B]]", True, 0.0),
        ("[[B]]", False, 1.0),
        ("[[C]]", True, 0.5),
        ("[[C]] or [[B]], no: [[A]]", True, 1.0),  # officially A is looked for first
        ("[[C]] or [[B]]", True, 0.0),
    ],
)
def test_a_verdict_is_read(tmp_path, words, first, value):
    found = opened(tmp_path).read(Case("81", "turn 1", (), first), [Reply(words, "stop", "j")])
    assert (found.value, found.words, found.failure) == (value, words, "")
    assert found.label in words


@pytest.mark.parametrize(
    ("reason", "failure"),
    [("stop", "no verdict in the judgment"), ("length", "the judgment is cut before a verdict")],
)
def test_no_verdict(tmp_path, reason, failure):
    case = Case("81", "turn 1", (), True)
    found = opened(tmp_path).read(case, [Reply("[A] A [[D]]", reason, "j")])
    assert math.isnan(found.value)
    assert (found.label, found.words, found.failure) == ("", "[A] A [[D]]", failure)


def test_the_result_and_the_official_files_by_hand(tmp_path):
    # Games in the order model first, baseline first: won both; A both times is a tie;
    # lost both; the last turn has a game without a verdict.
    made = opened(tmp_path)
    one = judged(made, "AB" + "AA" + "BA" + "C-")
    found = made.result(one)
    summary = dict(found.summary)
    assert (summary["win"], summary["tie"], summary["loss"]) == (1, 1, 1)
    assert (summary["win_rate_adjusted"], summary["n"], summary["n_invalid"]) == (0.5, 3, 1)
    assert summary["by_category"] == {"writing": 0.75, "math": 0.0}
    assert [(row.prompt, row.score, row.weight) for row in found.scores] == [
        *(("81", 75.0, 2), ("111", 0.0, 1))
    ]
    assert found.made["failures"] == {"no verdict in the judgment": 1}
    assert (found.protocol.judge, found.protocol.baseline) == ("gpt-9", "base")
    assert "both orders" in found.protocol.judging
    (tmp_path / "out").mkdir()
    path = made.save(tmp_path / "out/m-1", one)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["question_id"], r["turn"], r["g1_winner"], r["g2_winner"]) for r in rows] == [
        (81, 1, "model_1", "model_1"),
        (81, 2, "model_1", "model_2"),
        (111, 1, "model_2", "model_2"),
        (111, 2, "tie", "error"),
    ]
    assert {(r["model_1"], r["model_2"]) for r in rows} == {("m/1", "base")}
    names = ["v2", "v2-multi-turn", "math-v1", "math-v1-multi-turn"]
    assert [r["judge"] for r in rows] == [["gpt-9", f"pair-{name}"] for name in names]
    assert (rows[0]["g1_user_prompt"], rows[0]["g2_judgment"]) == (
        "Q q81 t1 A {m} 1 B b81 one",
        "So [[B]]",
    )
    assert score_pairs(read_pairs(path), "base")["m/1"]._asdict() == summary
    answers = tmp_path / "out/model_answer"
    assert read_model_answers(answers / "m-1.jsonl", "mt_bench") == BOTH
    assert read_model_answers(answers / "base.jsonl", "mt_bench")["81"] == ("b81 one", "b81 two")


def test_a_judge_that_always_takes_the_first_gives_half_to_all(tmp_path):
    made = opened(tmp_path)
    for verdicts in ("A" * 8, "B" * 8, "C" * 8):
        summary = made.result(judged(made, verdicts)).summary
        assert (summary["win_rate_adjusted"], summary["tie"]) == (0.5, 4)
    assert made.result(judged(made, "AB" * 4)).summary["win_rate"] == 1


def test_no_verdicts_and_the_baseline_itself_are_no_result(tmp_path):
    made = opened(tmp_path)
    with pytest.raises(DataError, match=r"none of 2 turns .* mostly for: no verdict in the judg"):
        made.result(judged(made, "A-B-"))
    with pytest.raises(DataError, match=r"no question has both answers"):
        made.result(judged(made, "", {}))
    assert made.cases("base", BOTH) == []
    with pytest.raises(DataError, match=r"base is the baseline, which has 50"):
        made.result(JudgedModel("base", "j", BOTH, (), ()))


def test_the_record_knows_whom_models_meet(tmp_path):
    def record(turns: tuple[str, str], name: str = "") -> Any:
        file = lines(tmp_path / "other.jsonl", [answer(n, "base", turns) for n in (81, 111)])
        made = opened(tmp_path, baseline={"answers": str(file), "name": name})
        return made.result(judged(made, "AB")).protocol

    one = record(("x", "y"))
    assert record(("x", "y")) == one
    assert record(("x", "z")).data != one.data
    assert record(("x", "y"), "named").baseline == "named"
    rated = MtBenchBenchmark(validate(MtBenchProtocol, benchmark(tmp_path, (81, 111)), "test"))
    cases = tuple(rated.cases("m", BOTH))
    single = rated.result(JudgedModel("m", "gpt-9", BOTH, cases[:1], (Ruling(5),))).protocol
    assert single.score != one.score


def test_a_baseline_of_the_run_is_waited_for(tmp_path):
    made = opened(tmp_path, baseline={"name": "other"})
    assert made.awaits == ("other",)
    assert made.cases("m", BOTH) == []
    made.meet({"other": {"81": ("o 1", "o 2")}, "m": BOTH})
    assert made.awaits == ()
    cases = made.cases("m", BOTH)
    assert {case.question for case in cases} == {"81"}
    assert cases[0].messages[1].content == "Q q81 t1 A {m} 1 B o 1"
    assert opened(tmp_path).awaits == ()


def test_what_only_one_has_answered_is_not_asked(tmp_path, caplog):
    rows = [answer(81, "base", ["one turn only"]), answer(111, "base", ["x", "y"])]
    rows.append(answer(82, "base", ["x", "$ERROR$"]))
    made = opened(tmp_path, 81, 82, 111, baseline=str(lines(tmp_path / "short.jsonl", rows)))
    assert "base has no whole answer to 2 of 3 questions, such as 81" in caplog.text
    cases = made.cases("m", BOTH | {"82": ("x", "y")})
    assert {case.question for case in cases} == {"111"}
    whole = made.result(judged(made, "AB"))
    assert whole.made["n_unanswered"] == 2
    with pytest.raises(DataError, match=r"no whole answer of the baseline base to any of 2 qu"):
        opened(tmp_path, 81, 82, baseline=str(lines(tmp_path / "short.jsonl", rows)))
    single = [question(81, turns=1)]
    made = opened(tmp_path, questions=str(lines(tmp_path / "q.jsonl", single)))
    assert [case.part for case in made.cases("m", BOTH)] == ["turn 1"] * 2


@pytest.mark.parametrize("change", [{"mode": "pairwise"}, {"baseline": "x.jsonl"}])
def test_the_mode_and_the_baseline_need_each_other(change):
    with pytest.raises(SettingsError, match=r"mode pairwise needs one, and mode single none"):
        validate(MtBenchProtocol, {"name": "mt_bench"} | change, "test")


def test_a_file_without_the_prompts_for_pairs_is_refused(tmp_path):
    benchmark(tmp_path, (81,))
    rows = (tmp_path / "asked.jsonl").read_text().splitlines()
    (tmp_path / "some.jsonl").write_text("\n".join(rows[:5]) + "\n")
    with pytest.raises(DataError, match=r"some.jsonl: found the prompts .* without pair-v2-multi"):
        opened(tmp_path, prompts=str(tmp_path / "some.jsonl"))
