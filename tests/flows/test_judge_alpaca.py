"""AlpacaEval 2 live, the whole way: judges with a taste, published numbers, faults, kills."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from inarch.errors import SettingsError
from inarch.evaluate.alpaca.files import read_annotations
from inarch.evaluate.alpaca.length_control import LengthControlSettings
from inarch.evaluate.alpaca.score import AlpacaFiles, score_alpaca
from inarch.evaluate.protocol import differences, load_result
from inarch.flows import judge
from inarch.settings import load, validate
from tests.alpaca_sets import (
    golden,
    instructions,
    questions,
    shown,
    write_prompt,
    write_rows,
)
from tests.flows.judge_runs import running, save_ends, says_always, wait_until
from tests.io.fake_endpoint import QUICK, FakeEndpoint, Fault, completion, logprobs, serving
from tests.io.served import serving_model
from tests.tiny import byte_level, save_model

PROBE = "Answer with yes or no."


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(QUICK, 0.01)
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))


def given(folder: Path, url: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a recipe: one model with its answers in a file, one judge."""
    answers = more.pop("answers", dict.fromkeys(instructions(len(rows)), "mine"))
    outputs = [{"instruction": i, "output": text} for i, text in answers.items()]
    protocol = {
        "name": "alpaca_eval2",
        "questions": write_rows(folder / "questions.json", rows),
        "prompt": write_prompt(folder),
    }
    endpoint = {"url": url, "model": "the-judge", "max_retries": 2} | more.pop("judge", {})
    return {
        "protocol": protocol | more.pop("protocol", {}),
        "models": [{"name": "cand", "answers": write_rows(folder / "outputs.json", outputs)}],
        "judges": [{"name": "j", "endpoint": endpoint}],
    } | more


