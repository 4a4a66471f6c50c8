"""Answers of a chat model to many prompts at once.

Rows run in batches of similar length, padded on the left; which rows run together changes nothing
but the rounding of a padded batch. A row is never continued past the model's last position.

Shapes: B = rows of a batch, T = tokens of the longest one.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessorList

from inarch.errors import DataError
from inarch.io.models import max_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inarch.io.tokenizers import Tokenizer
    from inarch.records import Message

Ids = NDArray[np.int32]

_UNTOUCHED = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1}
"""What a model's own generation settings may change, and decoding here must not."""


class Completion(NamedTuple):
    """What a model writes behind a prompt."""

    text: str
    """Without specials."""
    cut: bool
    """It has the full length, and no end."""


def answer_greedily(
    model: Any,
    tokenizer: Tokenizer,
    chats: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[str]:
    """Return the model's most probable next turn in each chat, token by token, see `as_contents`.

    Args:
        model: A causal language model, on its device.
        tokenizer: Its tokenizer; its chat template opens the turn.
        chats: Chats that end with a turn of the user.
        max_new_tokens: An answer is cut here if the model does not end it before.
        batch_size: Prompts that run together.

    Raises:
        DataError: The tokenizer's chat template cannot open an answer or no token ends one, or a
            chat does not fit into the template or the model.
    """
    prompts = usable(read_prompts(model, tokenizer, chats))
    written = complete(model, tokenizer, prompts, max_new_tokens, batch_size)
    return as_contents(tokenizer, [one.text for one in written])


def as_contents(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Return what a model wrote as contents of turns.

    White space that the chat template writes in front of a content, but not where it asks for an
    answer, is the model's to write; within a content it would stand there twice.
    """
    header = _unasked_header(tokenizer.hf)
    return [text.removeprefix(header) for text in texts]


def read_prompts(
    model: Any, tokenizer: Tokenizer, chats: Sequence[Sequence[Message]]
) -> list[Ids | str]:
    """Return each chat as the tokens after which its answer begins, or why there are none.

    Raises:
        DataError: The tokenizer's chat template cannot open an answer, or no token ends one.
    """
    _check_template(tokenizer)
    opened = [_opened(tokenizer, chat) for chat in chats]
    encoded = iter(tokenizer.encode_many([text for text, why in opened if not why], specials=True))
    limit = max_positions(model.config)
    prompts: list[Ids | str] = []
    for _, why in opened:
        ids = None if why else next(encoded).ids
        if ids is not None and limit is not None and len(ids) >= limit:
            why = f"its prompt is as long as the model's {limit} positions, or longer"
        prompts.append(why if ids is None or why else ids)
    return prompts


def usable(prompts: Sequence[Ids | str]) -> list[Ids]:
    """Return the prompts if all can be answered.

    Raises:
        DataError: Names the first chat that cannot.
    """
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            raise DataError(f"chat {number} cannot be answered: {prompt}; drop or shorten it")
    return [prompt for prompt in prompts if not isinstance(prompt, str)]


@torch.no_grad()
def complete(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[Ids],
    max_new_tokens: int,
    batch_size: int,
    processors: Callable[[Sequence[int]], LogitsProcessorList] | None = None,
) -> list[Completion]:
    """Return what a model writes behind each prompt.

    Args:
        model: A causal language model, on its device.
        tokenizer: Its tokenizer.
        prompts: Tokens, ``[T]`` each, see `read_prompts`.
        max_new_tokens: An answer is cut here if the model does not end it before.
        batch_size: Prompts that run together.
        processors: Gives what changes the logits of a batch, from the numbers of its prompts; the
            largest logit is taken then.
    """
    ends = _end_ids(model, tokenizer)
    limit = max_positions(model.config)
    room = [
        max_new_tokens if limit is None else min(max_new_tokens, limit - len(p)) for p in prompts
    ]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    answers = [Completion("", cut=True)] * len(prompts)
    was_training = model.training
    model.eval()
    for num_tokens, same_room in groupby(order, key=lambda i: room[i]):
        rows = list(same_room)
        for batch in (rows[at : at + batch_size] for at in range(0, len(rows), batch_size)):
            written = _written(
                model,
                [prompts[i] for i in batch],
                GenerationConfig(
                    do_sample=False,
                    max_new_tokens=num_tokens,
                    eos_token_id=ends,
                    pad_token_id=tokenizer.roles.get("pad", ends[0]),
                    **_UNTOUCHED,
                ),
                processors(batch) if processors else None,
            )
            for i, ids in zip(batch, written.tolist(), strict=True):
                end = next((t for t, token in enumerate(ids) if token in ends), len(ids))
                text = tokenizer.hf.decode(
                    ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
                answers[i] = Completion(text, cut=end == len(ids))
    model.train(was_training)
    return answers


def _written(
    model: Any,
    prompts: Sequence[Ids],
    config: GenerationConfig,
    processors: LogitsProcessorList | None,
) -> torch.Tensor:
    """Return the new tokens of a batch, with its end token and what fills up behind it."""
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), config.pad_token_id)
    mask_BT = torch.zeros((len(prompts), width), dtype=torch.long)
    for b, prompt in enumerate(prompts):
        ids_BT[b, width - len(prompt) :] = torch.from_numpy(prompt)
        mask_BT[b, width - len(prompt) :] = 1
    out = model.generate(
        ids_BT.to(model.device),
        attention_mask=mask_BT.to(model.device),
        generation_config=config,
        logits_processor=processors,
    )
    new: torch.Tensor = out[:, width:]
    return new


def _opened(tokenizer: Tokenizer, chat: Sequence[Message]) -> tuple[str, str]:
    """Return the text up to where the answer begins, and why there is none, or ``""``."""
    turns = [message._asdict() for message in chat]
    try:
        text = tokenizer.hf.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        text.encode()
    except UnicodeEncodeError:
        return "", "it holds half of a surrogate pair, which has no UTF-8"
    except (TemplateError, TypeError, ValueError) as error:  # what its author did not foresee
        return "", f"the chat template refuses it ({error})"
    return text, "" if text else "the chat template writes nothing for it"


def _check_template(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that does not know how an answer opens and ends."""
    roles = tokenizer.roles
    if not getattr(tokenizer.hf, "chat_template", None) or not {"eot", "eos"} & roles.keys():
        raise DataError(
            f"{tokenizer.name}: found no chat template or no end-of-turn token; expected both, to "
            "know how an answer opens and ends. Set them and save_pretrained the tokenizer"
        )
    header = _unasked_header(tokenizer.hf)
    if header.strip():
        raise DataError(
            f"{tokenizer.name}: its chat template writes {header!r} in front of an answer, but not "
            "when it is asked for a prompt for generation, so that the model would have to write "
            "it; add `{% if add_generation_prompt %}...{% endif %}` with that text to "
            "tokenizer.chat_template and save the tokenizer"
        )


def _unasked_header(hf: Any) -> str:
    """Return what a template writes before an answer and leaves out where it asks for one."""
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "inarchprobe"}]
    try:
        before, _, _ = hf.apply_chat_template(chat, tokenize=False).rpartition("inarchprobe")
        asked = hf.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError):  # one with other demands; its chats will tell
        return ""
    return str(before[len(asked) :]) if before.startswith(asked) else ""


def _end_ids(model: Any, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that end an answer.

    They are the tokenizer's, and special ones that come with the model's settings for generation;
    what transformers fills in there from a config may be another tokenizer's.
    """
    given = getattr(model, "generation_config", None)
    named = (
        None if getattr(given, "_from_model_config", True) else getattr(given, "eos_token_id", None)
    )
    more = {named} if isinstance(named, int) else set(named or ())
    own = {tokenizer.roles[role] for role in ("eot", "eos") if role in tokenizer.roles}
    return sorted(own | (more & tokenizer.special_ids))
