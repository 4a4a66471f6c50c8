"""How well a model of the demo knows each skill, asked in prompts that it has never met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.data import Reader, digest, read
from inarch.demo.world import SKILLS, Task
from inarch.evaluate import bits_per_byte, score_answers
from inarch.io.files import digest_folder
from inarch.io.generation import answer_greedily
from inarch.io.models import load_model
from inarch.io.runs import stage
from inarch.io.tokenizers import Tokenizer, load_tokenizer
from inarch.records import Document, Message

MAX_ANSWER_TOKENS = 40
"""Longer than any right answer in any of the four tokenizers."""


class Score(NamedTuple):
    """One model on one skill."""

    skill: str
    piece_frac: float
    """Share of the pieces of the right answers that the model writes at their place."""
    exact_frac: float
    """Share of the prompts that it answers right in full."""
    bits_per_byte: float
    """Its surprise at the right answers, each with the end of its turn."""


class ModelCard(NamedTuple):
    """What a model of the demo is made of, and how good it is."""

    architecture: str
    """``model_type`` of its config."""
    num_params: int
    vocabulary: int
    """Tokens that its tokenizer knows."""
    scores: tuple[Score, ...]
    """In the order of SKILLS."""


def reward(chat: Sequence[Any], answers: Sequence[str], right: str) -> list[float]:
    """Return the share of right pieces of each answer, as a scorer of ``inarch align build`` does.

    Args:
        chat: What was asked; not looked at.
        answers: What was answered.
        right: The right answer.
    """
    return [score_answers([answer], [right]).piece_frac for answer in answers]


def score(model: Path, tasks: Sequence[Task], out: Path) -> ModelCard:
    """Return what a model folder is, and its scores on some tasks.

    They are kept in ``out``, so that a demo that goes on does not ask again.

    Args:
        model: Folder with weights and tokenizer.
        tasks: What it is asked, some of every skill.
        out: Folder of this stage.
    """
    with stage(
        out, "score", {"max_answer_tokens": MAX_ANSWER_TOKENS}, inputs_of(model, tasks)
    ) as opened:
        if not opened.done:
            network, tokenizer = load_model(model), load_tokenizer(str(model))
            opened.note(
                architecture=network.config.model_type,
                num_params=network.num_parameters(),
                vocabulary=tokenizer.size,
                scores=[s._asdict() for s in ask(network, tokenizer, tasks)],
            )
        scored = tuple(Score(**row) for row in opened.facts["scores"])
        return ModelCard(**opened.facts | {"scores": scored})


def inputs_of(model: Path, tasks: Sequence[Task]) -> dict[str, str]:
    """Return the digests of what a score depends on: weights, prompts and right answers."""
    texts = "".join(task.prompt + task.answer for task in tasks)
    return {"model": digest_folder(model), "tasks": digest(texts, None).hex()}


def ask(network: Any, tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[Score]:
    """Return the scores of a model in memory, in the order of SKILLS."""
    return [
        _score(network, tokenizer, [task for task in tasks if task.skill == skill])
        for skill in SKILLS
    ]


def _score(network: Any, tokenizer: Tokenizer, tasks: Sequence[Task]) -> Score:
    asked = [(Message("user", task.prompt),) for task in tasks]
    answers = answer_greedily(
        network, tokenizer, asked, max_new_tokens=MAX_ANSWER_TOKENS, batch_size=len(tasks)
    )
    right = [task.answer for task in tasks]
    documents = [
        Document(i, None, (*turns, Message("assistant", answer)), tasks[0].skill, b"", True)
        for i, (turns, answer) in enumerate(zip(asked, right, strict=True))
    ]
    rows = read(Reader(tokenizer, tokenizer), documents)
    bits = bits_per_byte(network, rows, sum(len(answer.encode()) for answer in right))
    found = score_answers(answers, right)
    return Score(tasks[0].skill, found.piece_frac, found.exact_frac, bits)