def run(out: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    return judge.run(validate(judge.JudgeRun, recipe, "test"), out)


def says(first: float | None = None, **tokens: float) -> dict[str, Any]:
    """Return a judge's reply: the chance that the first answer wins, or log-probs of tokens."""
    chances = {} if first is None else {"m": first, "M": 1 - first}
    found = tokens | {name: math.log(p) for name, p in chances.items() if p}
    return completion(max(found, key=lambda name: found[name]), logprobs=logprobs(found))


def told_of(told: dict[str, Any], model: str = "cand") -> dict[str, Any]:
    found: dict[str, Any] = told["judges"]["j"]["models"][model]
    return found


def asked(fake: FakeEndpoint) -> list[str]:
    return [text for text in fake.questions() if text != PROBE]


# Judges with a taste


def test_a_judge_that_likes_the_first_answer(tmp_path):
    """It gives the first 0.8: 0.8 to the model in three of six orders drawn, else 0.2."""
    with serving(lambda body, before: says(0.8)) as fake:
        drawn = run(tmp_path / "one", given(tmp_path, fake.url, questions(6)))
        assert len(asked(fake)) == 6
        both = run(
            tmp_path / "two",
            given(tmp_path, fake.url, questions(6), protocol={"order": "both"}),
        )
        assert len(asked(fake)) == 18
    bodies = [body for body in fake.calls if body["messages"][-1]["content"] != PROBE]
    assert {(b["temperature"], b["max_tokens"], b["top_logprobs"]) for b in bodies} == {(1, 1, 5)}
    assert {b["messages"][0]["content"] for b in bodies} == {"Choose."}
    assert told_of(drawn)["summary"]["win_rate"] == pytest.approx(50)
    effect = drawn["judges"]["j"]["order"]
    assert (effect["n_first"], effect["n_second"]) == (3, 3)
    assert (effect["first"], effect["second"]) == pytest.approx((0.8, 0.2))
    texts, kept = (
        sorted((row["instruction"], row["output"]) for row in json.loads(path.read_text()))
        for path in (
            tmp_path / "outputs.json",
            tmp_path / "two/judgments/j/model_answer/cand.json",
        )
    )
    assert kept == texts
    result = load_result(tmp_path / "two/results/j/cand.json")
    assert [row.score for row in result.scores] == pytest.approx([50] * 6)
    assert result.summary["standard_error"] == pytest.approx(0)
    assert both["judges"]["j"]["order"]["consistent_frac"] == 0


def test_a_limit_takes_the_first_questions(tmp_path):
    with serving(lambda body, before: says(0.8)) as fake:
        run(tmp_path / "out", given(tmp_path, fake.url, questions(5), limit=2))
        assert {shown(text)[0] for text in asked(fake)} == set(instructions(2))


def longer(body: dict[str, Any], before: int) -> dict[str, Any]:
    if body["messages"][-1]["content"] == PROBE:
        return says(0.5)
    _, first, second = shown(body["messages"][-1]["content"])
    return says(len(first) / (len(first) + len(second)))


def test_a_judge_that_likes_the_longer_answer(tmp_path):
    """An answer of n characters against four wins with n / (n + 4), in whatever order."""
    lengths = [4, 1, 12, 0, 6, 36]  # 1/2 as equal lengths, 1/5, 3/4, 0, 3/5, 9/10
    texts = dict(zip(instructions(6), ["x" * n for n in lengths], strict=True))
    for order, calls in (("official", 6), ("both", 12)):
        with serving(longer) as fake:
            recipe = given(
                tmp_path, fake.url, questions(6), answers=texts, protocol={"order": order}
            )
            told = run(tmp_path / order, recipe)
        assert len(asked(fake)) == calls
        summary = told_of(told)["summary"]
        # a sum of 2.95; three wins, a draw, two losses
        assert summary["win_rate"] == pytest.approx(100 * 2.95 / 6)
        assert summary["discrete_win_rate"] == pytest.approx(100 * 3.5 / 6)
        assert summary["avg_length"] == 59 // 6
    assert told["judges"]["j"]["order"]["consistent_frac"] == 1


# Published numbers


@pytest.mark.slow  # 805 calls; the same numbers without an endpoint are in tests/evaluate
def test_published_log_probs_from_an_endpoint(tmp_path, shared_data, monkeypatch):
    """The judge says what gpt-4-1106-preview said of vicuna-13b; texts are of the same length."""
    folder = shared_data / "eval"
    if not folder.is_dir():
        pytest.skip(f"needs the published judgments of {folder}, which is absent")
    data = golden(folder, "vicuna-13b-v1.5", monkeypatch)
    right = json.loads((folder / "alpaca_eval2/expected.json").read_text())["vicuna-13b-v1.5"]

    def say(body: dict[str, Any], before: int) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        return says(0.5) if text == PROBE else says(**data.logprobs[shown(text)[0]])

    gamed = {"gamed": str(folder / "alpaca_eval2/df_gamed.csv"), "c": right["C_published"]}
    with serving(say) as fake:
        recipe = given(tmp_path, fake.url, data.questions, answers=data.answers, protocol=gamed)
        told = told_of(run(tmp_path / "out", recipe))
    num_equal = sum(data.answers[row["instruction"]] == row["output"] for row in data.questions)
    assert len(asked(fake)) == 805 - num_equal
    summary = told["summary"]
    assert summary["win_rate"] == pytest.approx(right["win_rate"], abs=1e-7)
    assert summary["lc_win_rate"] == pytest.approx(right["lc_at_C_published"], abs=1e-6)
    assert summary["n"] == right["n_total"]
    assert summary["avg_length"] == right["avg_length"]
    files = AlpacaFiles(tmp_path / "out/judgments/j/cand.json", Path(gamed["gamed"]))
    again = score_alpaca(files, LengthControlSettings(c=right["C_published"]), draws=False)
    assert again.numbers() == {name: summary[name] for name in again.numbers()}


# Faults


def faulty(body: dict[str, Any], before: int) -> Any:
    text = body["messages"][-1]["content"]
    if text == PROBE:
        return says(0.5)
    number = instructions(10).index(shown(text)[0])
    always: dict[int, Any] = {
        5: completion("m"),
        6: says(**{" m": -0.1, "m.": -3.0}),
        7: Fault(500, "broken"),
        8: says(M=-0.1),
    }
    once: dict[int, Any] = {
        0: Fault(429, "busy", (("Retry-After", "0.2"),)),
        1: Fault(500, "broken"),
        2: Fault(body=json.dumps(says(0.8)), cut=True),
        3: Fault(body=json.dumps(says(0.8)), hang_s=1.5),
        4: Fault(body='{"choices": ['),
    }
    if number in always:
        return always[number]
    return once.get(number, says(0.8)) if before == 0 else says(0.8)


def test_faults_are_counted_and_nothing_is_lost(tmp_path):
    with serving(faulty) as fake:
        recipe = given(tmp_path, fake.url, questions(10), judge={"timeout_s": 1.0})
        told = told_of(run(tmp_path / "out", recipe))
        times = Counter(instructions(10).index(shown(text)[0]) for text in asked(fake))
        assert times == {0: 2, 1: 2, 2: 2, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 1, 9: 1}
        assert (told["n_cases"], told["n_asked"], told["n_invalid"]) == (10, 9, 3)
        assert sum(told["failures"].values()) == 3
        assert told["failures"]["the reply holds no log-probs"] == 1
        assert told["failures"]["the first token is likely ' m', 'm.', and neither m nor M"] == 1
        assert any("HTTP 500" in reason for reason in told["failures"])
        # the first answer wins with 0.8, or surely loses in 8: second is the model in even ones
        chances = [0.2, 0.8, 0.2, 0.8, 0.2, 1, 0.8]
        assert told["summary"]["win_rate"] == pytest.approx(100 * sum(chances) / 7)
        rows = read_annotations(tmp_path / "out/judgments/j/cand.json")
        assert [math.isnan(row.preference) for row in rows] == [i in {5, 6, 7} for i in range(10)]
        assert "HTTP 500" in rows[7].more["failure"]
        # what has no reply is asked again, and only that
        fake.calls.clear()
        fake.say = lambda body, before: says(0.8)
        told = told_of(run(tmp_path / "out", recipe))
        assert [instructions(10).index(shown(text)[0]) for text in asked(fake)] == [7]
        assert (told["n_asked"], told["n_invalid"]) == (10, 2)


def test_a_judge_without_log_probs(tmp_path):
    with serving(lambda body, before: "M") as fake:
        recipe = given(tmp_path, fake.url, questions(4))
        with pytest.raises(SettingsError, match=r"set protocol\.without_logprobs to text"):
            run(tmp_path / "stopped", recipe)
        assert asked(fake) == []
        recipe["protocol"]["without_logprobs"] = "text"
        told = told_of(run(tmp_path / "text", recipe))
    assert len(asked(fake)) == 4
    assert "logprobs" not in fake.calls[-1]
    assert (fake.calls[-1]["temperature"], fake.calls[-1]["max_tokens"]) == (0, 16)
    assert told["summary"]["win_rate"] == told["summary"]["discrete_win_rate"] == 50
    with serving(lambda body, before: says(0.0001)) as fake:
        recipe["judges"][0]["endpoint"]["url"] = fake.url
        run(tmp_path / "weighted", recipe)
    text, weighted = (
        load_result(tmp_path / name / "results/j/cand.json") for name in ("text", "weighted")
    )
    assert len(differences(text.protocol, weighted.protocol)) == 2
    assert "(text, " in text.protocol.judge


# Kills


def test_a_run_that_stops_goes_on_and_asks_nothing_twice(tmp_path):
    refused = threading.Event()

    def say(body: dict[str, Any], before: int) -> Any:
        if body["messages"][-1]["content"] == PROBE:
            return says(0.5)
        return Fault(401, "no") if len(fake.calls) > 5 and not refused.is_set() else says(0.8)

    with serving(say) as fake:
        recipe = given(tmp_path, fake.url, questions(9), judge={"concurrency": 1})
        with pytest.raises(SettingsError, match="401"):
            run(tmp_path / "out", recipe)
        before = asked(fake)
        refused.set()
        told = told_of(run(tmp_path / "out", recipe))
        run(tmp_path / "out", recipe)
    assert len(before) == 5
    assert Counter(asked(fake)) == Counter(dict.fromkeys(asked(fake), 1)) + Counter(
        [before[-1]]  # the one that was refused
    )
    assert len(asked(fake)) == 10
    assert (told["n_cases"], told["n_invalid"]) == (9, 0)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path):
    reached = threading.Event()

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][-1]["content"]
        if body["model"] == "cand":
            return f"{text}!"
        if text != PROBE and shown(text)[0] == instructions(9)[5] and not reached.is_set():
            reached.set()
            return Fault(hang_s=60)
        return says(0.8)

    with serving(say) as fake:
        given_ = given(tmp_path, fake.url, questions(9), judge={"concurrency": 1})
        given_["models"] = [{"name": "cand", "endpoint": {"url": fake.url, "model": "cand"}}]
        recipe = tmp_path / "run.yaml"
        recipe.write_text(json.dumps(given_))
        with running(recipe, tmp_path / "out"):
            assert reached.wait(60)
        assert 0 < len(fake.calls) < 19
        told = told_of(judge.run(load(judge.JudgeRun, recipe), tmp_path / "out"))
        times = Counter(json.dumps(body, sort_keys=True) for body in fake.calls)
    assert len(times) == 19  # nine answers, nine judgments, the probe
    [twice] = [json.loads(body) for body, number in times.items() if number > 1]
    assert shown(twice["messages"][-1]["content"])[0] == instructions(9)[5]
    assert len(fake.calls) == 20
    assert told["summary"]["n"] == 9


