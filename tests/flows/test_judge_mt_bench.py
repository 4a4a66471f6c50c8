"""MT-Bench live, the whole way: candidates, the judge, the files, faults, a kill, a real server."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate.mt_bench.files import read_ratings
from inarch.evaluate.mt_bench.pairwise import read_pairs, score_pairs
from inarch.evaluate.mt_bench.ratings import score_ratings
from inarch.evaluate.protocol import load_result
from inarch.flows import judge
from inarch.flows._judge.candidates import answer as answer_of
from inarch.io import answers as answers_module
from inarch.io.models import load_model
from inarch.io.sampling import sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message
from inarch.settings import validate
from tests.evaluate.made_up_mt_bench import answer, benchmark, lines
from tests.flows.judge_runs import (
    at,
    running,
    save_ends,
    says_always,
    settings,
    told_of,
    wait_until,
)
from tests.io.fake_endpoint import QUICK, FakeEndpoint, Fault, completion, serving
from tests.io.served import serving_model
from tests.tiny import byte_level, save_model

EIGHT = tuple(range(81, 161, 10))
"""A question of each category."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(QUICK, 0.01)


def from_file(folder: Path, name: str, said: dict[int, tuple[str, ...]]) -> dict[str, Any]:
    rows = [answer(number, name, turns) for number, turns in said.items()]
    return {"name": name, "answers": str(lines(folder / f"{name}-answers.jsonl", rows))}


def both(numbers: tuple[int, ...], word: str = "a") -> dict[int, tuple[str, ...]]:
    return {n: (f"{word}{n} one", f"{word}{n} two") for n in numbers}


def judge_calls(fake: FakeEndpoint) -> list[str]:
    return [c["messages"][-1]["content"] for c in fake.calls if c["model"] == "the-judge"]


# --------------------------------------------------------------------------------- published


def test_published_judgments_said_by_a_fake_judge(shared_data, tmp_path):
    """The averages of Mistral-ORPO; the model that was judged twice is left out."""
    folder = shared_data / "eval/mt_bench"
    if not folder.is_dir():
        pytest.skip(f"needs the published judgments of {folder}, which is absent")
    expected = json.loads((folder / "expected.json").read_text())
    del expected["mistral-orpo"]
    said: dict[str, str] = {}
    with (folder / "judgments.csv").open() as file:
        for row in csv.DictReader(file):
            key = f"<{row['model']} {row['question_id']} {row['turn']}>"
            said[key] = row["parse_snippet"]
    models = [
        from_file(
            tmp_path, model, {n: (f"<{model} {n} 1>", f"<{model} {n} 2>") for n in range(81, 161)}
        )
        for model in expected
    ]

    def say(body: dict[str, Any], before: int) -> str:
        text = body["messages"][-1]["content"]  # the second turn shows the first, too
        return said["<" + text.rpartition("<")[2].partition(">")[0] + ">"]

    with serving(say) as fake:
        told = judge.run(settings(benchmark(tmp_path), fake.url, *models), tmp_path / "out")
        assert len(fake.calls) == 160 * len(models)
    for model, right in expected.items():
        found = told_of(told, model)
        assert (found["n_cases"], found["n_invalid"]) == (right["n_rows"], right["n_invalid"])
        for key, name in (("turn_1", "turn1"), ("turn_2", "turn2"), ("average", "average")):
            assert found["summary"][key] == pytest.approx(right[name], abs=1e-9)
        assert found["summary"]["by_category"] == pytest.approx(right["by_category"], abs=1e-9)
        written = tmp_path / "out/judgments/the-judge" / f"{model}.jsonl"
        assert score_ratings(read_ratings(written))[model]._asdict() == found["summary"]
        kept = load_result(tmp_path / "out/results/the-judge" / f"{model}.json")
        assert kept.summary == found["summary"]
        assert len(kept.scores) == 80
    of_folder = score_ratings(read_ratings(tmp_path / "out/judgments/the-judge"))
    assert {m: of_folder[m]._asdict() for m in expected} == {
        m: told_of(told, m)["summary"] for m in expected
    }
    trl = told_of(told, "mistral-orpo-trl")["summary"]
    assert [f"{trl[key]:.4f}" for key in ("turn_1", "turn_2", "average")] == [
        *("7.7313", "6.6000", "7.1656")
    ]


# -------------------------------------------------------------------------------- candidates


