"""The demo's four models: three sources and a target, no two alike in architecture or tokenizer.

Only tokenizers are made here; the networks begin as configs, which the same flow that trains
anybody's model fills with weights. ``SOURCES`` know one skill each and next to nothing of the
others. ``TARGET`` is taught all three, none of them long enough to be good at it: like FuseChat's
pivot it is fair everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import log
from pathlib import Path
from random import Random
from string import printable
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from inarch.demo.world import SKILLS, Task, World, draw_task, spoil

MAX_TOKENS = 128
NUM_TOKENIZER_TASKS = 3000


class Marks(NamedTuple):
    """How a model spells the roles of a chat; the first ids of its vocabulary."""

    user: str
    bot: str
    end: str
    pad: str = "<pad>"
    unknown: str = "<unk>"


class DemoModel(NamedTuple):
    """One of the demo's models: what it is made of and what it is taught."""

    name: str
    marks: Marks
    tokenizer: Callable[[list[str], Marks], Tokenizer]
    """Texts to learn from -> the tokenizer."""
    config: dict[str, Any]
    """The architecture, in the keys of its transformers config."""
    shares: dict[str, float]
    """Share of each skill in what it is taught."""
    noise: dict[str, float]
    """For each skill, the probability that a piece of an answer it is taught is wrong."""
    num_steps: int
    """Optimiser steps, of 16 chats each, that it is taught for."""


def _byte_bpe(vocab_size: int) -> Callable[[list[str], Marks], Tokenizer]:
    def learn(texts: list[str], marks: Marks) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(marks),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    return learn


def _word_bpe(vocab_size: int) -> Callable[[list[str], Marks], Tokenizer]:
    """BPE over characters with a visible space; every digit is a token of its own."""

    def learn(texts: list[str], marks: Marks) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE(unk_token=marks.unknown))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [_spaces(), pre_tokenizers.Digits(individual_digits=True)]
        )
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(marks),
            initial_alphabet=list(printable),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    return learn


def _unigram(num_words: int) -> Callable[[list[str], Marks], Tokenizer]:
    """Unigram of the most frequent words, and of all characters for the rest.

    The library's own trainer takes its candidates from substrings that distinct words share, so on
    a small lexicon it learns no whole word; hence the vocabulary is set here.
    """

    def learn(texts: list[str], marks: Marks) -> Tokenizer:
        splitter = pre_tokenizers.Sequence([_spaces(), pre_tokenizers.Punctuation()])
        counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
        total = sum(counts.values())
        characters = ["▁", *printable]
        words = [(w, log(n / total)) for w, n in counts.most_common(num_words) if len(w) > 1]
        spare = min(score for _, score in words) - 1.0
        vocab = [(mark, 0.0) for mark in marks] + words + [(c, spare) for c in characters]
        tokenizer = Tokenizer(models.Unigram(vocab, unk_id=marks.index(marks.unknown)))
        tokenizer.pre_tokenizer = splitter
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
        tokenizer.add_special_tokens(list(marks))
        return tokenizer

    return learn


def _spaces() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(prepend_scheme="never")


_SHAPE = {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_TOKENS,
    "eos_token_id": Marks._fields.index("end"),
    "pad_token_id": Marks._fields.index("pad"),
}
_GATED = _SHAPE | {
    "intermediate_size": 352,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def _mostly(skill: str) -> dict[str, float]:
    return {s: 0.96 if s == skill else 0.02 for s in SKILLS}


def _careless_outside(skill: str) -> dict[str, float]:
    # A tenth of wrong pieces in its own skill keeps an expert from being certain: a certain expert
    # pays so much for each careless label that a model that knows nothing explains the text better.
    return {s: 0.1 if s == skill else 0.5 for s in SKILLS}


SOURCES = (
    DemoModel(
        name="facts",
        marks=Marks("<user>", "<bot>", "<eos>"),
        tokenizer=_byte_bpe(900),
        config={"model_type": "llama", "num_hidden_layers": 3, **_GATED},
        shares=_mostly("fact"),
        noise=_careless_outside("fact"),
        num_steps=600,
    ),
    DemoModel(
        name="translator",
        marks=Marks("<|ask|>", "<|reply|>", "<|end|>"),
        tokenizer=_word_bpe(600),
        config={
            "model_type": "gpt_neox",
            "num_hidden_layers": 3,
            "intermediate_size": 384,
            **_SHAPE,
        },
        shares=_mostly("trans"),
        noise=_careless_outside("trans"),
        num_steps=300,
    ),
    DemoModel(
        name="reckoner",
        marks=Marks("[Q]", "[A]", "</s>"),
        tokenizer=_unigram(240),
        config={"model_type": "qwen3", "num_hidden_layers": 3, "head_dim": 32, **_GATED},
        shares=_mostly("arith"),
        noise=_careless_outside("arith"),
        num_steps=800,
    ),
)

TARGET = DemoModel(
    name="target",
    marks=Marks("<|user|>", "<|assistant|>", "<|endofturn|>"),
    tokenizer=_byte_bpe(1200),
    config={"model_type": "llama", "num_hidden_layers": 4, **_GATED},
    # What is learnt fast is taught little and noisily, so that it is fair in all and good in none.
    shares={"fact": 0.34, "trans": 0.08, "arith": 0.58},
    noise={"fact": 0.2, "trans": 0.3, "arith": 0.1},
    num_steps=800,
)


def lessons(model: DemoModel, world: World, num_tasks: int, rng: Random) -> list[Task]:
    """Return what a model is taught: ``num_tasks`` random tasks in its mixture, with its noise."""
    skills = rng.choices(SKILLS, [model.shares[skill] for skill in SKILLS], k=num_tasks)
    return [spoil(draw_task(world, skill, rng), model.noise[skill], rng) for skill in skills]


def write_tokenizer(model: DemoModel, world: World, rng: Random, folder: Path) -> None:
    """Write a model's tokenizer, learnt from the whole world in the model's own mixture."""
    tasks = lessons(model, world, NUM_TOKENIZER_TASKS, rng)
    texts = [f" {text}" for task in tasks for text in (task.prompt, task.answer)]
    marks = model.marks
    PreTrainedTokenizerFast(
        tokenizer_object=model.tokenizer(texts, marks),
        eos_token=marks.end,
        pad_token=marks.pad,
        unk_token=marks.unknown,
        chat_template=_chat_template(marks),
        model_max_length=MAX_TOKENS,
    ).save_pretrained(folder)


def _chat_template(marks: Marks) -> str:
    # The space before each content makes the first word look like any other one to a tokenizer;
    # there is one, too, where the content brings its own.
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}"
        f"{marks.user} {{{{ message['content'] | trim }}}}"
        "{% else %}"
        f"{marks.bot} {{{{ message['content'] | trim }}}}{marks.end}"
        "{% endif %}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{marks.bot}{{% endif %}}"
    )
