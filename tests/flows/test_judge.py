"""Live judging, whatever the benchmark: a toy one of three questions, each about two answers.

The toy judge writes ``1`` or ``2`` for the answer that it likes better, ``tie``, or something else,
upon which it is asked once more.
"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges.benchmark import (
    Benchmark,
    Case,
    Dialogues,
    JudgedModel,
    JudgeOptions,
    Ruling,
)
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, load_result
from inarch.flows import judge
from inarch.flows._judge.asking import with_options
from inarch.io.endpoints import Reply
from inarch.io.sampling import SamplingSettings
from inarch.records import Message
from inarch.settings import validate
from tests.io.fake_endpoint import QUICK, FakeEndpoint, Fault, Say, completion, logprobs, serving

CHANCES = {"1": 1.0, "tie": 0.5, "2": 0.0}
QUESTIONS = tuple(Question(f"q{n}", "", (f"ask {n}",), baseline="base") for n in range(3))


class Toy(Benchmark):
    """Compares one answer per question with ``base``, in both orders."""

    name = "toy"
    questions = QUESTIONS
    options = JudgeOptions(temperature=0.0, max_tokens=5)
    num_asks = 2

    def sampling(self, question: Question) -> SamplingSettings:
        return SamplingSettings(temperature=0.0, top_p=1.0, max_new_tokens=8)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        found = []
        for question in self.questions:
            for first in (True, False):
                if question.id in dialogues:
                    [answer] = dialogues[question.id]
                    pair = (answer, "base") if first else ("base", answer)
                    text = f"{question.turns[0]}: {pair[0]} or {pair[1]}?"
                    ruling = Ruling(0.5) if answer == "base" else None
                    found.append(Case(question.id, "", (Message("user", text),), first, ruling))
        return found

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        first = CHANCES.get(replies[-1].text, math.nan)
        return Ruling(first if case.model_first else 1 - first, words=replies[-1].text)

    def follow_up(self, case: Case, replies: Sequence[Reply]) -> tuple[Message, ...] | None:
        if replies[-1].text in CHANCES or len(replies) == self.num_asks:
            return None
        return (*case.messages, Message("assistant", replies[-1].text), Message("user", "So?"))

    def save(self, path: Path, judged: JudgedModel) -> Path:
        path.write_text("\n".join(ruling.words for ruling in judged.rulings))
        return path

    def result(self, judged: JudgedModel) -> Result:
        rows: dict[str, list[float]] = {}
        for case, ruling in zip(judged.cases, judged.rulings, strict=True):
            if not math.isnan(ruling.value):
                rows.setdefault(case.question, []).append(100 * ruling.value)
        if not rows:
            raise DataError("found no verdict")
        scores = tuple(PromptScore(q, "", sum(v) / len(v), len(v)) for q, v in rows.items())
        record = ProtocolRecord(
            benchmark="arena_hard", version="toy", score="won, in percent", judge=judged.judge
        )
        return Result(record, judged.model, scores, {"n": len(scores)})


class Weighted(Toy):
    """The same, read off log-probs."""

    options = JudgeOptions(temperature=0.0, max_tokens=1, top_logprobs=2)
    with_text = False

    def discrete(self) -> Benchmark:
        return Toy() if self.with_text else super().discrete()


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "open_benchmark", lambda settings: Toy())
    monkeypatch.setattr(QUICK, 0.01)


def prefers(likes: Callable[[str, str], str]) -> Say:
    """Return an endpoint whose models answer with their name, and whose judges choose."""

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][0]["content"]
        if not text.endswith("?"):
            return str(body["model"])
        one, other = text.partition(": ")[2].removesuffix("?").split(" or ")
        return likes(one, other)

    return say


def longest(one: str, other: str) -> str:
    return "tie" if len(one) == len(other) else "1" if len(one) > len(other) else "2"


def first(one: str, other: str) -> str:
    return "1"


def settings(fake: FakeEndpoint, models: Sequence[str] = ("longer", "abc"), **more: Any) -> Any:
    def asked(name: str) -> dict[str, Any]:
        return {"endpoint": {"url": fake.url, "model": name, "max_retries": 1}}

    given = {
        "protocol": "alpaca_eval2",
        "models": tuple(map(asked, models)),
        "judges": (asked("house/wise"),),
    }
    return validate(judge.JudgeRun, given | more, "a test")


def test_a_judge_that_likes_length(tmp_path: Path) -> None:
    with serving(prefers(longest)) as fake:
        told = judge.run(settings(fake), tmp_path / "out")
        assert len(fake.calls) == 2 * 3 + 2 * 6  # answers, cases
        body = next(call for call in fake.calls if call["model"] == "house/wise")
        assert (body["temperature"], body["max_tokens"]) == (0.0, 5)
        scores = {
            name: [
                row.score for row in load_result(tmp_path / f"out/results/wise/{name}.json").scores
            ]
            for name in ("longer", "abc")
        }
        assert scores == {"longer": [100.0] * 3, "abc": [0.0] * 3}  # 6 and 3 letters against 4
        about = told["judges"]["wise"]
        assert about["model"] == "fake-1"  # as the endpoint calls itself
        assert "together" not in told  # one judge is no several
        assert about["order"]["consistent_frac"] == 1.0
        assert about["order"]["first_bias"] == 0.0
        assert about["spent"]["num_replies"] == 12
        assert about["spent"]["num_prompt_tokens"] == 12 * 10
        assert about["models"]["abc"]["n_cases"] == about["models"]["abc"]["n_asked"] == 6
        assert json.loads((tmp_path / "out/judging.json").read_text()) == json.loads(
            json.dumps(told)
        )
        assert (tmp_path / "out/judgments/wise/abc").read_text().split() == ["2", "1"] * 3


def test_a_judge_that_likes_what_is_first(tmp_path: Path) -> None:
    with serving(prefers(first)) as fake:
        order = judge.run(settings(fake), tmp_path)["judges"]["wise"]["order"]
        # the model wins each question when it is shown first, and loses it otherwise
        assert (order["first"], order["second"], order["first_bias"]) == (1.0, 0.0, 1.0)
        assert (order["n"], order["consistent_frac"]) == (6, 0.0)


def test_models_and_judges_may_come_later_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    with serving(prefers(longest)) as fake:
        judge.run(settings(fake, ["longer"]), tmp_path)
        assert len(fake.calls) == 3 + 6
        judge.run(settings(fake, ["longer", "abc"]), tmp_path)
        assert len(fake.calls) == 2 * (3 + 6)
        again = judge.run(settings(fake, ["longer", "abc"]), tmp_path)
        assert len(fake.calls) == 2 * (3 + 6)
        assert set(again["judges"]["wise"]["models"]) == {"longer", "abc"}
        with pytest.raises(SettingsError, match="differs from this one"):
            judge.run(settings(fake, limit=2), tmp_path)
        with pytest.raises(SettingsError, match=r"sampling\.temperature"):
            judge.run(settings(fake, ["new"], sampling={"temperature": 0.5}), tmp_path)


def test_a_reply_without_a_verdict_is_followed_up_once(tmp_path: Path) -> None:
    def wavering(body: dict[str, Any], before: int) -> Any:
        turns = [turn["content"] for turn in body["messages"]]
        if not turns[0].endswith("?"):
            return "longer"
        if "ask 2" in turns[0]:
            return "hm"
        return "1" if turns[-1] == "So?" else "let me think"

    with serving(wavering) as fake:
        told = judge.run(settings(fake, ["x"]), tmp_path)
        assert len(fake.calls) == 3 + 6 * 2
        row = told["judges"]["wise"]["models"]["x"]
        assert (row["n_cases"], row["n_invalid"], row["summary"]["n"]) == (6, 2, 2)
        assert row["n_asked"] == 6  # cases, not calls
        asked = next(call["messages"] for call in fake.calls if len(call["messages"]) == 3)
        assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]


def test_what_fails_is_counted_told_and_asked_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ill = {"ask 1: longer or base?"}

    def say(body: dict[str, Any], before: int) -> Any:
        if body["messages"][0]["content"] in ill:
            return Fault(500)
        return prefers(longest)(body, before)

    with serving(say) as fake:
        told = judge.run(settings(fake, ["longer"]), tmp_path)
        row = told["judges"]["wise"]["models"]["longer"]
        counts = ("n_cases", "n_asked", "n_invalid", "n_failed")
        assert [row[name] for name in counts] == [6, 5, 1, 1]
        assert sum(row["failures"].values()) == 1
        assert "1 cases without a verdict" in caplog.text
        ill.clear()
        number = len(fake.calls)
        told = judge.run(settings(fake, ["longer"]), tmp_path)
        assert len(fake.calls) == number + 1
        assert told["judges"]["wise"]["models"]["longer"]["n_invalid"] == 0


def test_answers_that_failed_are_asked_for_again_without_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Question 1's first turn fails, so its second is not asked; the others are asked once."""
    two = tuple(Question(f"q{n}", "", (f"ask {n}", "and"), baseline="base") for n in range(3))
    monkeypatch.setattr(Toy, "questions", two)
    monkeypatch.setattr(
        Toy, "cases", lambda *given: whole(given[0], given[1], first_turns(given[2]))
    )
    ill = {"ask 1"}

    def say(body: dict[str, Any], before: int) -> Any:
        if body["messages"][0]["content"] in ill:
            return Fault(500)
        return prefers(longest)(body, before)

    with serving(say) as fake:
        told = judge.run(settings(fake, ["longer"]), tmp_path)
        assert told["answers"]["longer"]["n_unanswered"] == 1
        folder = tmp_path / "answers/longer"
        assert f"not judged; to ask again, delete the folders in {folder}" in caplog.text
        ill.clear()
        for turn in folder.glob("turn-*"):
            shutil.rmtree(turn)
        number = len(fake.calls)
        told = judge.run(settings(fake, ["longer"]), tmp_path)
        again = [call["messages"][0]["content"] for call in fake.calls[number:]]
        assert [text for text in again if text.startswith("ask 1")] == again
        assert len(again) == 2 + 2  # two turns, two orders
        assert told["judges"]["wise"]["models"]["longer"]["n_cases"] == 6


