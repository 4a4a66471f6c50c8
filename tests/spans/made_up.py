"""Tiny taggers of all kinds, with random weights that have opinions."""

from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, PreTrainedTokenizerFast

from inarch.spans.coders import Coder, PieceCoder, WordCoder
from inarch.spans.model import SpanConfig, SpanModel
from inarch.spans.words import WordVocabulary, split_words
from tests.tiny import TEXT, byte_level, sentencepiece

KINDS = ("bert", "roberta", "albert", "xlnet")
AUXES = ("none", "cls", "concat", "onatt", "att", "last4")

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "",
    "A cat",
    " \n\t ",
    "na\u00efve \U0001f468\u200d\U0001f469\u200d\U0001f467 dogs \U0001f44d\U0001f3fd\r\nsat",
    "\u0634\u062a\u0645 you\u00a0fool \u200d",
    "1 plus 2 is 3, and 10 plus 20 is 30. def f(x): return x + 1",
]


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer with the special tokens where encoders of a kind have them."""
    hf = sentencepiece() if kind == "albert" else byte_level()
    hf.add_special_tokens({"pad_token": "<pad>", "cls_token": "<cls>", "sep_token": "<sep>"})
    template = "$A <sep> <cls>:2" if kind == "xlnet" else "<cls> $A <sep>"
    hf.backend_tokenizer.post_processor = TemplateProcessing(
        single=template,
        special_tokens=[("<cls>", hf.cls_token_id), ("<sep>", hf.sep_token_id)],
    )
    if kind == "xlnet":
        hf.padding_side = "left"
        hf.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        hf.init_kwargs["model_input_names"] = hf.model_input_names  # what is saved
    return hf


def encoder_config(kind: str, vocab_size: int) -> dict[str, Any]:
    """The config of a tiny encoder of three layers."""
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 66,
    }
    if kind == "xlnet":
        size = {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32}
    if kind == "albert":
        size["embedding_size"] = 8
    config = AutoConfig.for_model(kind, vocab_size=vocab_size, **size)
    return config.to_dict()


def made(kind: str, aux: str = "none", head: str = "crf", seed: int = 0) -> tuple[SpanModel, Coder]:
    """A model that finds about half of the tokens toxic, and its coder."""
    if kind == "words":
        forms = [form for text in TEXT for form in split_words(text)[0]]
        coder: Coder = WordCoder(WordVocabulary.of(forms, 1))
        own = {
            "words": {"word_dim": 8, "char_filters": 8, "char_dim": 4, "hidden": 8, "layers": 3},
            "num_words": coder.vocabulary.num_words,
            "num_characters": coder.vocabulary.num_characters,
        }
    else:
        hf = tokenizer_of(kind)
        coder = PieceCoder(hf, 64)
        own = {"encoder": encoder_config(kind, len(hf)), **coder.settings}
    torch.manual_seed(seed)
    model = SpanModel(SpanConfig(**own, aux=aux, head=head)).eval()
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "crf" not in name:
            weight.data.mul_(3.0)
    if model.crf is not None:
        for weight in model.crf.parameters():
            weight.data.normal_()
    center(model, coder)
    return model, coder


@torch.no_grad()
def center(model: SpanModel, coder: Coder) -> None:
    """Give O and TOXIC the same scores on the average, so that both occur."""
    rows = [tokens.ids for tokens in coder.encode(TEXT)]
    found = model.emissions(**coder.batch(rows))
    model.classifier.bias -= found.scores_BTK[found.real_BT].mean(0)
