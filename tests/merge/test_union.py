"""The tokenizer of a merged model: what keeps its id, and what a text becomes."""

import errno
import json
from pathlib import Path

import pytest
from tests import tiny
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from inarch.errors import DataError
from inarch.merge._union import union_ids, write_tokenizer
from inarch.merge._vocabulary import Vocabulary, read_vocabulary

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces,\ta tab\nand def f(x):\n    return x + 1\n",
    "Grüße aus Zürich, naïve café — 12345 + 6.7e8",
    "你好，世界。今天天气很好",
    "emoji 😀👩‍👩‍👧 and 🇨🇭",
    "<s> [INST] not <|im_start|> special? </s>",
    "",
]


def united(out: Path, folders: list[Path], template: str | None = None) -> dict[str, int]:
    """Write the union of tokenizers, the first of which is the origin."""
    vocabularies = [vocabulary(folder) for folder in folders]
    ids = union_ids(vocabularies[0], vocabularies, ())
    new = {token: index for token, index in ids.items() if token not in vocabularies[0].ids}
    added = {
        token: flags
        for token in new
        if (flags := next((v.added[token] for v in vocabularies if token in v.added), None))
    }
    out.mkdir(parents=True)
    write_tokenizer(out, folders[0], template, new, added)
    return ids


def vocabulary(folder: Path) -> Vocabulary:
    found = read_vocabulary(folder)
    assert found is not None
    return found


def saved(folder: Path, hf: PreTrainedTokenizerFast) -> Path:
    hf.save_pretrained(folder)
    return folder


@pytest.fixture
def two(tmp_path) -> list[Path]:
    """GPT-2's kind, and Llama's kind with more added tokens."""
    other = tiny.sentencepiece()
    other.add_tokens(["plain added", "你好", "😀"])
    other.add_tokens([AddedToken("<sp>", special=True), AddedToken("<l>", lstrip=True)])
    return [saved(tmp_path / "a", tiny.byte_level()), saved(tmp_path / "b", other)]


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_a_full_disk_leaves_no_half_of_a_file(two, tmp_path, monkeypatch, name):
    write_text = Path.write_text

    def fail(path: Path, text: str, **how) -> None:
        write_text(path, text[:9], **how)
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(DataError, match=f"disk full while writing .*{name}"):
        united(tmp_path / "out", two, "{{ messages }}")
    left = tmp_path / "out" / name  # what the origin has is copied first
    assert not left.exists() or len(left.read_text()) > 9


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ids_of_the_origin_stay_and_the_others_follow_in_order(two, tmp_path, order):
    origin, other = (two[index] for index in order)
    ids = united(tmp_path / "u", [origin, other])
    made = AutoTokenizer.from_pretrained(tmp_path / "u")
    first, second = vocabulary(origin), vocabulary(other)
    assert made.get_vocab() == ids
    assert {token: ids[token] for token in first.ids} == first.ids
    assert ids.keys() == first.ids.keys() | second.ids.keys()
    behind = [token for token in second.ids if token not in first.ids]
    assert [ids[token] for token in behind] == list(range(first.size, first.size + len(behind)))


def test_a_text_becomes_what_the_origin_makes_of_it_but_for_added_tokens(two, tmp_path):
    united(tmp_path / "u", two)
    made, origin = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "u", two[0]))
    for text in TEXTS[:3]:
        assert made(text)["input_ids"] == origin(text)["input_ids"]
        assert made.decode(made(text)["input_ids"]) == text
    got = made.tokenize("a plain added 😀 <sp> 你好")
    assert [token for token in got if token in ("plain added", "😀", "<sp>", "你好")] == [
        *("plain added", "😀", "<sp>", "你好")
    ]
    flags = made.added_tokens_decoder[made.convert_tokens_to_ids("<l>")]
    assert (flags.lstrip, flags.special) == (True, False)
    assert made.added_tokens_decoder[made.convert_tokens_to_ids("<sp>")].special
    assert made.decode(made("x<sp>")["input_ids"], skip_special_tokens=True) == "x"
    # Ordinary tokens of the other kind are there, and cut nothing out of a text.
    assert "▁the" in made.get_vocab()
    assert made.convert_tokens_to_ids("▁the") not in made("the ▁the")["input_ids"]


def test_single_characters_that_were_spelled_as_bytes_become_tokens(tmp_path):
    origin, other = tiny.sentencepiece(), tiny.sentencepiece()
    state = json.loads(other.backend_tokenizer.to_str())
    state["model"]["vocab"] |= {"你": len(other), "好": len(other) + 1}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    ids = united(tmp_path / "u", [saved(tmp_path / "a", origin), saved(tmp_path / "b", other)])
    made = AutoTokenizer.from_pretrained(tmp_path / "u")
    assert len(origin("你")["input_ids"]) == 4  # a dummy space and three bytes
    assert made("你好")["input_ids"][1:] == [ids["你"], ids["好"]]


def test_nothing_new_leaves_the_files_as_they_are(two, tmp_path):
    united(tmp_path / "u", [two[0], two[0]])
    for file in two[0].iterdir():
        assert (tmp_path / "u" / file.name).read_bytes() == file.read_bytes()


