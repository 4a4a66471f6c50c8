"""Scores of a reward model: a sequence classifier with one output, read after the whole chat.

Shapes: B = chats of a batch, T = tokens of the longest one.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification

from inarch.data import UnreadableChat, render
from inarch.errors import WeightsError
from inarch.flows._scoring.question import NoScore, Question, Result, Scorer, Scores
from inarch.flows._scoring.settings import RewardModelSettings
from inarch.io.models import DTYPES, max_positions, quiet_transformers
from inarch.io.tokenizers import Tokenizer, load_tokenizer
from inarch.records import Message

logger = logging.getLogger(__name__)

Ids = NDArray[np.int32]

_AT_ONCE = 64
"""Questions whose answers are sorted by length together; their scores are kept together."""


def reward_model(settings: RewardModelSettings, device: str) -> Scorer:
    """Return a scorer that reads each answer with its prompt under the model's own chat template.

    Raises:
        WeightsError: It is no such model, or needs code of its own.
    """
    tokenizer = load_tokenizer(settings.path)
    model = load_reward_model(settings, device)
    pad = _pad(model, tokenizer)
    limit = min(settings.max_tokens, max_positions(model.config) or settings.max_tokens)

    def score(questions: Sequence[Question]) -> Scores:
        for start in range(0, len(questions), _AT_ONCE):
            part = questions[start : start + _AT_ONCE]
            rows = [_ids(q.prompt, a, tokenizer, limit) for q in part for a in q.answers]
            found = iter(_read(model, rows, pad, settings.batch_size))
            for number, question in enumerate(part, start):
                yield number, [next(found) for _ in question.answers]

    return score


def check_reward_model(path: str) -> None:
    """Say what a model's config alone shows to be wrong.

    Raises:
        WeightsError: It has several outputs or none, or needs code of its own.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load(path, error) from error
    if "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {}):
        raise WeightsError(
            f"{path} computes its score with code of its own, as ArmoRM does, and code of a"
            " checkpoint is never run; serve it and write a scorer.callable that asks the server,"
            " or give scorer.judge, or a reward model that transformers knows"
        )
    if config.num_labels != 1:
        raise WeightsError(
            f"{path} has {config.num_labels} outputs, expected one, the score; write a"
            " scorer.callable that makes one number of them, or give a reward model"
        )


def load_reward_model(settings: RewardModelSettings, device: str) -> Any:
    """Return a classifier in evaluation mode, with every weight from the checkpoint.

    Raises:
        WeightsError: It is no such model, or see `check_reward_model`.
    """
    path = settings.path
    check_reward_model(path)
    try:
        with quiet_transformers():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path,
                dtype="auto" if settings.dtype == "auto" else DTYPES[settings.dtype],
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
            )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise _cannot_load(path, error) from error
    absent = sorted({*report["missing_keys"], *(misfit[0] for misfit in report["mismatched_keys"])})
    if absent:
        raise WeightsError(
            f"{path} has no weights that fit {', '.join(absent[:3])}, so that its scores would be"
            " random; expected a trained sequence classifier, not a language model"
        )
    return model.eval().to(device)


def _cannot_load(path: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"cannot load the reward model {path}: {str(error).strip().splitlines()[0]} Expected a"
        " folder, or an id on the hub, of a sequence classifier with safetensors weights"
    )


def _pad(model: Any, tokenizer: Tokenizer) -> int | None:
    """Return the id that fills rows up, which the model must know; None if rows go alone."""
    known = model.config.get_text_config().pad_token_id
    pad = tokenizer.roles.get("pad") if known is None else int(known)
    if pad is None:
        logger.warning("%s names no pad token: answers are read one at a time", tokenizer.name)
    else:
        model.config.get_text_config().pad_token_id = pad
    return pad


def _ids(prompt: Sequence[Message], answer: str, tokenizer: Tokenizer, limit: int) -> Ids | NoScore:
    """Return a chat as tokens, or why it cannot be read."""
    try:
        shown = render(tokenizer.hf, [*prompt, Message("assistant", answer)])
    except UnreadableChat as problem:
        return NoScore(str(problem))
    (encoded,) = tokenizer.encode_many([shown.text], specials=True)
    if len(encoded.ids) > limit:
        return NoScore("longer than the reward model reads")
    return encoded.ids


@torch.no_grad()
def _read(
    model: Any, rows: Sequence[Ids | NoScore], pad: int | None, batch_size: int
) -> list[Result]:
    """Return the score of each row, those of similar length together."""
    results: list[Result] = [row if isinstance(row, NoScore) else 0.0 for row in rows]
    order = [i for i, row in enumerate(rows) if not isinstance(row, NoScore)]
    order.sort(key=lambda i: len(rows[i]))
    size = 1 if pad is None else batch_size
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        width = len(rows[batch[-1]])
        ids_BT = np.full((len(batch), width), pad or 0)
        mask_BT = np.zeros_like(ids_BT)
        for b, i in enumerate(batch):
            ids_BT[b, : len(rows[i])] = rows[i]
            mask_BT[b, : len(rows[i])] = 1
        ids, mask = (torch.from_numpy(a).to(model.device) for a in (ids_BT, mask_BT))
        logits_B1 = model(input_ids=ids, attention_mask=mask).logits
        for i, score in zip(batch, logits_B1[:, 0].float().tolist(), strict=True):
            results[i] = score
    return results
