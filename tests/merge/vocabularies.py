"""Tiny models whose rows say whose they are: row i of model k is 1000 k + i, of its head + 0.5."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inarch.io.weights import Checkpoint
from inarch.merge._sources import FileSource
from inarch.merge._tokens import TokenModel

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def words(text: str, *special: str, **roles: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, which are numbered as they come; special ones behind them."""
    vocabulary = {word: index for index, word in enumerate(text.split())}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {"bos_token": "<s>", "eos_token": "</s>"} | roles
    hf = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **roles)
    hf.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return hf


def save(folder: Path, hf: PreTrainedTokenizerFast, k: int, *, extra: int = 0, tied: bool = False):
    """Save a model with ``extra`` more rows than tokens; return it as a plan wants it."""
    config = LlamaConfig(
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        vocab_size=len(hf) + extra,
        max_position_embeddings=16,
        tie_word_embeddings=tied,
        bos_token_id=hf.bos_token_id,
        eos_token_id=hf.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    rows = torch.arange(len(hf) + extra)[:, None].expand(-1, 4) + 1000.0 * k
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(k)
        model.model.embed_tokens.weight.copy_(rows)
        if not tied:
            model.lm_head.weight.copy_(rows + 0.5)
    model.save_pretrained(folder)
    hf.save_pretrained(folder)
    return opened(folder)


def opened(folder: Path) -> TokenModel:
    config = json.loads((folder / "config.json").read_text())
    return TokenModel(str(folder), folder, config, config["vocab_size"])


def source(model: TokenModel, name: str) -> FileSource:
    checkpoint = Checkpoint.open(model.folder)
    return FileSource(checkpoint, checkpoint.aliases.get(name, name))
