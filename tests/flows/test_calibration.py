"""Calibration rows: which documents, which tokens, and what is refused."""

import json
from pathlib import Path
from random import Random

import pytest
import torch

from inarch.errors import DataError
from inarch.flows._prune.calibration import CalibrationSettings, calibrate
from inarch.io.tokenizers import Tokenizer, wrap_tokenizer
from tests.tiny import CHATML, byte_level, sentencepiece


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    hf = byte_level()
    hf.chat_template = CHATML
    return wrap_tokenizer(hf, "tiny")


def rows_file(folder: Path, rows: list[dict[str, object]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def texts_file(folder: Path, num: int) -> str:
    return rows_file(folder, [{"text": f"Text {i} says {i * i}, 中文 🌍."} for i in range(num)])


def test_rows_are_drawn_joined_and_cut_as_published(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = texts_file(tmp_path, 9)
    found = calibrate(CalibrationSettings(path=path, samples=4, length=10), tokenizer, None)
    chosen = Random(42).sample(range(9), 4)
    text = "\n\n".join(f"Text {i} says {i * i}, 中文 🌍." for i in chosen)
    ids = [tokenizer.roles["bos"], *tokenizer.hf.encode(text, add_special_tokens=False)]
    whole = len(ids) // 10
    assert len(ids) % 10, "the tail must be worth a test"
    assert found.rows.ids_ST.tolist() == [ids[10 * i : 10 * i + 10] for i in range(whole)]
    assert found.rows.supervised_ST.tolist() == [[True] * 9 + [False]] * whole
    assert found.facts == {"num_documents": 4, "num_rows": whole, "num_tokens": 9 * whole}


def test_held_out_documents_were_not_drawn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = texts_file(tmp_path, 9)
    found = calibrate(CalibrationSettings(path=path, samples=5, length=8), tokenizer, None)
    assert found.held_out is not None
    drawn, spared = (
        {i for i in range(9) if f"Text {i} says" in tokenizer.hf.decode(rows.ids_ST.flatten())}
        for rows in (found.rows, found.held_out)
    )
    assert drawn <= set(Random(42).sample(range(9), 5))
    assert spared
    assert not drawn & spared


def test_another_seed_draws_others(tmp_path: Path, tokenizer: Tokenizer) -> None:
    settings = CalibrationSettings(path=texts_file(tmp_path, 30), samples=5, length=8)
    one = calibrate(settings, tokenizer, None)
    same = calibrate(settings, tokenizer, None)
    other = calibrate(settings.model_copy(update={"seed": 1}), tokenizer, None)
    assert one.digest == same.digest != other.digest


def test_answers_of_chats_count_and_padding_does_not(tmp_path: Path, tokenizer: Tokenizer) -> None:
    chats = [
        [{"role": "user", "content": "cat"}, {"role": "assistant", "content": answer}]
        for answer in ("yes", "the cat sat on the mat")
    ]
    path = rows_file(tmp_path, [{"messages": chat} for chat in chats])
    rows = calibrate(CalibrationSettings(path=path, length=64), tokenizer, None).rows
    assert rows.ids_ST.shape[0] == 2
    seen = [
        tokenizer.hf.decode(ids_T[1:][mask_T[:-1]])
        for ids_T, mask_T in zip(rows.ids_ST, rows.supervised_ST, strict=True)
    ]
    assert sorted(seen) == sorted(["yes<|end|>", "the cat sat on the mat<|end|>"])
    assert not rows.supervised_ST[:, -1].any()


def test_the_model_sets_the_longest_row(tmp_path: Path, tokenizer: Tokenizer) -> None:
    settings = CalibrationSettings(path=texts_file(tmp_path, 9), length=64)
    assert calibrate(settings, tokenizer, 7).rows.ids_ST.shape[1] == 7


def test_short_texts_make_one_short_row_and_a_warning(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    path = texts_file(tmp_path, 2)
    rows = calibrate(CalibrationSettings(path=path, length=2048), tokenizer, None).rows
    assert rows.ids_ST.shape[0] == 1
    assert "do not fill a row of 2048" in caplog.text


def test_a_quarter_is_held_out_of_few_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = texts_file(tmp_path, 12)
    found = calibrate(CalibrationSettings(path=path, samples=256, length=8), tokenizer, None)
    assert found.facts["num_documents"] == 9
    assert found.held_out is not None


def test_one_row_of_two_tokens_leaves_nothing_to_check(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    path = rows_file(tmp_path, [{"text": "cat mat"}, {"text": ""}])
    settings = CalibrationSettings(path=path, length=8)
    drawn = next(s for s in range(9) if Random(s).sample(range(2), 1) == [0])
    found = calibrate(settings.model_copy(update={"seed": drawn}), tokenizer, None)
    assert found.held_out is None
    assert "nothing is left to check" in caplog.text


def test_a_single_text_is_cut_in_two(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "one.txt"
    path.write_text("\n".join(f"Line {i} of a text." for i in range(40)))
    found = calibrate(CalibrationSettings(path=str(path), length=16), tokenizer, None)
    assert found.held_out is not None
    start = tokenizer.hf.decode(found.rows.ids_ST.flatten(), skip_special_tokens=True)
    end = tokenizer.hf.decode(found.held_out.ids_ST.flatten(), skip_special_tokens=True)
    assert start.startswith("Line 0 of")
    assert end.startswith("Line 30 of")


def test_a_single_text_without_a_place_to_cut_is_read_whole(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / "one.txt"
    path.write_text("中文🌍" * 40, encoding="utf-8")
    found = calibrate(CalibrationSettings(path=str(path), length=16), tokenizer, None)
    assert found.held_out is None
    assert found.facts["num_rows"] > 1


def test_a_tokenizer_without_begin_token_adds_none(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = texts_file(tmp_path, 3)
    settings = CalibrationSettings(path=path, length=8, bos=False)
    without = calibrate(settings, tokenizer, None).rows.ids_ST
    assert without[0, 0] != tokenizer.roles["bos"]
    other = wrap_tokenizer(sentencepiece(), "pieces")
    assert torch.equal(
        calibrate(CalibrationSettings(path=path, length=8), other, None).rows.ids_ST[0, :1],
        torch.tensor([other.roles["bos"]]),
    )


@pytest.mark.parametrize("rows", [[{"text": ""}], [{"text": ""}, {"text": ""}], [{"text": "a"}]])
def test_too_little_text_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, rows: list[dict[str, object]]
) -> None:
    settings = CalibrationSettings(path=rows_file(tmp_path, rows), bos=False)
    with pytest.raises(DataError, match="less than two tokens"):
        calibrate(settings, tokenizer, None)
