"""Preference files as token rows: every published form, one prompt per row, one end per answer."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inarch.align._read import Preference, preferences
from inarch.align._rows import (
    Dropped,
    PreferenceSettings,
    answer_rows,
    check_template,
    tokenised,
)
from inarch.align._store import AnswerRows, write_rows
from inarch.errors import DataError
from inarch.io.tokenizers import wrap_tokenizer
from inarch.records import Message
from tests.tiny import byte_level, sentencepiece

USER = {"role": "user", "content": "q"}
ASKED = (Message("user", "q"),)
END, EOS = 5, 1  # of byte_level


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.fixture(scope="module")
def chatml():
    return wrap_tokenizer(byte_level(), "chatml")


@pytest.fixture(scope="module")
def llama():
    return wrap_tokenizer(sentencepiece(), "llama")


def read_one(row, form, chosen="auto"):
    dropped: Counter[str] = Counter()
    found = preferences(row, "f:1", form, chosen, dropped)
    return [(p.prompt, p.answers, p.liked) for p in found] or dict(dropped)


# ------------------------------------------------------------------------------------- the forms


@pytest.mark.parametrize(
    ("row", "form", "expected"),
    [
        # TRL's pairs: explicit and implicit prompt, texts and chats
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "pairs", [("p", ("a", "b"), None)]),
        (
            {"chosen": "The sky is blue.", "rejected": "The sky is black."},
            "pairs",
            [("The sky is", (" blue.", " black."), None)],
        ),
        (
            {"prompt": [USER], "chosen": [said("a")], "rejected": [said("b")]},
            "pairs",
            [(ASKED, ("a", "b"), None)],
        ),
        (
            {"chosen": [USER, said("a")], "rejected": [USER, said("b")]},
            "pairs",
            [(ASKED, ("a", "b"), None)],
        ),
        # Zephyr's and SimPO's: the prompt is there twice
        (
            {"prompt": "q", "chosen": [USER, said("a")], "rejected": [USER, said("b")]},
            "pairs",
            [(ASKED, ("a", "b"), None)],
        ),
        # WRPO's record, and plain columns
        (
            {"prompt": USER, "chosen": [said("s"), said("t")], "rejected": [said("r")]},
            "triples",
            [(ASKED, ("s", "t", "r"), None)],
        ),
        (
            {"prompt": "p", "source": "s", "target": "t", "rejected": "r"},
            "triples",
            [("p", ("s", "t", "r"), None)],
        ),
        # KTO's
        (
            {"prompt": "p", "completion": "a", "label": False},
            "labelled",
            [("p", ("a",), False)],
        ),
        (
            {"prompt": [USER], "completion": [said("a")], "label": True},
            "labelled",
            [(ASKED, ("a",), True)],
        ),
        # a triple where less is needed
        (
            {"prompt": "p", "source": "s", "target": "t", "rejected": "r"},
            "pairs",
            [("p", ("t", "r"), None)],
        ),
        (
            {"prompt": "p", "source": "s", "target": "t", "rejected": "r"},
            "answers",
            [("p", ("s",), None)],
        ),
        (
            {"prompt": "p", "source": "s", "target": "t", "rejected": "r"},
            "labelled",
            [("p", ("t",), True), ("p", ("r",), False)],
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "answers", [("p", ("a",), None)]),
        ({"messages": [USER, said("a")]}, "answers", [(ASKED, ("a",), None)]),
        # what teaches nothing
        (
            {"prompt": "p", "chosen": " \n", "rejected": "b"},
            "pairs",
            {"rows whose chosen is empty": 1},
        ),
        (
            {"prompt": "p", "source": "s", "target": "t", "rejected": "t"},
            "triples",
            {"rows whose target and rejected are the same": 1},
        ),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "pairs", {"rows with an empty prompt": 1}),
        (
            {"prompt": "p", "completion": "a", "label": False},
            "answers",
            {"rows whose label is false": 1},
        ),
        (
            {"prompt": "p", "chosen": "a\ud800", "rejected": "b"},
            "pairs",
            {"rows with lone surrogates": 1},
        ),
    ],
)
def test_forms(row, form, expected):
    assert read_one(row, form) == expected


@pytest.mark.parametrize(("chosen", "better"), [("auto", "t"), ("target", "t"), ("source", "s")])
def test_which_better_answer_makes_the_pair(chosen, better):
    row = {"prompt": "p", "source": "s", "target": "t", "rejected": "r"}
    assert read_one(row, "pairs", chosen) == [("p", (better, "r"), None)]


def test_what_a_method_does_not_read_may_be_anything():
    triple = {"prompt": "p", "source": "s", "target": "t", "rejected": "t"}
    assert read_one(triple, "pairs", "source") == [("p", ("s", "t"), None)]
    assert read_one(triple | {"rejected": " "}, "answers") == [("p", ("s",), None)]
    assert read_one(triple | {"source": "", "rejected": "r"}, "pairs") == [("p", ("t", "r"), None)]
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "label": "of something else"}
    assert read_one(pair, "pairs") == [("p", ("a", "b"), None)]
    same = triple | {"source": "t", "target": "x"}
    assert read_one(same, "pairs", "source") == {"rows whose source and rejected are the same": 1}


def test_the_target_answer_may_be_learnt_instead():
    row = {"prompt": "p", "source": "s", "target": "t", "rejected": "r"}
    assert read_one(row, "answers", "target") == [("p", ("t",), None)]


@pytest.mark.parametrize(
    ("row", "form", "message"),
    [
        (3, "pairs", "f:1: found int"),
        ({"text": "x"}, "pairs", "f:1: found the columns text; expected prompt with chosen"),
        ({"prompt": "p", "chosen": 1, "rejected": "b"}, "pairs", "f:1: chosen: found 1, expected"),
        (
            {"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"},
            "pairs",
            r"f:1: prompt: found \{'role': 'user'\}, expected \{role: str, content: str\}",
        ),
        (
            {"prompt": [USER, said("a")], "chosen": "a", "rejected": "b"},
            "pairs",
            "f:1: prompt: found a last turn of the assistant's",
        ),
        (
            {"prompt": [USER], "chosen": [USER], "rejected": [said("b")]},
            "pairs",
            r"f:1: chosen: found turns of \['user'\]",
        ),
        (
            {"chosen": [USER, said("a")], "rejected": [{**USER, "content": "?"}, said("b")]},
            "pairs",
            "f:1: chosen and rejected begin with different turns",
        ),
        (
            {"prompt": "p", "chosen": [said("a")] * 3, "rejected": "b"},
            "triples",
            "f:1: chosen: found 3 turns without a user's",
        ),
        (
            {"prompt": "p", "chosen": "a", "rejected": "b"},
            "triples",
            "f:1: found chosen, rejected; expected source, target and rejected",
        ),
        ({"prompt": "p", "target": "a", "rejected": "b"}, "triples", "found target, rejected"),
        ({"prompt": "p", "completion": "a"}, "pairs", "expected chosen and rejected"),
        ({"prompt": "p", "completion": "a"}, "labelled", "f:1: label: found none"),
        ({"prompt": "p", "completion": "a", "label": 1}, "labelled", "f:1: label: found 1"),
        ({"completion": "a", "label": True}, "labelled", "f:1: prompt: found none"),
    ],
)
def test_what_is_wrong_is_named(row, form, message):
    with pytest.raises(DataError, match=message):
        read_one(row, form)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_files(chatml, tmp_path: Path, kind: str):
    rows = [
        {"prompt": USER, "chosen": [said(f"s{i}"), said("t")], "rejected": [said("r")]}
        for i in range(3)
    ]
    path = tmp_path / f"f.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(json.dumps(rows) if kind == "json" else lines)
    found = list(answer_rows(PreferenceSettings(path=str(path)), "triples", chatml, Dropped()))
    assert [chatml.hf.decode(row.answers[0]) for row in found] == [f"s{i}<|end|>" for i in range(3)]
    limited = PreferenceSettings(path=str(path), limit=2)
    assert len(list(answer_rows(limited, "triples", chatml, Dropped()))) == 2


# ------------------------------------------------------------------------------------- the tokens

SETTINGS = PreferenceSettings(path="-")


def row_of(tokenizer, prompt, *answers, **sections):
    settings = SETTINGS.model_copy(update=sections)
    return tokenised(Preference("w", prompt, answers), tokenizer, settings)


@pytest.mark.parametrize("answer", ["a", "a<|end|>", "a<|end|>\n", "a<|end|><eos>"])
def test_a_chat_is_the_template_and_one_end(chatml, answer):
    row = row_of(chatml, ASKED, answer, "b")
    tokens = chatml.hf.convert_ids_to_tokens
    assert tokens(row.prompt) == ["<|user|>", "q", "<|end|>", "<|assistant|>"]
    assert [tokens(a) for a in row.answers] == [["a", "<|end|>"], ["b", "<|end|>"]]


def test_what_a_template_writes_after_its_end_token_is_not_learnt(chatml):
    hf = byte_level()
    hf.chat_template = hf.chat_template.replace("<|end|>", "<|end|>\n")
    row = row_of(wrap_tokenizer(hf, "lines"), ASKED, "a", "b")
    assert [answer[-1] for answer in row.answers] == [END, END]
    assert hf.decode(row.prompt) == "<|user|>q<|end|>\n<|assistant|>"


def test_a_template_without_an_end_gets_one():
    hf = byte_level()
    hf.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    row = row_of(wrap_tokenizer(hf, "bare"), ASKED, "a", "b")
    assert [hf.decode(a) for a in row.answers] == ["a\n<eos>", "b\n<eos>"]


def test_texts_have_one_begin_and_one_end(chatml, llama):
    row = row_of(llama, "The quick", " brown</s>", " lazy")
    assert llama.hf.convert_ids_to_tokens(row.prompt)[0] == "<s>"
    assert [ids.tolist().count(2) for ids in (row.prompt, *row.answers)] == [0, 1, 1]
    assert (row.prompt == 1).sum() == 1
    bare = row_of(llama, "The quick", " brown", " lazy", bos=False)
    np.testing.assert_array_equal(bare.prompt, row.prompt[1:])
    assert row_of(chatml, "The quick", " a", " b").answers[0][-1] == EOS


def test_a_space_of_the_templates_before_an_answer_is_learnt(llama):
    row = row_of(llama, ASKED, "dog", "fox")
    assert llama.hf.convert_ids_to_tokens(row.answers[0]) == ["▁dog", "</s>"]


def test_tokens_that_span_prompt_and_answer(chatml):
    # "The quick" is two tokens; with "ly" behind it, it is cut otherwise for one answer.
    whole = [chatml.encode("The dog" + a).ids.tolist() for a in ("s", " x")]
    prompt = chatml.encode("The do").ids.tolist()
    assert whole[0][: len(prompt)] != prompt
    found = row_of(chatml, "The do", "g sleeps", "x")
    assert found == "rows whose answers are tokenised with different prompts"


def test_an_end_token_inside_an_answer(chatml):
    inside = "rows with an end token inside an answer"
    assert row_of(chatml, ASKED, "a<|end|>b", "c") == inside
    assert row_of(chatml, ASKED, "a", "c<eos>d") == inside
    assert row_of(chatml, ASKED, "<|end|>", "c") == "rows whose answer is an end token alone"
    # As plain text, it is letters.
    assert row_of(chatml, "p", "a<|end|>b", "c").answers[0].tolist().count(EOS) == 1


@pytest.mark.parametrize(
    ("limits", "prompt", "lengths"),
    [
        ((40, 30), 11, (9, 3)),  # nothing to cut: 11 + 9
        ((20, 4), 11, (9, 3)),  # just fits
        ((19, 8), 8, (9, 3)),  # the prompt is cut to its end, all answers stay
        ((12, 8), 8, (4, 3)),  # and the longer answer loses its end
        ((12, 11), 11, (1, 1)),
    ],
)
def test_a_cut_gives_all_answers_the_same_prompt(chatml, limits, prompt, lengths):
    sections = dict(zip(("max_tokens", "max_prompt_tokens"), limits, strict=True))
    whole = row_of(chatml, "0123456789", "ABCDEFGH", "IJ")
    row = row_of(chatml, "0123456789", "ABCDEFGH", "IJ", **sections)
    np.testing.assert_array_equal(row.prompt, whole.prompt[-prompt:])
    assert tuple(map(len, row.answers)) == lengths
    for answer, uncut in zip(row.answers, whole.answers, strict=True):
        np.testing.assert_array_equal(answer, uncut[: len(answer)])


def test_answers_that_a_cut_makes_the_same(chatml):
    sections = {"max_tokens": 6, "max_prompt_tokens": 3}
    found = row_of(chatml, "0123456789", "abcX", "abcY", **sections)
    assert found == "rows whose answers are the same once they are cut"
    assert row_of(chatml, "0123456789", "abX", "abcd", "Y", **sections).answers[2].size == 2


def test_a_template_without_a_prompt_for_generation_is_refused(llama):
    hf = byte_level()
    hf.chat_template = hf.chat_template.partition("{% if")[0]
    with pytest.raises(DataError, match=r"template writes '<\|assistant\|>' in front of an answer"):
        check_template(wrap_tokenizer(hf, "mute"))
    check_template(llama)  # its prompt ends where an answer begins


def test_a_template_that_prompts_with_more_than_it_shows_is_refused():
    hf = byte_level()
    hf.chat_template = hf.chat_template.replace("%}<|assistant|>{%", "%}<|assistant|><think>{%")
    with pytest.raises(DataError, match=r"asks for an answer with .*<think>"):
        check_template(wrap_tokenizer(hf, "thinks"))


def test_a_tokenizer_without_an_end_is_refused():
    hf = byte_level()
    hf.eos_token = None
    with pytest.raises(DataError, match="names no end token"):
        row_of(wrap_tokenizer(hf, "endless"), "p", "a", "b")


def test_what_is_left_out_is_counted_and_named(chatml, tmp_path: Path, caplog):
    rows = [
        {"prompt": [USER], "chosen": [said(c)], "rejected": [said("b")]} for c in ("", "b", "a")
    ]
    path = tmp_path / "f.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped = Dropped()
    settings = PreferenceSettings(path=str(path))
    assert len(list(answer_rows(settings, "pairs", chatml, dropped))) == 1
    assert dropped == {
        "rows whose chosen is empty": 1,
        "rows whose chosen and rejected are the same": 1,
    }
    assert "f.jsonl:1 is left out: rows whose chosen is empty" in caplog.text


def test_no_room_for_answers():
    with pytest.raises(ValueError, match="expected less, so that an answer has room"):
        PreferenceSettings(path="x", max_tokens=10, max_prompt_tokens=10)


def test_the_store_gives_back_what_it_got(chatml, tmp_path: Path):
    rows = [row_of(chatml, "p" * (1 + i % 4), "a" * (1 + i % 5), "b") for i in range(600)]
    rows = [row._replace(liked=[None, True, False][i % 3]) for i, row in enumerate(rows)]
    write_rows(tmp_path / "rows.arrow", rows)
    stored = AnswerRows(tmp_path / "rows.arrow")
    assert len(stored) == 600
    for row, kept in zip(rows, stored, strict=True):
        np.testing.assert_array_equal(row.prompt, kept.prompt)
        assert [a.tolist() for a in row.answers] == [a.tolist() for a in kept.answers]
        assert row.liked is kept.liked
    digest = stored.digest()
    rows[7].answers[0][0] += 1
    write_rows(tmp_path / "other.arrow", rows)
    assert AnswerRows(tmp_path / "other.arrow").digest() != digest