whole = Toy.cases


def first_turns(dialogues: Dialogues) -> Dialogues:
    return {question: turns[:1] for question, turns in dialogues.items()}


def test_equal_answers_are_not_asked_about(tmp_path: Path) -> None:
    with serving(prefers(first)) as fake:
        told = judge.run(settings(fake, ["base"]), tmp_path)
        assert len(fake.calls) == 3
        assert told["judges"]["wise"]["order"] is None
        assert load_result(tmp_path / "results/wise/base.json").scores[0].score == 50.0


def test_the_canary_sings_where_length_wins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(prefers(longest)) as fake:
        told = judge.run(settings(fake, canary=True), tmp_path)
        # "Thank you for asking." is longer than "base"
        assert told["judges"]["wise"]["canary"] == {
            "score": 100.0,
            "must_be_below": 50.0,
            "sings": True,
        }
        assert "must stay below 50.0" in caplog.text
        assert set(told["judges"]["wise"]["models"]) == {"longer", "abc", "null answer"}


@pytest.mark.parametrize("compares", [True, False])
def test_the_canary_is_quiet_where_it_loses_and_is_no_model(
    compares: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def likes(one: str, other: str) -> str:
        return "2" if one.startswith("Thank") else "1" if other.startswith("Thank") else "tie"

    whole = Toy.cases
    if not compares:
        monkeypatch.setattr(
            Toy,
            "cases",
            lambda *given: [c._replace(model_first=None) for c in whole(*given) if c.model_first],
        )
        monkeypatch.setattr(
            Toy, "read", lambda self, case, replies: Ruling(CHANCES[replies[-1].text])
        )
    with serving(prefers(likes)) as fake:
        judges = tuple(
            {"name": name, "endpoint": {"url": fake.url, "model": name}} for name in ("a", "b")
        )
        told = judge.run(settings(fake, ["longer"], judges=judges, canary=True), tmp_path)
        # the model has three ties, so 50 is also what the worst model got
        canary = {"score": 0.0, "must_be_below": 50.0, "sings": False}
        assert told["judges"]["a"]["canary"] == canary
        assert told["agreement"][0]["n"] == 3
        assert (told["judges"]["a"]["order"] or {"n": 3})["n"] == 3


def test_several_judges_agree_or_not_and_have_a_mean(tmp_path: Path) -> None:
    """The second one likes ``longer`` in question 0 only, and never ``abc``."""

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][0]["content"]
        if body["model"] != "other" or text.startswith("ask 0: "):
            return prefers(longest)(body, before)
        return "1" if text.endswith(("base or longer?", "base or abc?")) else "2"

    with serving(say) as fake:
        judges = tuple(
            {"name": name, "endpoint": {"url": fake.url, "model": name}} for name in ("a", "other")
        )
        told = judge.run(settings(fake, judges=judges), tmp_path)
        mean = load_result(tmp_path / "results/all judges/longer.json")
        assert [row.score for row in mean.scores] == [100.0, 50.0, 50.0]
        assert told["together"]["longer"]["mean"] == pytest.approx(200 / 3)
        assert told["together"]["abc"] == {"mean": 0.0, "n": 3}
        [pair] = told["agreement"]
        assert (pair["a"], pair["b"], pair["n"]) == ("a", "other", 6)
        # a: win win win loss loss loss; other: win loss loss loss loss loss
        assert pair["agree_frac"] == pytest.approx(4 / 6)
        # by chance: 1/2 x 1/6 + 1/2 x 5/6 = 1/2; (2/3 - 1/2) / (1/2) = 1/3
        assert pair["kappa"] == pytest.approx(1 / 3)
        assert mean.protocol.judge == "mean of fake-1, fake-1"