def test_a_candidate_answers_turn_by_turn_at_its_categories_temperature(tmp_path):
    def say(body: dict[str, Any], before: int) -> Any:
        asked = [message["content"] for message in body["messages"]]
        if body["model"] == "the-judge":
            return "Rating: [[7]]"
        if asked == ["q91 t1"]:
            return ""  # no answer: its second turn is not asked
        if asked[-1] == "q101 t2":
            return Fault(500)
        if asked[-1] == "q81 t2":
            return completion("a long", finish_reason="length")
        return f"{asked[-1]}!"

    with serving(say) as fake:
        run = settings(benchmark(tmp_path, EIGHT), fake.url, at(fake.url))
        told = judge.run(run, tmp_path / "out")
        asked = [call for call in fake.calls if call["model"] == "cand"]
    heat = {"81": 0.7, "91": 0.7, "101": 0, "111": 0, "121": 0, "131": 0, "141": 0.1, "151": 0.1}
    for call in asked:
        number = call["messages"][-1]["content"][1:].partition(" ")[0]
        assert (call["temperature"], call["max_tokens"]) == (heat[number], 1024)
        assert call.get("top_p", 1) == 1
    seconds = [call["messages"] for call in asked if len(call["messages"]) == 3]
    assert [[m["role"] for m in turns] for turns in seconds] == [
        ["user", "assistant", "user"]
    ] * len(seconds)
    contents = {tuple(m["content"] for m in turns) for turns in seconds}
    assert contents == {(f"q{n} t1", f"q{n} t1!", f"q{n} t2") for n in EIGHT if n != 91}
    assert told["answers"]["cand"]["n_unanswered"] == 2
    assert told["answers"]["cand"]["n_cut"] == 1
    assert sum(told["answers"]["cand"]["failures"].values()) == 2
    drawn = told["answers"]["cand"]["sampling"]
    assert [(way["categories"], way["temperature"], way["seed"]) for way in drawn] == [
        (["writing", "roleplay"], 0.7, 0),
        (["reasoning", "math", "coding", "extraction"], 0.0, 0),
        (["stem", "humanities"], 0.1, 0),
    ]
    assert told_of(told, "cand")["n_cases"] == 12
    made = load_result(tmp_path / "out/results/the-judge/cand.json").made
    assert made["n_unanswered"] == 2
    assert made["answers"] == told["answers"]["cand"]


def test_a_local_candidate_is_loaded_once_and_does_not_depend_on_batches(tmp_path, monkeypatch):
    folder = save_model(tmp_path / "model", byte_level())
    loads: list[object] = []

    def counted(path: Any, **how: Any) -> Any:
        loads.append(path)
        return load_model(path, **how)

    monkeypatch.setattr(answers_module, "load_model", counted)
    run = settings(benchmark(tmp_path, EIGHT), "http://localhost:1/v1", str(folder))
    short = judge.open_benchmark(run)
    plain = short.sampling
    found = []
    for size in (1, 3, 64):
        monkeypatch.setattr(
            short,
            "sampling",
            lambda q, size=size: plain(q).model_copy(
                update={"batch_size": size, "max_new_tokens": 9}
            ),
        )
        found.append(answer_of(run.models[0], short, run, tmp_path / str(size)))
    assert len(loads) == 3
    assert found[0] == found[1] == found[2]
    said = found[0].dialogues
    assert said.keys() == {str(n) for n in EIGHT}
    assert all(len(turns) == 2 for turns in said.values())
    for number in ("81", "111"):  # a drawn answer, and a greedy one
        asked = next(q for q in short.questions if q.id == number)
        chat = [
            *(Message("user", asked.turns[0]), Message("assistant", said[number][0])),
            Message("user", asked.turns[1]),
        ]
        [[text]] = sample(
            load_model(str(folder)),
            load_tokenizer(str(folder)),
            [chat],
            short.sampling(asked),
            keys=[int(answers_module._digest(chat), 16)],
        )
        assert text == said[number][1]
    assert answer_of(run.models[0], short, run, tmp_path / "3") == found[0]
    assert len(loads) == 3  # nothing is left to answer


def test_answers_of_a_file(tmp_path):
    said = both(EIGHT) | {91: ("only one",), 101: ("$ERROR$", "x"), 7: ("of another", "question")}
    with serving(lambda body, before: "[[5]]") as fake:
        run = settings(benchmark(tmp_path, EIGHT), fake.url, from_file(tmp_path, "filed", said))
        told = judge.run(run, tmp_path / "out")
        assert len(fake.calls) == 12
        facts = told["answers"]["filed"]
        assert (facts["n_unanswered"], facts["model"]) == (2, "filed")
        assert facts["file"].startswith("filed-answers.jsonl ")
        none = from_file(tmp_path, "none", both((1, 2)))
        with pytest.raises(DataError, match=r"none-answers.jsonl: found 2 answers, none of them"):
            judge.run(settings(benchmark(tmp_path, EIGHT), fake.url, none), tmp_path / "none")
    written = tmp_path / "out/judgments/the-judge/model_answer/filed.jsonl"
    ids = [json.loads(line)["question_id"] for line in written.read_text().splitlines()]
    assert ids == [n for n in EIGHT if n not in (91, 101)]


