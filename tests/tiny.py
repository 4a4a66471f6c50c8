"""Tiny tokenizers and models of different kinds, made on the spot."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

TEXT = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps.",
    "A cat sat on the mat, and the cat was happy with the hat.",
    "1 plus 2 is 3, and 10 plus 20 is 30.",
    "def f(x):\n    return x + 1\n",
] * 4

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content | trim }}"
    "{{ eos_token }}{% else %}[{{ m.role }}] {{ m.content }} [/]{% endif %}{% endfor %}"
)
ROLES = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]


def byte_level(vocab_size: int = 320) -> PreTrainedTokenizerFast:
    """GPT-2's kind, with ChatML."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<bos>", "<eos>", *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXT, trainer)
    hf = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>")
    hf.chat_template = CHATML
    return hf


def sentencepiece(vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """Llama's kind: dummy prefix, byte fallback; its template trims and puts a space in front."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=pieces, show_progress=False, max_token_length=8
    )
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.train_from_iterator(TEXT, trainer)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    # Training made specials of the byte pieces, and split words as the real ones do not.
    state = json.loads(made.to_str())
    state |= {"added_tokens": state["added_tokens"][:3], "pre_tokenizer": None}
    hf = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    hf.chat_template = PLAIN
    return hf


def save_model(
    folder: Path, hf: PreTrainedTokenizerFast, *, kind: str = "llama", seed: int = 0, extra: int = 0
) -> Path:
    """Save a tiny random model with its tokenizer; its head is ``extra`` wider than that."""
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"intermediate_size": 32, "vocab_size": len(hf) + extra, "max_position_embeddings": 256}
    config = LlamaConfig(**size) if kind == "llama" else GPTNeoXConfig(**size)
    config.bos_token_id = config.eos_token_id = None
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    hf.save_pretrained(folder)
    return folder