@pytest.mark.parametrize("apart", [{"m"}, {"m", "other"}])
def test_judges_that_rule_on_different_prompts_have_no_agreement(
    apart: set[str], tmp_path: Path
) -> None:
    """One says nothing about question 0 of some models, the other about the rest."""

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][0]["content"]
        about = any(f"{name} or" in text or f"or {name}?" in text for name in apart)
        if about and text.startswith("ask 0: ") == (body["model"] == "a"):
            return "hm"
        return prefers(longest)(body, before)

    with serving(say) as fake:
        judges = tuple(
            {"name": name, "endpoint": {"url": fake.url, "model": name}} for name in ("a", "b")
        )
        told = judge.run(settings(fake, ["m", "other"], judges=judges), tmp_path)
        assert [pair["n"] for pair in told["agreement"]] == ([3] if len(apart) == 1 else [])
        assert set(told["together"]) == {"m", "other"} - apart
        assert told["judges"]["b"]["models"]["m"]["n_invalid"] == 4
    assert json.loads((tmp_path / "judging.json").read_text()) == json.loads(json.dumps(told))


def test_a_result_goes_with_its_last_verdict(tmp_path: Path) -> None:
    """A judge of the same name rules on one model only; the others' results were another's."""

    def say(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][0]["content"]
        mute = body["model"] == "worse" and text.endswith("?") and "abc" in text
        return "hm" if mute else prefers(longest)(body, before)

    with serving(say) as fake:
        for model, left in (("better", {"longer", "abc"}), ("worse", {"longer"})):
            judges = tuple(
                {"name": name, "endpoint": {"url": fake.url, "model": model}} for name in "ab"
            )
            judge.run(settings(fake, judges=judges), tmp_path)
            for folder in ("a", "b", "all judges"):
                assert {p.stem for p in (tmp_path / "results" / folder).iterdir()} == left