def test_chat_template_and_roles_are_the_origins(two, tmp_path):
    united(tmp_path / "u", two)
    made = AutoTokenizer.from_pretrained(tmp_path / "u")
    assert made.chat_template == tiny.CHATML
    assert (made.bos_token, made.eos_token) == ("<bos>", "<eos>")
    # Another template replaces the one of the older files, too.
    config = json.loads((two[0] / "tokenizer_config.json").read_text())
    (two[0] / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "old"}))
    (two[0] / "chat_template.json").write_text('{"chat_template": "older"}')
    for name, folders in (("v", two), ("w", two[:1])):
        united(tmp_path / name, folders, template="{{ messages[0].content }}!")
        made = AutoTokenizer.from_pretrained(tmp_path / name)
        chat = [{"role": "user", "content": "hi"}]
        assert made.apply_chat_template(chat, tokenize=False) == "hi!"
        assert "chat_template" not in json.loads(
            (tmp_path / name / "tokenizer_config.json").read_text()
        )
        assert not (tmp_path / name / "chat_template.json").exists()


def test_a_template_for_a_model_without_a_tokenizer(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "u").mkdir()
    write_tokenizer(tmp_path / "u", tmp_path / "a", "{{ 1 }}", {}, {})
    assert [path.name for path in (tmp_path / "u").iterdir()] == ["chat_template.jinja"]


def test_what_spells_the_old_vocabulary_does_not_come_along(two, tmp_path):
    for name in ("vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json"):
        (two[0] / name).write_text("{}")
    (two[0] / "modeling.py").write_text("raise SystemExit")
    united(tmp_path / "u", two)
    names = {path.name for path in (tmp_path / "u").iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    united(tmp_path / "v", two[:1])
    names = {path.name for path in (tmp_path / "v").iterdir()}
    assert names >= {"vocab.json", "merges.txt", "tokenizer.model"}
    assert "modeling.py" not in names


def test_added_tokens_of_transformers_4_are_listed_where_it_looks(two, tmp_path):
    path = two[0] / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens_decoder": {}}))
    ids = united(tmp_path / "u", two)
    config = json.loads((tmp_path / "u/tokenizer_config.json").read_text())
    decoder = config["added_tokens_decoder"]
    assert decoder[str(ids["<sp>"])]["content"] == "<sp>"
    assert decoder[str(ids["<sp>"])]["special"]
    assert len(decoder) == 8  # <unk> <s> </s>, and five more


def test_a_unigram_model_takes_new_pieces_only_where_it_had_none(tmp_path):
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁a", -3.0), ("b", -3.0), ("c", -4.0), ("bc", -9.0)]
    origin = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token="<unk>"
    )
    origin.add_tokens([AddedToken("<x>", special=True)])
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"▁abc": 0, "d": 1, "<x>": 2}, "d"))
    )
    ids = united(tmp_path / "u", [saved(tmp_path / "a", origin), saved(tmp_path / "b", other)])
    assert ids == {piece: i for i, (piece, _) in enumerate(pieces)} | {"<x>": 6, "▁abc": 7, "d": 8}
    made = AutoTokenizer.from_pretrained(tmp_path / "u")
    assert made.get_vocab() == ids
    # ▁a b c: -10 beats the new piece ▁abc, whose score is 1000 below the least.
    assert made("▁abc<x>")["input_ids"] == [2, 3, 4, 6]
    assert made("d")["input_ids"] == [8]


REAL = {
    "mistral-v1": ["minimind"],
    "mistral-v3": ["mistral-v1", "gpt2"],
    "gpt2": ["minimind", "mistral-v1"],
    "gpt-neox-20b": ["gpt2"],
    "falcon": ["gpt-neox-20b"],
    "minimind": ["gpt2"],
    "spm-unigram-1k": ["minimind"],
}


SLOW = {"mistral-v3", "falcon", "gpt2", "gpt-neox-20b"}


@pytest.mark.parametrize(
    "origin", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in REAL]
)
def test_real_tokenizers(shared_data, tmp_path, origin):
    folders = [shared_data / "tokenizers" / name for name in (origin, *REAL[origin])]
    ids = united(tmp_path / "u", folders)
    made, before = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "u", folders[0]))
    assert made.get_vocab() == ids
    for folder in folders:
        assert set(vocabulary(folder).ids) <= set(ids)
    assert {token: ids[token] for token in before.get_vocab()} == before.get_vocab()
    assert type(made) is type(before)
    assert (made.bos_token_id, made.eos_token_id) == (before.bos_token_id, before.eos_token_id)
    added = [token for token in made.added_tokens_encoder if token not in before.get_vocab()]
    # Single characters become tokens where they were bytes (mistral) or unknown (spm).
    spelled = {"spm-unigram-1k": 1, "mistral-v1": 3, "mistral-v3": 3}.get(origin)
    for text in TEXTS[:spelled]:
        if not any(token in text for token in added):
            assert made(text)["input_ids"] == before(text)["input_ids"], text
    for token in added:
        assert ids[token] in made(f"a{token}b", add_special_tokens=False)["input_ids"], token
