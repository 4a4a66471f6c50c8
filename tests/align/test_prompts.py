"""Prompts from files, whatever stands beside them."""

import json
from pathlib import Path

import pytest

from inarch.align._prompts import PromptSettings, read_prompts
from inarch.align._rows import Dropped
from inarch.errors import DataError
from inarch.records import Message

ASKED = (Message("user", "你好 😀"),)
CHAT = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), ASKED[0])


def turns(*messages: Message) -> list[dict]:
    return [message._asdict() for message in messages]


def read(path: Path, rows: list, **settings):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped = Dropped()
    found = list(read_prompts(PromptSettings(path=str(path), **settings), dropped))
    return found, dict(dropped)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "你好 😀"}, ASKED),
        ({"prompt": turns(*ASKED)[0]}, ASKED),
        ({"prompt": turns(*CHAT), "chosen": "x", "rejected": "y"}, CHAT),
        ({"messages": turns(*ASKED, Message("assistant", "a"))}, ASKED),
        ({"messages": turns(*CHAT)}, CHAT),
        ({"chosen": turns(*ASKED, Message("assistant", "a")), "rejected": None}, ASKED),
    ],
)
def test_forms_of_prompts(tmp_path, row, expected):
    [found], dropped = read(tmp_path / "p.jsonl", [row])
    assert found.messages == expected
    assert dropped == {}


def test_rows_that_ask_nothing_are_counted(tmp_path):
    rows = [{"prompt": " "}, {"prompt": []}, {"prompt": "\ud83d"}, {"prompt": "hello"}]
    found, dropped = read(tmp_path / "p.jsonl", rows)
    assert [row.where for row in found] == [f"{tmp_path}/p.jsonl:4"]
    assert dropped == {"rows with an empty prompt": 2, "rows with lone surrogates": 1}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "a"}, "p.jsonl:1: found the columns text; expected prompt"),
        ([1], "p.jsonl:1: found list, expected an object"),
        ({"prompt": 3}, "p.jsonl:1: prompt: found 3, expected a text, a message"),
        ({"prompt": turns(Message("assistant", "a"))}, "a last turn of the assistant's"),
        ({"prompt": "a", "answer": None}, "p.jsonl:1: answer: found None, expected a text or"),
        ({"prompt": "a", "answer": True}, "p.jsonl:1: answer: found True, expected a text or"),
    ],
)
def test_other_rows_are_named(tmp_path, row, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path / "p.jsonl", [row], reference="answer")


def test_references_and_limits(tmp_path):
    rows = [{"prompt": "a", "answer": 42}, {"prompt": "b", "answer": "4"}, {"prompt": 3}]
    found, _ = read(tmp_path / "p.jsonl", rows, reference="answer", limit=2)
    assert [row.reference for row in found] == ["42", "4"]


def test_a_bare_string_is_the_path():
    assert PromptSettings.model_validate("p.jsonl").path == "p.jsonl"