# ------------------------------------------------------------------------------------- pairs


def test_pairs_against_a_model_of_the_run(tmp_path):
    """The judge takes the longer last answer, and the first of equal ones."""

    def say(body: dict[str, Any], before: int) -> str:
        a, b = (part.split()[-1] for part in body["messages"][-1]["content"].split("<>"))
        return "[[A]]" if len(a) >= len(b) else "[[B]]"

    def said(name: str, word: str) -> dict[str, Any]:
        return from_file(tmp_path, name, dict.fromkeys(EIGHT, ("same", word)))

    own = benchmark(
        tmp_path,
        EIGHT,
        pair_v2="{question} {answer_a} <> {answer_b}",
        pair_math_v1="{ref_answer_1} {question} {answer_a} <> {answer_b}",
        pair_v2_multi_turn="{question_1} {question_2} "
        "{answer_a_1} {answer_a_2} <> {answer_b_1} {answer_b_2}",
        pair_math_v1_multi_turn="{ref_answer_1} {ref_answer_2} {question_1} {question_2} "
        "{answer_a_1} {answer_a_2} <> {answer_b_1} {answer_b_2}",
    )
    own |= {"mode": "pairwise", "baseline": {"name": "middle"}}
    models = [said("long", "longest"), said("middle", "middle"), said("short", "s")]
    with serving(say) as fake:
        run = settings(own, fake.url, *models)
        planned = judge.plan(run)["judged by the-judge"]
        told = judge.run(run, tmp_path / "out")
        # Both orders of the first turn are one question, as the answers are the same.
        assert len(fake.calls) == 8 * (1 + 2 + 2)
        unknown = settings(own | {"baseline": {"name": "nobody"}}, fake.url, *models)
        with pytest.raises(SettingsError, match=r"found the baseline 'nobody' without answers"):
            judge.run(unknown, tmp_path / "unknown")
    assert str(planned).startswith("at most 48 calls")  # what both models share is counted twice
    for name, win, loss in (("long", 8, 0), ("short", 0, 8)):
        found = told_of(told, name)
        assert (found["n_cases"], found["n_invalid"]) == (32, 0)
        summary = found["summary"]
        assert (summary["win"], summary["tie"], summary["loss"]) == (win, 8, loss)
        assert summary["by_turn"] == {"1": 0.5, "2": win / 8}
        kept = load_result(tmp_path / "out/results/the-judge" / f"{name}.json")
        assert kept.protocol.baseline == "middle"
        written = read_pairs(tmp_path / "out/judgments/the-judge" / f"{name}.jsonl")
        assert score_pairs(written, "middle")[name]._asdict() == summary
    assert told["judges"]["the-judge"]["models"].keys() == {"long", "short"}
    # First turns: the judge takes the first in both orders, so it names two winners.
    assert told["judges"]["the-judge"]["order"]["consistent_frac"] == 0.5


# ------------------------------------------------------------------------------------ faults


def test_faults_of_the_judge(tmp_path):
    """What passes is asked again, what does not has no rating; all adds up, nothing twice."""
    once = {
        "a81 one": Fault(429, headers=(("Retry-After", "0"),)),
        "a91 one": Fault(500),
        "a101 one": Fault(body='{"choices": [{"mess', cut=True),
        "a111 one": Fault(hang_s=3),
        "a121 one": Fault(body='{"choices": [{"mess'),
        "a131 one": Fault(503),
    }
    words = {"a141 one": "no rating", "a151 one": "[[11]]", "a151 two": "Rating: [6.5]"}

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][-1]["content"]
        if "a141 two" in text:
            return Fault(500)
        key = next((k for k in (*words, *once) if text.endswith(k)), "")
        if key in once and before == 0:
            return once[key]
        return words.get(key, "[[4]]")

    with serving(say) as fake:
        own = benchmark(
            tmp_path,
            EIGHT,
            single_v1="{question} {answer}",
            single_math_v1="{question} {ref_answer_1} {answer}",
        )
        run = settings(
            own,
            fake.url,
            from_file(tmp_path, "m", both(EIGHT)),
            judge={"timeout_s": 1.0, "max_retries": 1, "concurrency": 3},
        )
        found = told_of(judge.run(run, tmp_path / "out"), "m")
        calls = Counter(judge_calls(fake))
        assert len(calls) == 16
        assert sum(calls.values()) == 16 + len(once) + 1  # and one more try of what never works
        assert found["n_cases"] == 16
        assert found["n_invalid"] == 2 == sum(found["failures"].values())
        assert found["failures"]["no rating in the judgment"] == 1
        assert any("HTTP 500" in reason for reason in found["failures"])
        assert found["summary"]["n"] == 14
        # twelve fours, 11 and 6.5
        assert found["summary"]["average"] == pytest.approx((12 * 4 + 11 + 6.5) / 14)
        written = tmp_path / "out/judgments/the-judge/m.jsonl"
        assert score_ratings(read_ratings(written))["m"]._asdict() == found["summary"]
        assert sum("$ERROR$" in line for line in written.read_text().splitlines()) == 1
        # What failed is asked again, and only that.
        fake.calls.clear()
        fake.say = lambda body, before: "[[2]]"
        again = told_of(judge.run(run, tmp_path / "out"), "m")
        assert len(fake.calls) == 1
        assert (again["n_invalid"], again["summary"]["n"]) == (1, 15)