def test_a_run_that_is_done_needs_no_server(tmp_path: Path) -> None:
    with serving(prefers(longest)) as fake:
        told = judge.run(settings(fake), tmp_path)
        more = settings(fake, ["longer", "abc", "more"])
    assert judge.run(settings(fake), tmp_path) == told
    with pytest.raises(SettingsError, match="no connection"):
        judge.run(more, tmp_path)


def test_no_verdict_at_all_is_an_error_that_names_what_was_said(tmp_path: Path) -> None:
    with serving(prefers(lambda one, other: "who knows")) as fake:
        with pytest.raises(DataError, match="no judge gave a verdict; what they said is in"):
            judge.run(settings(fake), tmp_path)
        assert (tmp_path / "judgments/wise/abc").read_text().split("\n") == ["who knows"] * 6


@pytest.mark.parametrize("given", [0, 1])
def test_a_judge_without_log_probs_is_refused_before_anybody_answers(
    given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(judge, "open_benchmark", lambda settings: Weighted())

    def say(body: dict[str, Any], before: int) -> Any:
        tokens = dict(list({"1": -0.1, "2": -3.0}.items())[:given])
        return completion("1", logprobs=logprobs(tokens)) if given else "1"

    with serving(say) as fake:
        if given:
            judge.run(settings(fake), tmp_path)
            assert "wise gives 1 of the 2 most probable tokens" in caplog.text
        else:
            with pytest.raises(SettingsError, match="wise: toy reads log-probs"):
                judge.run(settings(fake), tmp_path)
            assert len(fake.calls) == 1  # the probe
            monkeypatch.setattr(Weighted, "with_text", True)
            judge.run(settings(fake), tmp_path)
            assert [call for call in fake.calls if "logprobs" in call] == fake.calls[:1]


def test_a_plan_counts_at_full_length(tmp_path: Path) -> None:
    with serving(prefers(first)) as fake:
        priced = {"url": fake.url, "model": "m", "prompt_price": 1e6, "answer_price": 1e6}
        judges = ({"endpoint": priced},)
        found = judge.plan(settings(fake, ["m"], judges=judges, canary=True))
        assert fake.calls == []
    assert found["questions"] == 3
    # "ask 0" is 5 bytes, so 1 token, and 4 more for the turn; 8 tokens of answer
    assert found["answers of m"] == "3 of at most 8 tokens; cost: " + (
        "unknown: set endpoint.prompt_price and answer_price"
    )
    # 2 models x 3 questions x 2 orders = 12 cases; "ask 0: " + 32 + " or base?" is 48 bytes, 12
    # tokens + 4; asked again 16 + (5 + 4) + (0 + 4); replies of 5 tokens
    assert found["judged by m"] == (
        "at most 24 calls, 540 tokens of prompts and 120 of replies; cost: at most 660.00"
    )
    assert found["warning 1"].startswith("m judges itself as m")


def test_a_plan_answers_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Toy, "questions", (Question("q", "", ("ask", "and then")),))
    monkeypatch.setattr(Toy, "cases", lambda self, model, own: seen.append(own["q"]) or [])
    with serving(prefers(first)) as fake:
        found = judge.plan(settings(fake, ["m"]))
    assert seen == [("x" * 32, "x" * 32)]
    assert found["answers of m"].startswith("2 of at most 8 tokens")


