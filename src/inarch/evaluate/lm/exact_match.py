"""Answers that a model writes greedily, and whether they are exactly what is right.

Source:  lm-evaluation-harness 0.4.13, output type ``generate_until`` with ``exact_match`` and the
         filters ``regex`` and ``remove_whitespace``.
Differs: an answer ends at the end token; lm-eval, of a model whose settings name no end token,
         keeps what a batch made it write behind. Settings for generation that came with the model
         (penalties, forbidden tokens) are left aside. Prompts are the same tokens alone as in a
         batch.
Shapes:  B = rows of a batch, T = tokens.
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from inarch.errors import DataError, SettingsError
from inarch.evaluate.lm._questions import Question, WriteForm
from inarch.evaluate.lm._reader import Reader
from inarch.evaluate.lm._texts import Ids, encode
from inarch.io.progress import track

logger = logging.getLogger(__name__)

_LOOK_BACK = 2
"""Tokens that a stop text may take more than written alone; one in still more ends no answer, which
costs time, as what is behind it is cut off in the end."""


class Written(NamedTuple):
    """What a model wrote, for one question."""

    text: str
    """Up to the first stop."""
    answer: str
    """What the filters leave."""
    exact_match: float
    """1 if that is right, else 0."""


def write(reader: Reader, questions: Sequence[Question], form: WriteForm) -> list[Written]:
    """Return what a model writes, and whether it is right.

    Args:
        reader: The model.
        questions: With right answers.
        form: Stops, filters, and how answers are compared.

    Raises:
        SettingsError: The answers would fill the window, or the regex is none.
        DataError: A prompt has no token.
    """
    room = reader.window - form.max_new_tokens
    if room < 1:
        raise SettingsError(
            f"found max_new_tokens: {form.max_new_tokens}, but the model reads"
            f" {reader.window} tokens; expected fewer, as a prompt must fit in front"
        )
    pattern = _compiled(form.regex)
    whole = encode(reader.hf, [question.prompt for question in questions])
    prompts = [ids[-room:] for ids in whole]
    num_cut = sum(len(ids) > room for ids in whole)
    if num_cut:
        logger.warning("%d prompts are cut at their begin to fit into %d tokens", num_cut, room)
    for question, ids in zip(questions, prompts, strict=True):
        if not len(ids):
            raise DataError(f"{question.where}: the prompt has no token; expected at least one")
    texts = _texts(reader, prompts, form)
    answers = [_filtered(text, form, pattern) for text in texts]
    return [
        Written(text, answer, float(_normal(answer, form) in {_normal(a, form) for a in q.answers}))
        for text, answer, q in zip(texts, answers, questions, strict=True)
    ]


def _compiled(regex: str | None) -> re.Pattern[str] | None:
    try:
        return None if regex is None else re.compile(regex)
    except re.error as error:
        raise SettingsError(f"found regex: {regex!r}, which is none: {error}") from None


def _filtered(text: str, form: WriteForm, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        found = pattern.findall(text)
        try:
            match = found[form.match]
        except IndexError:
            match = form.fallback
        if isinstance(match, tuple):
            match = next((part for part in match if part), form.fallback)
        text = match.strip()
    return text.strip() if form.strip else text


def _normal(text: str, form: WriteForm) -> str:
    """Return a text as it is compared."""
    if form.ignore_case:
        text = text.lower()
    dropped = string.punctuation * form.ignore_punctuation + string.digits * form.ignore_numbers
    return text.translate(str.maketrans("", "", dropped))


# ------------------------------------------------------------------------------------ generation


def _texts(reader: Reader, prompts: Sequence[Ids], form: WriteForm) -> list[str]:
    model, hf = reader.model, reader.hf
    ends = _ends(model, hf)
    stops = [*form.stop, *([] if hf.eos_token_id is None else [hf.decode([hf.eos_token_id])])]
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=form.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=hf.pad_token_id if hf.pad_token_id is not None else (ends or [0])[0],
    )
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    texts = [""] * len(prompts)
    with track("writing answers", len(prompts), "answers") as advance:
        while order:
            size = max(1, reader.batch_tokens // (len(prompts[order[0]]) + form.max_new_tokens))
            batch, order = order[:size], order[size:]
            new_BT = _generate(model, hf, [prompts[i] for i in batch], stops, config)
            for i, ids in zip(batch, new_BT.tolist(), strict=True):
                end = next((t for t, token in enumerate(ids) if token in ends), len(ids))
                texts[i] = _cut(hf.decode(ids[:end], skip_special_tokens=True), stops)
            advance(len(batch))
    return texts


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text


def _ends(model: Any, hf: Any) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's, and those of the model's settings."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = {named} if isinstance(named, int) else set(named or ())
    return sorted(ids | ({hf.eos_token_id} - {None}))


@torch.no_grad()
def _generate(
    model: Any, hf: Any, prompts: Sequence[Ids], stops: Sequence[str], config: GenerationConfig
) -> Tensor:
    """Return the new tokens of a batch, padded on the left."""
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), config.pad_token_id)
    mask_BT = torch.zeros_like(ids_BT)
    for b, ids in enumerate(prompts):
        ids_BT[b, width - len(ids) :] = torch.from_numpy(ids)
        mask_BT[b, width - len(ids) :] = 1
    own, model.generation_config = model.generation_config, config  # fills in what is not set
    try:
        out_BT: Tensor = model.generate(
            ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_Stops(hf, stops, width, len(prompts))]),
        )
    finally:
        model.generation_config = own
    return out_BT[:, width:]


class _Stops(StoppingCriteria):
    """Ends each row of its own when it has written one of some texts."""

    def __init__(self, hf: Any, stops: Sequence[str], width: int, num_rows: int) -> None:
        self._hf, self._stops, self._width = hf, stops, width
        lengths = (len(ids) for ids in encode(hf, stops, specials=False)) if stops else ()
        self._look = max(lengths, default=0) + _LOOK_BACK
        self._done = [False] * num_rows

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        """Return which rows are done, ``[B]``."""
        tails = input_ids[:, self._width :][:, -self._look :].tolist()
        rows = [b for b, done in enumerate(self._done) if not done]
        for b, text in zip(rows, self._hf.batch_decode([tails[b] for b in rows]), strict=True):
            self._done[b] = any(stop in text for stop in self._stops)
        return torch.tensor(self._done, device=input_ids.device)
