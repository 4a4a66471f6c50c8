"""Which id a model gives each token."""

import json

import pytest
from tests import tiny
from tokenizers import AddedToken
from transformers import AutoTokenizer

from inarch.errors import WeightsError
from inarch.merge._vocabulary import read_vocabulary

REAL = ("gpt2", "gpt-neox-20b", "falcon", "mistral-v1", "mistral-v3", "minimind", "spm-unigram-1k")


@pytest.mark.parametrize("name", REAL)
def test_ids_of_real_tokenizers_are_those_of_transformers(shared_data, name):
    folder = shared_data / "tokenizers" / name
    found, hf = read_vocabulary(folder), AutoTokenizer.from_pretrained(folder)
    assert found.ids == hf.get_vocab()
    assert list(found.ids.values()) == sorted(found.ids.values())
    assert found.size == len(hf)
    assert found.added.keys() == hf.added_tokens_encoder.keys()


def test_added_tokens_and_how_they_are_found(tmp_path):
    hf = tiny.byte_level()
    hf.add_tokens([AddedToken("😀", single_word=True), AddedToken("你", rstrip=True, special=True)])
    hf.save_pretrained(tmp_path)
    found = read_vocabulary(tmp_path)
    assert found.ids == hf.get_vocab()
    assert found.added["😀"] == {
        "single_word": True,
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "special": False,
    }
    assert found.added["你"]["rstrip"]
    assert found.added["你"]["special"]


def test_added_tokens_that_older_files_keep_beside(tmp_path):
    hf = tiny.byte_level()
    hf.save_pretrained(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<old>": len(hf) + 1, "<bos>": 0}))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {str(len(hf)): {"content": "<older>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = read_vocabulary(tmp_path)
    assert found.ids == hf.get_vocab() | {"<older>": len(hf), "<old>": len(hf) + 1}
    assert found.added["<older>"]["special"]
    assert not found.added["<old>"]["special"]
    assert found.size == len(hf) + 2


def test_files_without_a_tokenizer_json_are_read_by_transformers(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    found = read_vocabulary(tmp_path)
    assert {token: found.ids[token] for token in ("a", "b", "ab")} == {"a": 0, "b": 1, "ab": 2}
    assert found.state["model"]["merges"]


def test_a_folder_without_tokenizer_and_broken_ones(tmp_path):
    assert read_vocabulary(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 0}}}')
    with pytest.raises(WeightsError, match="gives the id 0 to both 'a' and 'b'"):
        read_vocabulary(tmp_path)
    for content in ('{"model": {}}', '{"model": 3}', '{"added_tokens": []}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(WeightsError, match="lists no vocabulary"):
            read_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "added_tokens": null}')
    assert read_vocabulary(tmp_path).added == {}
    (tmp_path / "tokenizer.json").write_text('{"model"')
    with pytest.raises(WeightsError, match="no JSON"):
        read_vocabulary(tmp_path)
