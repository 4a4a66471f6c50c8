"""The whole way to a real server: `transformers serve` with a tiny model that is made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.io.served import serving_model
from tests.tiny import byte_level, save_model
from transformers import GenerationConfig

from inarch.io import answers as module
from inarch.io.answers import AnswererSettings, answers
from inarch.io.endpoints import EndpointSettings, Failure, Request, ask, probe_logprobs
from inarch.io.generation import answer_greedily
from inarch.io.models import load_model
from inarch.io.sampling import SamplingSettings
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message

pytestmark = pytest.mark.slow

CHATS = [(Message("user", text),) for text in ("a dog", "你好 😀", "x = 1", "the cat", "10", "?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hf = byte_level()
    made = save_model(tmp_path_factory.mktemp("model"), hf)
    # A server draws only where the model's own settings say so, and ends with their token.
    ends = hf.convert_tokens_to_ids(["<|end|>", "<eos>"])
    GenerationConfig(do_sample=True, eos_token_id=ends).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_model(tmp_path_factory.mktemp("server") / "log.txt") as found:
        yield found


def _endpoint(url: str, folder: Path, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"url": url, "model": str(folder), "concurrency": 4} | more)


def test_greedy_answers_are_those_of_the_model_here(url: str, folder: Path, tmp_path: Path) -> None:
    requests = [Request(chat, temperature=0.0, max_tokens=24) for chat in CHATS]
    found = dict(ask(_endpoint(url, folder), requests, tmp_path / "c.jsonl"))
    model, tokenizer = load_model(folder), load_tokenizer(str(folder))
    here = answer_greedily(model, tokenizer, CHATS, max_new_tokens=24)
    assert [getattr(found[i], "text", found[i]) for i in range(6)] == here
    assert all(reply.num_answer_tokens for reply in found.values())  # type: ignore[union-attr]


class Killed(BaseException):
    """What no code catches."""


def test_a_run_that_is_killed_half_way_asks_nothing_twice(
    url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_CHATS", 2)
    settings = AnswererSettings(name="served", endpoint=_endpoint(url, folder, concurrency=1))
    sampling = SamplingSettings(max_new_tokens=12, temperature=1.0)
    true_ask = module.ask

    def cut(*args: Any, **more: Any) -> Iterator[Any]:
        with closing(true_ask(*args, **more)) as outcomes:
            for number, item in enumerate(outcomes):
                if number == 5:
                    raise Killed
                yield item

    monkeypatch.setattr(module, "ask", cut)
    with pytest.raises(Killed):
        answers(settings, CHATS, sampling, 2, tmp_path)
    before = (tmp_path / "replies.jsonl").read_text()
    assert 5 <= before.count("\n") < 12
    monkeypatch.setattr(module, "ask", true_ask)
    found = answers(settings, CHATS, sampling, 2, tmp_path)
    after = (tmp_path / "replies.jsonl").read_text()
    assert after.startswith(before)
    keys = [json.loads(line)["key"] for line in after.splitlines()]
    assert len(keys) == len(set(keys)) == 12
    assert all(answer.text for row in found for answer in row)
    assert sum(row[0].text != row[1].text for row in found) >= 4  # the two seeds differ


def test_what_the_server_cannot_do_is_said(url: str, folder: Path, tmp_path: Path) -> None:
    assert probe_logprobs(_endpoint(url, folder), tmp_path / "c.jsonl") == 0
    absent = _endpoint(url, tmp_path / "absent", max_retries=0)
    [(_, failure)] = ask(absent, [Request(CHATS[0], max_tokens=1)], tmp_path / "c.jsonl")
    assert failure == Failure("HTTP 500 (Internal Server Error), once")
