"""Tiny tokenizers whose segmentations can be worked out by hand."""

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inarch.io.spelling import byte_characters
from inarch.io.tokenizers import wrap_tokenizer


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))


def _byte_level(*merges, add_prefix_space=False, **specials):
    vocabulary = {c: n for n, c in enumerate(byte_characters())}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Backend(models.BPE(vocab=vocabulary, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, **(specials or {"eos_token": "<|end|>"}))
    return wrap_tokenizer(hf, "bytes")


def _spm(*merges, words=(), scheme=None):
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *"abnht!", *words]
    tokens += [left + right for left, right in merges]
    backend = Backend(
        models.BPE(
            vocab={token: n for n, token in enumerate(dict.fromkeys(tokens))},
            merges=list(merges),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if scheme is None:
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return wrap_tokenizer(hf, "spm")


@pytest.fixture(scope="session")
def byte_level():
    """Builds a byte-level BPE tokenizer from merges."""
    return _byte_level


@pytest.fixture(scope="session")
def spm():
    """Builds a SentencePiece-like BPE tokenizer with byte fallback and a dummy space in front."""
    return _spm
