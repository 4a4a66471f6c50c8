"""The flow behind `inarch match`: files in, one report out."""

import json
from pathlib import Path

import pytest

from inarch.errors import DataError, WeightsError
from inarch.flows import match as flow
from inarch.match.vocabulary import MatchSettings

from ..tiny import byte_level, save_model, sentencepiece


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    byte_level().save_pretrained(root / "bytes")
    sentencepiece().save_pretrained(root / "spm")
    return str(root / "bytes"), str(root / "spm")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))


TEXT = "The quick brown fox\n\tjumps over 12 lazy dogs. 你好 😀\n"


def test_a_text_file_is_one_text(folders, tmp_path):
    file = tmp_path / "some.py"  # any name will do
    file.write_text(TEXT)
    report = flow.run(*folders, file)
    assert report.texts == 1
    assert report.used == report.available > 20
    assert report.wrong == 0
    assert report.inexact_rows == 0


def test_a_corpus_of_texts_and_chats(folders, tmp_path):
    file = tmp_path / "corpus.jsonl"
    chat = [{"role": "user", "content": "Hello cat"}, {"role": "assistant", "content": "The dog"}]
    rows = [{"text": TEXT}, {"messages": chat}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = flow.run(*folders, file)
    assert report.texts == 3
    assert report.wrong == 0


def test_look_and_sentence(folders, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n\n  \nTwo words\nThe quick brown fox jumps\n")
    assert flow.sentence_of(file) == "The quick brown fox jumps"
    assert flow.sentence_of(file, max_chars=5) == "The q"
    file.write_text("\n\n你好\n")
    assert flow.sentence_of(file) == "你好"
    tokens = flow.look(*folders, "The quick cat")
    assert "".join(token.text for token in tokens) == "The quick cat"
    assert {token.state for token in tokens} <= {"used", "prefix", "none"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found no file"), (b"", "found no text"), (b"ab\xff", "byte 2 is not UTF-8")],
)
def test_bad_files(folders, tmp_path, content, message):
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        flow.run(*folders, file)


def test_no_tokenizer(folders, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("a")
    with pytest.raises(WeightsError, match="Check the path"):
        flow.run(folders[0], str(tmp_path / "absent"), file)


def test_a_real_pair(shared_data):
    text = Path(flow.__file__)  # code with indentation
    report = flow.run(
        str(shared_data / "tokenizers" / "minimind"),
        str(shared_data / "models" / "stories260K"),
        text,
    )
    assert report.used == report.available
    assert report.wrong == 0
    assert report.mapped_mass == 1.0


def test_the_settings_choose_how_ids_are_matched(tmp_path):
    save_model(tmp_path / "t", byte_level())
    save_model(tmp_path / "s", sentencepiece(), kind="gpt_neox")
    (tmp_path / "notes.txt").write_text("The cat sat on the mat. 12 plus 3.\n")
    places = (str(tmp_path / "t"), str(tmp_path / "s"), tmp_path / "notes.txt")
    mapped = {
        name: flow.run(*places, MatchSettings(vocabulary=name)).mapped_mass
        for name in ("bytes", "exact", "statistics")
    }
    assert mapped["bytes"] == 1
    assert mapped["exact"] < mapped["bytes"]
    assert 0 < mapped["statistics"] <= 1
