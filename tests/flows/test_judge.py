"""Scores of models on two parts of a text: against another way, and what is too little."""

import json
import logging
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inarch.errors import DataError
from inarch.flows._search.judge import Judge, ScoreSettings
from inarch.settings import validate
from tests.tiny import TEXT, byte_level, save_model, sentencepiece


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("judge") / "model", byte_level(), seed=3)


def settings(**score: object) -> ScoreSettings:
    return validate(ScoreSettings, score, "the test")


def written(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(path: Path, number: int = 8) -> str:
    return written(path, [{"text": f"Row {i} – {TEXT[i % 4]}"} for i in range(number)])


def bits_by_hand(model: Path, contents: list[str]) -> float:
    """The surprise at every token after the first, and at the end of the text."""
    hf = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model).double().requires_grad_(False)
    nats = 0.0
    for content in contents:
        ids = [hf.bos_token_id, *hf(content, add_special_tokens=False).input_ids, hf.eos_token_id]
        logits = network(torch.tensor([ids])).logits[0].double()
        nats -= float(logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]].sum())
    return nats / math.log(2) / sum(len(content.encode()) for content in contents)


def test_bits_per_byte_of_both_parts(model, tmp_path):
    path = texts(tmp_path / "t.jsonl")
    judge = Judge(settings(bits_per_byte=path), [model], seed=0)
    parts = [[document.text for document in part] for part in judge._parts]
    assert [len(part) for part in parts] == [6, 2]  # a quarter of eight is held out
    assert sorted(parts[0] + parts[1]) == sorted(
        json.loads(line)["text"] for line in Path(path).read_text().splitlines()
    )
    scores = judge.score(model)
    assert scores.score == pytest.approx(bits_by_hand(model, parts[0]), rel=1e-5)
    assert scores.held_out == pytest.approx(bits_by_hand(model, parts[1]), rel=1e-5)
    assert judge.num_bytes == sum(len(text.encode()) for text in parts[0])
    assert judge.score(model, held_out=False) == (scores.score, None)


def test_the_seed_says_which_rows_are_held_out(model, tmp_path):
    score = settings(bits_per_byte=texts(tmp_path / "t.jsonl"))
    held_out = [
        {document.text for document in Judge(score, [model], seed=seed)._parts[1]}
        for seed in (0, 0, 1, 2)
    ]
    assert held_out[0] == held_out[1]
    assert len({frozenset(part) for part in held_out}) > 1


def test_nothing_held_out(model, tmp_path):
    score = settings(bits_per_byte=texts(tmp_path / "t.jsonl"), held_out=0.0)
    judge = Judge(score, [model], seed=0)
    assert len(judge._parts[0]) == 8
    assert judge.score(model).held_out is None


def test_a_single_text_is_cut_where_a_line_ends(model, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("\n".join(f"line number {i}" for i in range(40)))
    judge = Judge(settings(bits_per_byte=str(path), held_out=0.5), [model], seed=0)
    first, second = ("".join(document.text for document in part) for part in judge._parts)
    assert first + second == path.read_text()
    assert first.endswith(("\n", " "))
    assert abs(len(first) - len(second)) < 20


def test_texts_are_cut_so_that_every_input_can_read_them(model, tmp_path):
    other = save_model(tmp_path / "other", sentencepiece(), seed=1)
    path = tmp_path / "t.txt"
    path.write_text("\n".join(TEXT * 6))
    judge = Judge(settings(bits_per_byte=str(path), held_out=0.25), [model, other], seed=0)
    # 256 positions; the pieces put together are the text, for both
    assert sum(len(part) for part in judge._parts) > 2
    assert "".join(d.text for part in judge._parts for d in part) == path.read_text()
    assert all(math.isfinite(judge.score(each).score) for each in (model, other))


def chat(question: str, answer: str) -> dict[str, object]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns}


def test_answers(model, tmp_path, monkeypatch):
    rows = [chat(f"q{i}", f"one two {i}") for i in range(4)]
    score = settings(answers=written(tmp_path / "t.jsonl", rows), max_new_tokens=5)
    judge = Judge(score, [model], seed=0)
    asked = []

    def answer(network, tokenizer, chats, *, max_new_tokens):
        asked.extend(chat[-1].content for chat in chats)
        assert max_new_tokens == 5
        assert all(chat[-1].role == "user" for chat in chats)
        return [f"one TWO {chat[-1].content[1:]}" for chat in chats]

    monkeypatch.setattr("inarch.flows._search.judge.answer_greedily", answer)
    assert judge.score(model) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert sorted(asked) == ["q0", "q1", "q2", "q3"]
    assert (score.unit, score.lower_is_better) == ("share of right pieces", False)


@pytest.mark.parametrize(
    ("rows", "held_out", "problem"),
    [
        ([], 0.25, "found no usable row, or too few to hold some out"),
        ([{"text": ""}], 0.0, "found no usable row"),
        ([{"text": "x"}], 0.25, "too few to hold some out"),
        ([chat("q", "a")], 0.25, "too few to hold some out; give more text, or score.held_out: 0"),
    ],
)
def test_too_little_to_score_on(model, tmp_path, rows, held_out, problem):
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(DataError, match=problem):
        Judge(settings(bits_per_byte=path, held_out=held_out), [model], seed=0)


def test_a_short_text_is_a_warning(model, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        Judge(settings(bits_per_byte=texts(tmp_path / "t.jsonl")), [model], seed=0)
    assert "bytes; differences may be chance" in caplog.text


def test_texts_are_no_questions(model, tmp_path):
    with pytest.raises(DataError, match=r"score.answers: .* row without a question"):
        Judge(settings(answers=texts(tmp_path / "t.jsonl")), [model], seed=0)


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        ({}, "expected either bits_per_byte or answers"),
        ({"bits_per_byte": "a", "answers": "b"}, "expected either bits_per_byte or answers"),
        ({"bits_per_byte": "a", "max_new_tokens": 3}, "max_new_tokens has no effect"),
        ({"bits_per_byte": {"path": "a", "template": "target"}}, "template has no effect"),
        ({"bits_per_byte": "a", "held_out": 1.0}, "less than 1"),
    ],
)
def test_bad_scores(score, problem):
    with pytest.raises(ValueError, match=problem):
        settings(**score)