def test_a_plan_reads_answers_that_are_there(tmp_path: Path) -> None:
    """Of three questions one has no answer, and one the baseline's own."""
    path = tmp_path / "x.jsonl"
    rows = [("q0", "a" * 400), ("q1", "base")]
    path.write_text(
        "".join(
            json.dumps({"uid": uid, "model": "x", "messages": [{"content": text}]}) + "\n"
            for uid, text in rows
        )
    )
    with serving(prefers(longest)) as fake:
        wise = {"endpoint": {"url": fake.url, "model": "wise"}}
        recipe = {
            "protocol": "alpaca_eval2",
            "models": ({"name": "x", "answers": str(path)},),
            "judges": (wise,),
        }
        given = validate(judge.JudgeRun, recipe, "a test")
        found = judge.plan(given)
        judge.run(given, tmp_path / "out")
        assert len(fake.calls) == 2
    # "ask 0: " + 400 + " or base?" is 416 bytes, 104 tokens + 4; asked again with 5 + 4 and 0 + 4
    assert str(found["judged by wise"]).startswith("at most 4 calls, 458 tokens of prompts and 20")


@pytest.mark.parametrize("with_text", [False, True])
def test_a_plan_counts_the_first_question_about_log_probs(
    with_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weighted, "with_text", with_text)
    monkeypatch.setattr(judge, "open_benchmark", lambda settings: Weighted())
    with serving(prefers(first)) as fake:
        found = judge.plan(settings(fake, ["x"]))
    # six cases, asked twice at most; one token each, or five where a judge writes its verdict
    replies = 1 + 12 * (5 if with_text else 1)
    assert str(found["judged by wise"]).startswith("at most 13 calls, ")
    assert f" and {replies} of replies" in str(found["judged by wise"])


