"""Prompts and answers as token rows: one prompt for all answers of a row, one end per answer.

A chat's prompt is what the template writes before the model is to speak; the answer is what it
writes after that, up to the first end token, which is added where the template has none. So what
is learnt is what the model writes when it is used.

Differs:  WRPO's released code leaves out the prompt for generation, so that the header of the turn
          is scored, and adds a second end token. Where a row is too long it cuts answers to
          ``max_tokens - max_prompt_tokens``, however short the prompt; here to what the prompt
          leaves. TRL cuts ends only.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from inarch.align._read import Form, Preference, preferences
from inarch.data import UnreadableChat, file_rows, render
from inarch.errors import DataError
from inarch.io.tokenizers import Tokenizer
from inarch.records import Message
from inarch.settings import Settings

logger = logging.getLogger(__name__)

Ids = NDArray[np.int32]
_NAMED = 3
"""Rows that are named for each reason for which rows are left out."""


class PreferenceSettings(Settings):
    """Where preference rows are and how they are cut. A bare string is the path."""

    short = "path"

    path: str
    """A .jsonl, .json or .parquet file, or the id of a dataset of the hub."""
    split: str = "train"
    """Split of a hub dataset; files have none."""
    chosen: Literal["auto", "source", "target"] = "auto"
    """Which better answer of a triple a method of pairs or of single answers takes; ``auto`` is the
    source's for ``sft``, as in WRPO's first stage, and the target's for the others."""
    max_tokens: PositiveInt = 2048
    """Longest prompt with an answer; by default not more than the model has positions."""
    max_prompt_tokens: PositiveInt = Field(
        default_factory=lambda before: max(1, min(1800, before.get("max_tokens", 2048) * 9 // 10))
    )
    """Tokens of a prompt that stay, its end, in a row that is longer than that; by default 1800,
    and nine tenths of the longest row if that is less."""
    bos: bool = True
    """Prompts that are texts begin with the model's begin token, where its tokenizer names one."""
    limit: PositiveInt | None = None
    """Read only this many rows."""

    @model_validator(mode="after")
    def _room_for_answers(self) -> Self:
        if self.max_prompt_tokens >= self.max_tokens:
            raise ValueError(
                f"found max_prompt_tokens {self.max_prompt_tokens} and max_tokens"
                f" {self.max_tokens}, expected less, so that an answer has room"
            )
        return self


class AnswerRow(NamedTuple):
    """One prompt and the answers to it, as the tokens of one model."""

    prompt: Ids
    """``[P]``, P > 0."""
    answers: tuple[Ids, ...]
    """Each with its end token, unless it was cut; none is empty."""
    liked: bool | None = None
    """Label of a labelled row."""


class Dropped(Counter[str]):
    """Counts why rows were left out, and names the first ones."""

    def add(self, reason: str, where: str) -> None:
        """Count a row."""
        self[reason] += 1
        if self[reason] <= _NAMED:
            logger.warning("%s is left out: %s", where, reason)


def answer_rows(
    settings: PreferenceSettings, form: Form, tokenizer: Tokenizer, dropped: Dropped
) -> Iterator[AnswerRow]:
    """Yield the rows of a file in its order, tokenised and cut.

    Args:
        settings: Where they are, and how long they may be.
        form: What the method needs.
        tokenizer: The model's own, with its chat template.
        dropped: Counts the rows that are left out.

    Raises:
        DataError: A row is not of the form, or the template cannot prompt for an answer.
    """
    chat_is_checked = False
    for number, (where, row) in enumerate(file_rows(settings.path, settings.split)):
        if settings.limit is not None and number >= settings.limit:
            return
        reasons: Counter[str] = Counter()
        found = preferences(row, where, form, settings.chosen, reasons)
        for reason in reasons:
            dropped.add(reason, where)
        for preference in found:
            if not isinstance(preference.prompt, str) and not chat_is_checked:
                check_template(tokenizer)
                chat_is_checked = True
            made = tokenised(preference, tokenizer, settings)
            if isinstance(made, str):
                dropped.add(made, where)
            else:
                yield made


def check_template(tokenizer: Tokenizer) -> None:
    """Refuse a chat template that does not write the header of an answer when asked to.

    Raises:
        DataError: Names the header.
    """
    chat = [Message("user", "u"), Message("assistant", "a")]
    text, answer = _shown(tokenizer, chat)
    prompt = _prompt_text(tokenizer, chat[:-1])
    header = text[: answer.start].decode()
    if header.startswith(prompt) and header[len(prompt) :].strip():
        raise DataError(
            f"{tokenizer.name}: its chat template writes {header[len(prompt) :]!r} in front of an"
            " answer, but not when it is asked for a prompt for generation, so that the model would"
            " be trained to write it; add `{% if add_generation_prompt %}...{% endif %}` with that"
            " text to tokenizer.chat_template and save the tokenizer"
        )
    if not header.startswith(prompt):
        raise DataError(
            f"{tokenizer.name}: its chat template asks for an answer with {prompt!r}, but shows"
            f" answers after {header!r}; expected the same beginning; use a template that is made"
            " for training"
        )


def tokenised(
    preference: Preference, tokenizer: Tokenizer, settings: PreferenceSettings
) -> AnswerRow | str:
    """Return a row as tokens, or the reason why it is left out."""
    is_chat = not isinstance(preference.prompt, str)
    closing = _end_tokens(tokenizer, is_chat)
    texts = [_without_end(text, tokenizer, closing) for text in preference.answers]
    if not all(texts):
        return "rows whose answer is an end token alone"
    try:
        prompt_text, wholes = with_answers(preference.prompt, texts, tokenizer)
    except UnreadableChat as problem:
        return f"rows that cannot be rendered: {problem}"
    prompt, *whole_ids = (
        encoded.ids for encoded in tokenizer.encode_many([prompt_text, *wholes], specials=is_chat)
    )
    if any(not np.array_equal(ids[: len(prompt)], prompt) for ids in whole_ids):
        return "rows whose answers are tokenised with different prompts"
    answers = [_ended(ids[len(prompt) :], closing) for ids in whole_ids]
    if is_chat and any(_spells(text, tokenizer, closing) for text in texts):
        return "rows with an end token inside an answer"
    if not is_chat and settings.bos:
        prompt = _with_bos(prompt, tokenizer)
    if not len(prompt):
        return "rows with an empty prompt"
    cut = _cut(AnswerRow(prompt, tuple(answers), preference.liked), settings)
    better, worse = cut.answers[-2:] if len(cut.answers) > 1 else (cut.prompt, None)
    if worse is not None and np.array_equal(better, worse):
        return "rows whose answers are the same once they are cut"
    return cut


def with_answers(
    prompt: Any, answers: Sequence[str], tokenizer: Tokenizer
) -> tuple[str, list[str]]:
    """Return a prompt as a model reads it, and the same with each answer behind it.

    Raises:
        UnreadableChat: The chat template refuses the chat, or writes its prompt otherwise then.
    """
    if isinstance(prompt, str):
        return prompt, [prompt + answer for answer in answers]
    before = _prompt_text(tokenizer, prompt)
    wholes = []
    for answer in answers:
        shown, place = _shown(tokenizer, [*prompt, Message("assistant", answer)])
        header = shown[: place.start].decode()
        if not header.startswith(before) or header[len(before) :].strip():
            raise UnreadableChat("the chat template writes the prompt differently with an answer")
        wholes.append(shown.decode())
    return before, wholes


def _shown(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[bytes, Any]:
    """Return a rendered chat, and the place of its last answer."""
    rendering = render(tokenizer.hf, messages)
    return rendering.text.encode(), rendering.answers[-1]


def _prompt_text(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    from jinja2 import TemplateError

    turns = [message._asdict() for message in messages]
    try:
        text: str = tokenizer.hf.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError, ValueError) as error:  # what its author did not foresee
        raise UnreadableChat(f"the chat template refuses the chat: {error}") from error
    return text


def _end_tokens(tokenizer: Tokenizer, is_chat: bool) -> list[int]:
    """Return the ids that end an answer, the one that is written first."""
    names = ("eot", "eos") if is_chat else ("eos",)
    found = [tokenizer.roles[name] for name in names if name in tokenizer.roles]
    if not found:
        raise DataError(
            f"{tokenizer.name}: its tokenizer names no end token, so that answers would have no"
            " end; set tokenizer.eos_token and save it"
        )
    return found


def _without_end(text: str, tokenizer: Tokenizer, closing: Sequence[int]) -> str:
    """Return an answer without end tokens that are spelled at its end."""
    names = tuple(name for token in closing if (name := tokenizer.names[token]))
    bare = text
    while bare.rstrip().endswith(names):
        bare = bare.rstrip()
        bare = bare[: -max(len(name) for name in names if bare.endswith(name))]
    return bare


def _spells(text: str, tokenizer: Tokenizer, closing: Sequence[int]) -> bool:
    """Return whether an answer spells an end token, which a rendered chat reads as one."""
    return any((name := tokenizer.names[token]) and name in text for token in closing)


def _ended(ids: Ids, closing: Sequence[int]) -> Ids:
    """Return an answer's tokens up to its first end token, which is added where there is none."""
    at = np.flatnonzero(np.isin(ids, closing))
    return ids[: at[0] + 1] if len(at) else np.append(ids, np.int32(closing[0]))


def _with_bos(prompt: Ids, tokenizer: Tokenizer) -> Ids:
    bos = tokenizer.roles.get("bos")
    return prompt if bos is None else np.insert(prompt, 0, np.int32(bos))


def _cut(row: AnswerRow, settings: PreferenceSettings) -> AnswerRow:
    """Return a row whose prompt, the same for all answers, leaves them room."""
    prompt = row.prompt
    if len(prompt) + max(map(len, row.answers)) > settings.max_tokens:
        prompt = prompt[-settings.max_prompt_tokens :]
    room = settings.max_tokens - len(prompt)
    return row._replace(prompt=prompt, answers=tuple(answer[:room] for answer in row.answers))
