"""What lies beside the weights comes along; code and weights do not."""

import os

from tests.tiny import byte_level, save_model, sentencepiece

from inarch.io.sidecar import SIDE_FILES, TOKENIZER_FILES, copy_side_files


def test_only_what_is_named_is_copied(tmp_path):
    source, out = tmp_path / "源", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        (source / name).write_text(name)
    for name in ("modeling.py", "model.safetensors", "pytorch_model.bin", "README.md", "x.json"):
        (source / name).write_text("no")
    (source / "vocab.json").mkdir()
    (source / "blob").write_text("linked")
    (source / "tokenizer.model").symlink_to("blob")
    (out / "config.json").write_text("old")
    copied = copy_side_files(source, out)
    assert set(copied) == {
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "tokenizer.model",
    }
    assert {name: (out / name).read_text() for name in os.listdir(out)} == {
        "config.json": "config.json",
        "tokenizer.json": "tokenizer.json",
        "chat_template.jinja": "chat_template.jinja",
        "tokenizer.model": "linked",
    }
    assert not (out / "tokenizer.model").is_symlink()


def test_only_what_is_asked_for(tmp_path):
    (tmp_path / "config.json").write_text("c")
    (tmp_path / "tokenizer.json").write_text("t")
    (tmp_path / "out").mkdir()
    assert copy_side_files(tmp_path, tmp_path / "out", TOKENIZER_FILES) == ("tokenizer.json",)
    assert os.listdir(tmp_path / "out") == ["tokenizer.json"]


def test_all_that_transformers_saves_is_known(tmp_path):
    saved = set()
    for made in (byte_level(), sentencepiece()):
        saved |= set(os.listdir(save_model(tmp_path / made.__class__.__name__, made)))
    assert saved - set(SIDE_FILES) == {"model.safetensors"}
    assert "chat_template.jinja" in saved
