"""Answers kept in a folder: of a local model, of an endpoint, killed and gone on with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.io.fake_endpoint import QUICK, FakeEndpoint, Fault, completion, serving
from tests.tiny import byte_level, save_model

from inarch.errors import DataError, SettingsError
from inarch.io import answers as module
from inarch.io.answers import Answer, Answerer, AnswererSettings, answers
from inarch.io.endpoints import EndpointSettings
from inarch.io.models import load_model
from inarch.io.sampling import SamplingSettings, sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message

SHORT = SamplingSettings(max_new_tokens=5)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QUICK, 0.01)
    monkeypatch.setattr(module, "SHARD_CHATS", 3)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), byte_level())


def _chats(*texts: str) -> list[tuple[Message, ...]]:
    return [(Message("user", text),) for text in texts]


EIGHT = _chats("a", "the dog 😀", "a cat", "猫", "1 + 2", "x\ud83d", "is", "a")


class Killed(BaseException):
    """What no code catches."""


# ------------------------------------------------------------------------------ a local model


def _local(folder: Path, **more: Any) -> AnswererSettings:
    return AnswererSettings(name="local", path=str(folder), device="cpu", **more)


def test_answers_of_a_model_are_its_samples(model_folder: Path, tmp_path: Path) -> None:
    found = answers(_local(model_folder), EIGHT, SHORT, 2, tmp_path / "out")
    assert len(found) == 8
    assert [[a.seed for a in row] for row in found] == [[42, 43]] * 8
    assert [row[0].failure for row in found[5:7]] == [
        "it holds half of a surrogate pair, which has no UTF-8",
        "",
    ]
    assert [answer.text for answer in found[5]] == [None, None]
    assert found[0] == found[7] != found[6]  # a chat's answers do not depend on its place
    model, tokenizer = load_model(model_folder), load_tokenizer(str(model_folder))
    one = sample(
        model, tokenizer, [EIGHT[3]], SHORT, keys=[int(module._digest(list(EIGHT[3])), 16)]
    )
    assert found[3][0][:3] == Answer(one[0][0], 42)[:3]
    moved = answers(_local(model_folder), EIGHT[::-1], SHORT, 2, tmp_path / "moved")
    assert list(moved) == list(found)[::-1]
    facts = json.loads((tmp_path / "out/manifest.json").read_text())["facts"]
    assert (facts["num_answers"], facts["num_failures"]) == (14, 2)
    assert list(facts["failures"].values()) == [2]


def test_a_killed_run_goes_on_with_the_next_shard(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(answers(_local(model_folder), EIGHT, SHORT, 2, tmp_path / "whole"))
    asked: list[str] = []
    true_draw = module.draw

    def counted(model: Any, tokenizer: Any, chats: Any, *rest: Any, **more: Any) -> Any:
        if asked and not more.pop("go_on", len(asked) > 10):
            raise Killed
        asked.extend(chat[-1].content for chat in chats)
        return true_draw(model, tokenizer, chats, *rest, **more)

    monkeypatch.setattr(module, "draw", counted)
    with pytest.raises(Killed):
        answers(_local(model_folder), EIGHT, SHORT, 2, tmp_path / "cut")
    assert asked == ["a", "the dog 😀", "a cat"]
    asked.clear()
    monkeypatch.setattr(
        module, "draw", lambda *a, **k: (asked.append(len(a[2])), true_draw(*a, **k))[1]
    )
    assert list(answers(_local(model_folder), EIGHT, SHORT, 2, tmp_path / "cut")) == whole
    assert asked == [2, 2]  # of three, one cannot be answered; then the two of the last shard
    monkeypatch.setattr(module, "load_model", None)
    assert list(answers(_local(model_folder), EIGHT, SHORT, 2, tmp_path / "cut")) == whole


def test_an_answer_is_cut_if_it_would_go_on(model_folder: Path, tmp_path: Path) -> None:
    short, long = (
        answers(_local(model_folder), EIGHT, SHORT.model_copy(update={"max_new_tokens": n}), 4, out)
        for n, out in ((60, tmp_path / "short"), (240, tmp_path / "long"))
    )
    pairs = [
        pair
        for rows in zip(short, long, strict=True)
        for pair in zip(*rows, strict=True)
        if pair[0].text is not None
    ]
    assert [one.cut for one, _ in pairs] == [one.text != other.text for one, other in pairs]
    facts = json.loads((tmp_path / "short/manifest.json").read_text())["facts"]
    assert facts["num_cut"] == sum(one.cut for one, _ in pairs)
    assert 0 < facts["num_cut"] < len(pairs)


def test_lists_of_chats_share_a_loaded_model(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(
        module, "load_model", lambda path, **how: (loads.append(path), load_model(path, **how))[1]
    )
    alone = [list(answers(_local(model_folder), EIGHT[:2], SHORT, 1, tmp_path / "alone"))]
    shared = Answerer(_local(model_folder))
    assert len(loads) == 1
    for name in "xyx":
        found = answers(_local(model_folder), EIGHT[:2], SHORT, 1, tmp_path / name, shared)
        alone.append(list(found))
    assert alone[0] == alone[1] == alone[2] == alone[3]
    assert len(loads) == 2


def test_a_folder_of_something_else_is_refused(model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answers(_local(model_folder), EIGHT, SHORT, 2, out)
    hotter = SHORT.model_copy(update={"temperature": 0.9})
    other = save_model(tmp_path / "other", byte_level(), seed=1)
    spoken = save_model(tmp_path / "spoken", byte_level(300))
    apart = _local(model_folder, tokenizer=str(spoken))
    for settings, chats, sampling, num, name in (
        (_local(model_folder), EIGHT, hotter, 2, "settings.sampling.temperature"),
        (_local(model_folder), EIGHT, SHORT, 3, "settings.num_samples"),
        (_local(model_folder), EIGHT[1:], SHORT, 2, "inputs.chats"),
        (_local(other), EIGHT, SHORT, 2, "inputs.model"),
        (apart, EIGHT, SHORT, 2, "inputs.model"),
        (_local(model_folder, dtype="bf16"), EIGHT, SHORT, 2, "settings.dtype"),
    ):
        with pytest.raises(SettingsError, match=name):
            answers(settings, chats, sampling, num, out)
    batches = SHORT.model_copy(update={"batch_size": 1})
    assert len(answers(_local(model_folder), EIGHT, batches, 2, out)) == 8


def test_answers_are_read_by_number_and_by_slice(model_folder: Path, tmp_path: Path) -> None:
    found = answers(_local(model_folder), EIGHT, SHORT, 1, tmp_path)
    rows = [found[i] for i in range(8)]
    assert list(found) == rows
    assert found[-1] == rows[7]
    assert found[1:8:3] == rows[1:8:3]
    assert found[::-1] == rows[::-1]
    with pytest.raises(IndexError):
        found[8]
    assert list(answers(_local(model_folder), [], SHORT, 1, tmp_path / "none")) == []


# --------------------------------------------------------------------------------- an endpoint


def _remote(fake: FakeEndpoint, **more: Any) -> AnswererSettings:
    endpoint = {"url": fake.url, "model": "m", "max_retries": 1} | more
    return AnswererSettings(name="remote", endpoint=EndpointSettings(**endpoint))


def _say(body: dict[str, Any], before: int) -> Any:
    question = body["messages"][-1]["content"]
    if question == "is":
        return completion("")
    if question == "1 + 2" and before == 0:
        return Fault(500)
    return f"{question}! {body['seed']}"


def test_answers_of_an_endpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(_say) as fake:
        settings = _remote(fake, prompt_price=1.0, answer_price=2.0)
        found = answers(settings, EIGHT, SHORT, 2, tmp_path)
        body = next(call for call in fake.calls if call["seed"] == 43)
        assert {k: v for k, v in body.items() if k != "messages"} == {
            "model": "m",
            "temperature": 0.8,
            "top_p": 0.95,
            "max_tokens": 5,
            "seed": 43,
        }
        assert found[1] == (Answer("the dog 😀! 42", 42), Answer("the dog 😀! 43", 43))
        failure = "an empty answer (finish_reason stop), 2 times"
        assert found[6] == (Answer(None, 42, failure), Answer(None, 43, failure))
        assert "2 answers are missing: an empty answer" in caplog.text
        assert found[5][0].failure.startswith("it holds half of a surrogate pair")
        # "a" stands there twice and is asked once; two failures and two faults are asked twice
        assert len(fake.calls) == 12 + 4
        facts = json.loads((tmp_path / "manifest.json").read_text())["facts"]
        assert facts == {
            "num_answers": 12,
            "num_failures": 4,
            "failures": {failure: 2, found[5][0].failure: 2},
            "num_cut": 0,
            "num_replies": 10,
            "num_prompt_tokens": 100,
            "num_answer_tokens": 30,
            "cost": (100 + 30 * 2) / 1e6,
        }
        fake.calls.clear()
        patient = _remote(fake, timeout_s=9.0, concurrency=1)
        assert list(answers(patient, EIGHT, SHORT, 2, tmp_path)) == list(found)
        assert not fake.calls
        with pytest.raises(SettingsError, match=r"settings.endpoint.extra_body"):
            answers(_remote(fake, extra_body={"top_k": 3}), EIGHT, SHORT, 2, tmp_path)


def test_an_endpoint_says_what_is_cut(tmp_path: Path) -> None:
    reasons = {"a": "length", "b": "stop"}

    def say(body: dict[str, Any], before: int) -> Any:
        return completion("x", finish_reason=reasons[body["messages"][-1]["content"]])

    with serving(say) as fake:
        found = answers(_remote(fake), _chats("a", "b"), SHORT, 1, tmp_path)
    assert [[answer.cut for answer in row] for row in found] == [[True], [False]]
    assert json.loads((tmp_path / "manifest.json").read_text())["facts"]["num_cut"] == 1


def test_samples_without_a_seed_are_asked_for_one_by_one(tmp_path: Path) -> None:
    with serving(lambda body, before: f"answer {before}") as fake:
        [row] = answers(_remote(fake, send_seed=False), _chats("q"), SHORT, 3, tmp_path)
        assert "seed" not in fake.calls[0]
    assert sorted(str(answer.text) for answer in row) == ["answer 0", "answer 1", "answer 2"]


def test_a_killed_run_asks_an_endpoint_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = _chats(*"abcdefghijk")
    true_ask = module.ask

    def cut(*args: Any, **more: Any) -> Iterator[Any]:
        with closing(true_ask(*args, **more)) as outcomes:
            for number, item in enumerate(outcomes):
                if number == 8:
                    raise Killed
                yield item

    with serving(_say) as fake:
        monkeypatch.setattr(module, "ask", cut)
        settings = _remote(fake, concurrency=1)
        with pytest.raises(Killed):
            answers(settings, chats, SHORT, 2, tmp_path)
        monkeypatch.setattr(module, "ask", true_ask)
        assert len(list(tmp_path.glob("answers-*"))) == 1  # 3 chats of 2 samples
        found = answers(settings, chats, SHORT, 2, tmp_path)
    assert [row[1].text for row in found] == [f"{c}! 43" for c in "abcdefghijk"]
    counts = Counter((call["messages"][-1]["content"], call["seed"]) for call in fake.calls)
    # What was in flight when the run was killed may be asked again.
    assert len(counts) == 22
    assert counts.total() <= 23


def test_an_endpoint_that_refuses_stops_and_keeps_what_is_there(tmp_path: Path) -> None:
    chats = _chats(*"abcdef")
    with serving(lambda body, n: Fault(401) if body["seed"] == 43 else "yes") as fake:
        with pytest.raises(SettingsError, match="401"):
            answers(_remote(fake, concurrency=1), chats, SHORT, 2, tmp_path)
        fake.say = lambda body, n: "yes"
        assert len(answers(_remote(fake), chats, SHORT, 2, tmp_path)) == 6
        assert len(fake.calls) == 13  # one was refused


def test_settings_name_one_kind_of_source(model_folder: Path, tmp_path: Path) -> None:
    endpoint = EndpointSettings(url="http://127.0.0.1:9/v1", model="m")
    for more in ({}, {"path": "x", "endpoint": endpoint}):
        with pytest.raises(ValueError, match="a path or an endpoint"):
            AnswererSettings(name="a", **more)
    with pytest.raises(ValueError, match="dtype is for a model with a path"):
        AnswererSettings(name="a", endpoint=endpoint, dtype="bf16")
    top_k = SamplingSettings(top_k=5)
    with pytest.raises(SettingsError, match=r"extra_body"):
        answers(AnswererSettings(name="a", endpoint=endpoint), EIGHT, top_k, 1, tmp_path / "a")
    silent = byte_level()
    silent.chat_template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    mute = save_model(tmp_path / "mute", silent)
    with pytest.raises(DataError, match="add_generation_prompt"):
        answers(_local(mute), EIGHT, SHORT, 1, tmp_path / "b")
