"""Arena-Hard live, the whole way: published battles, faults, a kill, a real server."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.errors import DataError, SettingsError
from inarch.evaluate.arena.judge import GO_ON
from inarch.flows import judge
from inarch.settings import validate
from tests.evaluate.arena_toy import V01, V2, answer_row, golden, protocol, shown, write_rows
from tests.flows.judge_runs import (
    at,
    recipe,
    running,
    save_ends,
    says_always,
    settings,
    told_of,
)
from tests.io.fake_endpoint import QUICK, Fault, serving
from tests.io.served import serving_model
from tests.tiny import byte_level, save_model

BOTH = pytest.mark.parametrize("name", [V01, V2])
FOUR = [(f"q{n}", "hard_prompt") for n in range(4)]
BASE = {f"q{n}": f"base {n}" for n in range(4)}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(QUICK, 0.01)


def from_file(folder: Path, name: str, model: str, said: dict[str, str]) -> dict[str, Any]:
    rows = [answer_row(name, key, model, text) for key, text in said.items()]
    return {"name": model, "answers": str(write_rows(folder / f"{model}-said.jsonl", rows))}


def by_command(*arguments: object) -> dict[str, Any]:
    """Return what ``inarch evaluate arena`` prints."""
    said = CliRunner().invoke(app, ["evaluate", "arena", *map(str, arguments), "--json"])
    assert said.exit_code == 0, said.output
    found: dict[str, Any] = json.loads(said.stdout)
    return found


# --------------------------------------------------------------------------------- published


@pytest.mark.slow
def test_published_battles_said_by_a_fake_judge(shared_data, tmp_path):
    """Two models of 500 questions, both games each: the official scores."""
    folder = shared_data / "eval/arena_hard_v01"
    if not folder.is_dir():
        pytest.skip(f"needs the published battles of {folder}, which is absent")
    expected = json.loads((folder / "expected.json").read_text())
    labels = golden(folder / "battles.jsonl")
    questions = sorted({question for own in labels.values() for question in own})
    base = dict.fromkeys(questions, "base")
    given = protocol(tmp_path, V01, [(question, "") for question in questions], base)
    models = [from_file(tmp_path, V01, m, dict.fromkeys(own, m)) for m, own in labels.items()]

    def say(body: dict[str, Any], before: int) -> str:
        question, a, b = shown(body["messages"])
        return labels[b if a == "base" else a][question.removeprefix("ask ")][a != "base"]

    with serving(say) as fake:
        told = judge.run(settings(given, fake.url, *models), tmp_path / "out")
        assert len(fake.calls) == 2 * sum(map(len, labels.values()))
        assert {(call["temperature"], call["max_tokens"]) for call in fake.calls} == {(0, 4096)}
    judgments = tmp_path / "out/judgments/the-judge"
    for model in labels:
        summary = told_of(told, model)["summary"]
        assert summary["score"] == pytest.approx(
            expected["weighted_mean_win_rate"][model], abs=1e-9
        )
        assert summary["n_battles"] == expected["n_battles_weighted"][model]
        [again] = [by_command("--battles", judgments / f"{model}.jsonl")[model]]
        assert again == summary


# -------------------------------------------------------------------------------- the whole way


@BOTH
def test_candidates_answer_and_a_judge_that_likes_length_prefers_the_longer(tmp_path, name):
    given = protocol(tmp_path, name, FOUR, BASE)

    def say(body: dict[str, Any], before: int) -> str:
        if body["model"] != "the-judge":
            assert [turn["role"] for turn in body["messages"]] == ["user"]
            text = body["messages"][0]["content"]
            return f"# {text} **at** length" if body["model"] == "long" else "- ok"
        _, a, b = shown(body["messages"])
        return "[[A>>B]]" if len(a) > len(b) else "[[B>A]]"

    with serving(say) as fake:
        run = settings(given, fake.url, at(fake.url, "long"), at(fake.url, "short"))
        told = judge.run(run, tmp_path / "out")
        # A constant answer changes nothing of what models are told.
        again = judge.run(run.model_copy(update={"canary": True}), tmp_path / "other")
        same = [row["judges"]["the-judge"]["style_controlled"] for row in (told, again)]
        assert same[0] == same[1]
        del fake.calls[24:]
        asked = [call for call in fake.calls if call["model"] == "the-judge"]
        answered = [call for call in fake.calls if call["model"] != "the-judge"]
        assert (len(asked), len(answered)) == (16, 8)
        assert {call["max_tokens"] for call in asked} == {{V01: 4096, V2: 16000}[name]}
        assert {(call["temperature"], call["max_tokens"]) for call in answered} == {(0, 4096)}
    assert told_of(told, "long")["summary"]["score"] == 100.0
    assert told_of(told, "short")["summary"]["score"] == 0.0
    # shown first, a longer answer wins by three; each question is one pair in both orders
    assert told["judges"]["the-judge"]["order"]["n"] == 8
    assert told["judges"]["the-judge"]["order"]["consistent_frac"] == 1.0
    folder = tmp_path / "out/judgments/the-judge"
    baseline = {V01: "gpt-4-0314", V2: "o3-mini"}[name]
    plain = by_command("--battles", folder)
    assert set(plain) == {"long", "short", baseline}
    for model in ("long", "short"):
        assert plain[model] == told_of(told, model)["summary"]
    style = by_command(
        *("--battles", folder, "--style", folder / "model_answer", "--control", "style")
    )
    told_at_once = told["judges"]["the-judge"]["style_controlled"]
    [shared] = told_at_once.values()
    assert list(told_at_once) == ["all" if name == V01 else "hard_prompt"]
    assert set(shared["coefficients"]) == {"length", "headers", "lists", "bolds"}
    assert set(style) == set(plain) == set(shared["scores"])
    for model, score in shared["scores"].items():
        assert {key: style[model][key] for key in score} == score


def test_a_model_of_the_run_is_whom_the_others_meet(tmp_path):
    given = protocol(tmp_path, V01, FOUR, BASE) | {"baseline": {"name": "first"}}

    def say(body: dict[str, Any], before: int) -> str:
        if body["model"] != "the-judge":
            return str(body["model"])
        _, a, b = shown(body["messages"])
        assert {a, b} == {"first", "second"}
        return "[[A>B]]" if a == "second" else "[[B>A]]"

    with serving(say) as fake:
        models = at(fake.url, "second"), at(fake.url, "first")
        plan = judge.plan(settings(given, fake.url, *models))
        assert plan["judged by the-judge"].startswith("at most 16 calls")
        told = judge.run(settings(given, fake.url, *models), tmp_path / "out")
        assert len(fake.calls) == 2 * 4 + 8
        with pytest.raises(SettingsError, match="the baseline 'first' without answers, and the"):
            judge.plan(settings(given, fake.url, models[0]))
    assert told_of(told, "second")["summary"]["score"] == 100.0
    assert told["judges"]["the-judge"]["models"].keys() == {"second"}
    written = tmp_path / "out/judgments/the-judge/second.jsonl"
    assert set(by_command("--battles", written)) == {"first", "second"}


# ------------------------------------------------------------------------------------- faults


@BOTH
def test_faults_of_the_judge(tmp_path, name):
    """What passes is asked again, what does not is a game without a verdict; all adds up."""
    once = {
        ("ask q0", "own 0"): Fault(429, headers=(("Retry-After", "0"),)),
        ("ask q0", "base 0"): Fault(500),
        ("ask q1", "own 1"): Fault(body='{"choices": [{"mess', cut=True),
        ("ask q1", "base 1"): Fault(hang_s=3),
        ("ask q2", "own 2"): Fault(body='{"choices": [{"mess'),
    }
    works = threading.Event()

    def say(body: dict[str, Any], before: int) -> Any:
        question, a, _ = shown(body["messages"])
        if (question, a) == ("ask q3", "base 3") and not works.is_set():
            return Fault(500)
        if before == 0 and (question, a) in once:
            return once[question, a]
        return "[[A>B]]" if a.startswith("own") else "[[B>A]]"

    own = from_file(tmp_path, name, "m", {f"q{n}": f"own {n}" for n in range(4)})
    with serving(say) as fake:
        limits = {"timeout_s": 1.0, "max_retries": 1, "concurrency": 3}
        run = settings(protocol(tmp_path, name, FOUR, BASE), fake.url, own, judge=limits)
        found = told_of(judge.run(run, tmp_path / "out"), "m")
        calls = Counter(json.dumps(call, sort_keys=True) for call in fake.calls)
        assert len(calls) == 8
        assert sum(calls.values()) == 8 + len(once) + 1  # and one more try of what never works
        assert (found["n_cases"], found["n_asked"], found["n_invalid"]) == (8, 7, 1)
        [(reason, number)] = found["failures"].items()
        assert ("HTTP 500" in reason, number) == (True, 1)
        # v0.1 keeps the other game of that question, v2 drops the pair
        battles = {V01: (7, 1, 4), V2: (6, 2, 3)}[name]
        summary = found["summary"]
        assert (summary["n_battles"], summary["n_invalid"], summary["n_prompts"]) == battles
        assert summary["score"] == 100.0
        file = tmp_path / "out/judgments/the-judge/m.jsonl"
        assert by_command("--battles", file)["m"] == summary
        last = json.loads(file.read_text().splitlines()[-1])["games"][0]
        assert last is None if name == V2 else (last["judgment"], last["score"]) == ("", None)
        # What failed is asked again, and only that.
        works.set()
        fake.calls.clear()
        again = told_of(judge.run(run, tmp_path / "out"), "m")
        assert [shown(call["messages"])[:2] for call in fake.calls] == [("ask q3", "base 3")]
        assert (again["n_invalid"], again["summary"]["n_battles"]) == (0, 8)


def test_a_follow_up_that_fails_leaves_the_game_without_a_verdict(tmp_path):
    def say(body: dict[str, Any], before: int) -> Any:
        if body["messages"][-1]["content"] == GO_ON:
            return Fault(500)
        return "well" if "q0" in body["messages"][1]["content"] else "[[A=B]]"

    own = from_file(tmp_path, V01, "m", {f"q{n}": "own" for n in range(4)})
    with serving(say) as fake:
        run = settings(protocol(tmp_path, V01, FOUR, BASE), fake.url, own)
        found = told_of(judge.run(run, tmp_path / "out"), "m")
        assert (found["n_cases"], found["n_asked"], found["n_invalid"]) == (8, 8, 2)
        assert found["summary"]["n_battles"] == 6
        written = tmp_path / "out/judgments/the-judge/m.jsonl"
        first = json.loads(written.read_text().splitlines()[0])["games"][0]
        assert (first["judgment"], first["score"]) == ("\nwell", None)
        number = len(fake.calls)
        assert number == 8 + 2 * 3
        fake.say = lambda body, before: "[[B>A]]"
        again = told_of(judge.run(run, tmp_path / "out"), "m")
        assert len(fake.calls) == number + 2  # the follow-ups alone
        assert again["summary"]["n_battles"] == 8


# --------------------------------------------------------------------------------------- kill


def test_a_run_that_is_killed_among_the_follow_ups_asks_nothing_twice(tmp_path):
    reached = threading.Event()

    def say(body: dict[str, Any], before: int) -> Any:
        if body["model"] != "the-judge":
            return f"own {body['messages'][0]['content'][-1]}"
        question, a, _ = shown(body["messages"])
        goes_on = body["messages"][-1]["content"] == GO_ON
        if goes_on and question == "ask q2" and not reached.is_set():
            reached.set()
            return Fault(hang_s=60)
        if question > "ask q0" and not goes_on:
            return "let me think"
        return "[[A>B]]" if a.startswith("own") else "[[B>>A]]"

    with serving(say) as fake:
        slow = {"concurrency": 1}
        given = recipe(
            protocol(tmp_path, V01, FOUR, BASE),
            fake.url,
            at(fake.url, "cand", **slow),
            judge=slow,
        )
        (tmp_path / "run.yaml").write_text(json.dumps(given))
        with running(tmp_path / "run.yaml", tmp_path / "out"):
            assert reached.wait(60)
        run = validate(judge.JudgeRun, given, "test")
        told = judge.run(run, tmp_path / "out")
        calls = Counter(json.dumps(call, sort_keys=True) for call in fake.calls)
        assert len(calls) == 4 + 8 + 6  # answers, games, follow-ups
        twice = [json.loads(call) for call, number in calls.items() if number > 1]
        assert len(twice) == 1  # the one that had no reply when the run was killed
        assert shown(twice[0]["messages"])[0] == "ask q2"
        assert len(fake.calls) == 19
        summary = told_of(told, "cand")["summary"]
        # in each question the model wins game 1 by three and game 2 by one
        assert (summary["score"], summary["n_battles"]) == (100.0, 16)
        judge.run(run, tmp_path / "out")
        assert len(fake.calls) == 19


# ------------------------------------------------------------------------------- a real server


@pytest.mark.slow
def test_against_a_real_server(tmp_path):
    """Tiny models answer and judge; one judge says [A>B], the other one nothing that is a label."""
    tiny = save_model(tmp_path / "tiny", byte_level())
    partial = says_always(tmp_path / "partial", "[A>B]")
    save_ends(tiny)
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 12}
    with serving_model(tmp_path / "log.txt") as url:

        def run(name: str, judging: Path) -> dict[str, Any]:
            given = protocol(tmp_path / name, name, FOUR, BASE)
            models = {"path": str(tiny), "name": "here"}, at(url, "there")
            models[1]["endpoint"]["model"] = str(tiny)
            asked = {"model": str(judging)}
            told = recipe(given, url, *models, judge=asked, sampling=sampling)
            told["judges"][0]["max_tokens"] = 12
            return judge.run(validate(judge.JudgeRun, told, "test"), tmp_path / name / "out")

        found = run(V2, partial)["judges"]["partial"]["models"]
        for model in ("here", "there"):
            assert (found[model]["n_cases"], found[model]["n_invalid"]) == (8, 0)
            assert found[model]["summary"]["score"] == 50.0
        with pytest.raises(DataError, match="no judge gave a verdict; what they said is in"):
            run(V01, tiny)
        # Both models say the same: 8 games, and a request to go on in each.
        replies = tmp_path / V01 / "out/judgments/tiny/replies/all.jsonl"
        keys = [json.loads(line)["key"] for line in replies.read_text().splitlines()]
        assert len(keys) == len(set(keys)) == 16
        row = json.loads((replies.parents[1] / "there.jsonl").read_text().splitlines()[0])
        assert [game["score"] for game in row["games"]] == [None, None]
        assert all(game["judgment"].startswith("\n") for game in row["games"])