def test_a_plan_takes_time_by_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    number, asked = 500, []
    many = tuple(Question(f"q{n}", "", (f"ask {n}",), baseline="base") for n in range(number))
    sampling = Toy.sampling

    def counted(self: Toy, question: Question) -> SamplingSettings:
        asked.append(question)
        return sampling(self, question)

    monkeypatch.setattr(Toy, "questions", many)
    monkeypatch.setattr(Toy, "sampling", counted)
    with serving(prefers(first)) as fake:
        found = judge.plan(settings(fake, ["x"]))
    assert f"at most {2 * 2 * number:,} calls" in str(found["judged by wise"])
    assert len(asked) <= 3 * number


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"models": ({"path": "x/a"}, {"path": "y/a"})}, "two are called a"),
        ({"models": ({"path": "x", "name": "a/b"},)}, "expected one that can name a file"),
        (
            {"models": ({"path": "x", "name": "a:b"}, {"path": "y", "name": "a-b"})},
            "two are called a:b and a-b;",
        ),
        (
            {"judges": ({"name": "all judges", "endpoint": {"url": "http://h/v1", "model": "j"}},)},
            "a judge called all judges, which their mean is",
        ),
        ({"models": ({"path": "x", "name": "null answer"},)}, "which the canary is"),
        ({"models": ({"path": "x", "answers": "y"},)}, "expected one of path, endpoint and ans"),
        ({"models": ({"name": "x", "answers": "y", "dtype": "bf16"},)}, "is for a model with a"),
        (
            {"models": ({"name": "x", "answers": "y"},), "sampling": {"temperature": 0.5}},
            "sampling has no effect on answers that are there",
        ),
        ({"protocol": "alpaca"}, "alpaca_eval2"),
    ],
)
def test_settings_that_contradict_each_other(more: dict[str, Any], message: str) -> None:
    given = {
        "protocol": "alpaca_eval2",
        "models": ({"path": "x"},),
        "judges": ({"endpoint": {"url": "http://localhost:1/v1", "model": "j"}},),
    }
    with pytest.raises(SettingsError, match=message):
        validate(judge.JudgeRun, given | more, "a test")


def test_a_judge_has_a_temperature_and_a_length_of_its_own(tmp_path: Path) -> None:
    with serving(prefers(longest)) as fake:
        judges = tuple(
            {"name": name, "endpoint": {"url": fake.url, "model": name}} | more
            for name, more in (("plain", {}), ("hot", {"temperature": 1.0, "max_tokens": 900}))
        )
        own = settings(fake, ["longer"], judges=judges)
        assert "at most 12 calls" in str(judge.plan(own)["judged by plain"])
        assert "and 10,800 of replies" in str(judge.plan(own)["judged by hot"])  # 12 x 900
        judge.run(own, tmp_path)
        asked = {
            call["model"]: (call["temperature"], call["max_tokens"])
            for call in fake.calls
            if call["model"] != "longer"
        }
        assert asked == {"plain": (0.0, 5), "hot": (1.0, 900)}


def test_a_judge_may_be_cold_where_the_benchmark_is_not(tmp_path: Path) -> None:
    warm = Toy()
    warm.options = JudgeOptions(temperature=1.0, max_tokens=5)
    with serving(prefers(longest)) as fake:
        [wise] = settings(fake).judges
    cold = wise.model_copy(update={"temperature": 0.0})
    assert with_options(warm, wise).options.temperature == 1.0
    assert with_options(warm, cold).options.temperature == 0.0


def test_the_canary_lies_apart_from_the_models(tmp_path: Path) -> None:
    with serving(prefers(longest)) as fake:
        judge.run(settings(fake, ["longer"], canary=True), tmp_path)
    assert {p.name for p in (tmp_path / "judgments/wise").iterdir()} == {
        *("longer", "canary", "replies")
    }
    assert (tmp_path / "judgments/wise/canary/null answer").exists()


@pytest.mark.parametrize("fault", ["key", "port"])
def test_a_judge_that_cannot_be_asked_stops_the_run_before_anybody_answers(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(prefers(first)) as gone:
        pass
    with serving(prefers(first)) as fake:
        endpoint = {
            "key": {"url": fake.url, "model": "j", "api_key_env": "NO_SUCH_KEY"},
            "port": {"url": gone.url, "model": "j"},
        }[fault]
        message = {"key": "no environment variable NO_SUCH_KEY", "port": "no connection"}[fault]
        with pytest.raises(SettingsError, match=message):
            judge.run(settings(fake, judges=({"endpoint": endpoint},)), tmp_path / "out")
        assert fake.calls == []
        assert not (tmp_path / "out").exists()


def test_a_judge_may_be_taken_by_its_word_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "open_benchmark", lambda settings: Weighted())
    with serving(lambda body, before: "1") as fake:
        with pytest.raises(SettingsError, match="log-probs"):
            judge.run(settings(fake), tmp_path)
        monkeypatch.setattr(Weighted, "with_text", True)
        given = {"name": "alpaca_eval2", "without_logprobs": "text"}
        assert judge.run(settings(fake, protocol=given), tmp_path)["judges"]["wise"]["models"]