# -------------------------------------------------------------------------------------- kill


@pytest.mark.parametrize(
    "stop",
    ["q111 t2", "1 q141 t1"],
    ids=["among the answers", "among the judgments"],
)
def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path, stop):
    reached = threading.Event()

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][-1]["content"]
        if body["model"] == "the-judge":
            if text.startswith(stop) and not reached.is_set():
                reached.set()
                return Fault(hang_s=60)
            return "[[3]]"
        if text == stop and not reached.is_set():
            reached.set()
            return Fault(hang_s=60)
        return f"{text}!"

    with serving(say) as fake:
        own = benchmark(tmp_path, EIGHT)
        recipe = tmp_path / "run.yaml"
        endpoint = {"url": fake.url, "concurrency": 1}
        recipe.write_text(
            json.dumps(
                {
                    "protocol": own,
                    "models": [{"name": "cand", "endpoint": endpoint | {"model": "cand"}}],
                    "judges": [{"endpoint": endpoint | {"model": "the-judge"}}],
                }
            )
        )
        with running(recipe, tmp_path / "out"):
            assert reached.wait(60)
        before = len(fake.calls)
        assert 0 < before < 32
        told = judge.run(judge_settings(recipe), tmp_path / "out")
        times = Counter(json.dumps(call, sort_keys=True) for call in fake.calls)
        assert len(times) == 32  # sixteen answers, sixteen judgments
        twice = [json.loads(body) for body, number in times.items() if number > 1]
        assert len(twice) == 1  # the one that had no reply when the run was killed
        assert twice[0]["messages"][-1]["content"].startswith(stop)
        assert len(fake.calls) == 33
        assert told_of(told, "cand")["summary"]["n"] == 16
        judge.run(judge_settings(recipe), tmp_path / "out")
        assert len(fake.calls) == 33


def judge_settings(recipe: Path) -> judge.JudgeRun:
    return validate(judge.JudgeRun, json.loads(recipe.read_text()), str(recipe))


# ------------------------------------------------------------------------------- a real server


@pytest.mark.slow
def test_against_a_real_server(tmp_path):
    """A tiny model answers here and at the server, whose judge says 7; killed, and gone on with."""
    answering = save_model(tmp_path / "tiny", byte_level())
    judging = says_always(tmp_path / "seven", "[7]")
    save_ends(answering)
    with serving_model(tmp_path / "log.txt") as url:
        at_server = {"url": url, "concurrency": 1}
        given = {
            "protocol": benchmark(tmp_path, EIGHT),
            "models": [
                {"name": "here", "path": str(answering)},
                {"name": "there", "endpoint": at_server | {"model": str(answering)}},
            ],
            "judges": [{"name": "the-judge", "endpoint": at_server | {"model": str(judging)}}],
            "sampling": {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 12},
        }
        recipe = tmp_path / "run.yaml"
        recipe.write_text(json.dumps(given))
        replies = tmp_path / "out/judgments/the-judge/replies/all.jsonl"
        with running(recipe, tmp_path / "out"):
            wait_until(lambda: replies.exists() and replies.read_text().count("\n") >= 5)
        before = replies.read_bytes()
        told = judge.run(judge_settings(recipe), tmp_path / "out")
    whole = before[: before.rindex(b"\n") + 1]
    assert replies.read_bytes().startswith(whole)
    after = replies.read_text().splitlines()
    assert 5 <= whole.count(b"\n") < len(after)
    keys = [json.loads(line)["key"] for line in after]
    assert len(set(keys)) == len(keys)
    one, other = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((tmp_path / "out/judgments/the-judge/model_answer").glob("*.jsonl"))
    )
    assert [row["choices"] for row in one] == [row["choices"] for row in other]
    assert len(keys) == 16  # both models say the same, so that the judge is asked once
    for name in ("here", "there"):
        found = told_of(told, name)
        assert (found["n_cases"], found["n_invalid"]) == (16, 0)
        assert found["summary"]["average"] == 7
