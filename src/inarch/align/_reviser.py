"""SEFT's reviser as a model: the chat that it reads, the rows that it learns, how it decides.

A reviser reads the chat, the answer as a turn of the assistant's, and an instruction as a turn of
the user's. It writes a label on the first line and the answer below. Only what it writes is learnt.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  neither the template nor the instruction could be read; both are choices made here.
Shapes:   B = answers, L = labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from inarch.align._labels import LabelSettings, RevisionRow, Revisions, distances, revisions
from inarch.align._layout import Sequences, batch_of
from inarch.align._logps import answer_logps
from inarch.align._ranked import Chat, Ranked
from inarch.align._rows import Ids, with_answers
from inarch.data import UnreadableChat
from inarch.io.tokenizers import Tokenizer
from inarch.records import Message
from inarch.settings import Settings


class ReviserForm(Settings):
    """What a reviser reads and writes; it is kept with its weights."""

    labels: LabelSettings = LabelSettings()
    """The labels, and the gaps between scores that they stand for."""
    instruction: str = Field(
        default=(
            "How much does your last answer have to change? Write one of {labels} on a line of its"
            " own, and below it the best answer."
        )
    )
    """The turn behind the answer; ``{labels}`` becomes the labels' names."""

    @field_validator("instruction")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("found an empty text, expected what asks for a revision")
        return text


def reviser_chat(prompt: Chat, answer: str, form: ReviserForm) -> Chat:
    """Return what the reviser reads: a chat, the answer to it, and the instruction."""
    names = ", ".join(form.labels.names)
    instruction = Message("user", form.instruction.replace("{labels}", names))
    return (*prompt, Message("assistant", answer), instruction)


def reviser_lessons(
    rows: Iterable[Ranked], form: ReviserForm, generator: torch.Generator, *, keeps: bool = True
) -> Revisions:
    """Return what a reviser learns from answers of known quality.

    Args:
        rows: Prompts with scored answers.
        form: The labels.
        generator: Draws the best answers that are to be kept.
        keeps: False leaves out what is to be kept, which makes a plain rewriter, for comparison.

    Raises:
        DataError: No answer is to be revised.
    """
    found = [d for row in rows for d in distances(row.where, row.prompt, row.answers, row.scores)]
    made = revisions(found, form.labels, generator)
    if keeps:
        return made
    revised = tuple(row for row in made.rows if row.label)
    return made._replace(rows=revised, counts=(0, *made.counts[1:]))


def as_answers(rows: Iterable[RevisionRow], form: ReviserForm) -> Iterator[dict[str, Any]]:
    """Yield lessons as rows of a file that the method ``sft`` learns from."""
    for row in rows:
        chat = reviser_chat(_turns(row.prompt), row.original, form)
        yield {"prompt": [turn._asdict() for turn in chat], "completion": row.target}


def _turns(prompt: Any) -> Chat:
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


class Opening(NamedTuple):
    """How a model's answer may begin."""

    ids: Ids
    """Its tokens, as they are where more follows, ``[T]``."""
    text: str
    """What they spell."""


def openings(chat: Chat, names: Sequence[str], tokenizer: Tokenizer) -> list[Opening] | None:
    """Return each label as the first tokens of an answer, up to the one that ends the label.

    A token may hold the line break behind a label too, as it does in what the reviser learns.

    Args:
        chat: What the reviser reads.
        names: The labels.
        tokenizer: The reviser's.

    Returns:
        None where the chat template cannot show the chat or the labels change its tokens.
    """
    try:
        before, wholes = with_answers(chat, [f"{name}\nx" for name in names], tokenizer)
    except UnreadableChat:
        return None
    prompt, *encoded = tokenizer.encode_many([before, *wholes], specials=True)
    found = []
    for name, whole, row in zip(names, wholes, encoded, strict=True):
        if not np.array_equal(row.ids[: len(prompt.ids)], prompt.ids):
            return None
        begins = whole.index(name, len(before))
        end = len((whole[:begins] + name).encode())
        last = int(np.argmax(row.ends >= end))
        spelled = whole.encode()[len(whole[:begins].encode()) : int(row.ends[last])]
        found.append(Opening(row.ids[len(prompt.ids) : last + 1], spelled.decode()))
    return found


def opening_logps(
    model: Any, prompts: Sequence[Ids], opened: Sequence[Sequence[Opening]]
) -> Tensor:
    """Return the log-prob of each opening of each answer, in nats, float32, ``[B, L]``.

    Args:
        model: A causal LM, on its device.
        prompts: Tokens of B prompts.
        opened: The L openings of each.
    """
    rows = [
        Sequences((prompt,) * len(found), tuple(one.ids for one in found))
        for prompt, found in zip(prompts, opened, strict=True)
    ]
    batch = {name: value.to(model.device) for name, value in batch_of(rows).items()}
    with torch.no_grad():
        return answer_logps(model, batch).view(-1, len(rows)).T.cpu()