# A real server


@pytest.mark.slow
def test_against_a_real_server(tmp_path):
    """Tiny models answer here and there; one that always says m judges, and gives no log-probs."""
    answering, judging = save_model(tmp_path / "tiny", byte_level()), tmp_path / "says-m"
    save_ends(answering)
    says_always(judging, ["m"])
    with serving_model(tmp_path / "log.txt") as url:
        at_server = {"url": url, "concurrency": 1}
        given_ = given(tmp_path, url, questions(6), protocol={"without_logprobs": "text"})
        given_ |= {
            "models": [
                {"name": "here", "path": str(answering)},
                {"name": "there", "endpoint": at_server | {"model": str(answering)}},
                {"name": "judging", "endpoint": at_server | {"model": str(judging)}},
            ],
            "judges": [{"name": "j", "endpoint": at_server | {"model": str(judging)}}],
            "sampling": {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 8},
        }
        recipe, replies = tmp_path / "run.yaml", tmp_path / "out/judgments/j/replies/all.jsonl"
        recipe.write_text(json.dumps(given_))
        with running(recipe, tmp_path / "out"):
            wait_until(lambda: replies.exists() and replies.read_text().count("\n") >= 4)
        whole = replies.read_text().rpartition("\n")[0].splitlines()
        told = judge.run(load(judge.JudgeRun, recipe), tmp_path / "out")
        after = replies.read_text().splitlines()
    assert after[: len(whole)] == whole
    keys = [json.loads(line)["key"] for line in after]
    assert len(set(keys)) == len(keys) == 1 + 6 + 6  # both tiny models say the same
    for name in ("here", "there", "judging"):
        found = told_of(told, name)
        assert (found["n_cases"], found["n_invalid"]) == (6, 0)
        assert found["summary"]["win_rate"] == 50  # m is the model in three of six
        rows = read_annotations(tmp_path / f"out/judgments/j/{name}.json")
        assert [row.preference for row in rows] == [1, 2] * 3
    assert {row.output_2 for row in rows} == {"m"}
