"""Greedy answers of a chat model to many prompts at once.

Shapes: B = prompts of a batch, T = tokens of the longest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from inarch.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inarch.io.tokenizers import Tokenizer
    from inarch.records import Message

_UNTOUCHED = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1}
"""What a model's own generation settings may change, and greedy decoding must not."""


@torch.no_grad()
def answer_greedily(
    model: Any,
    tokenizer: Tokenizer,
    chats: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[str]:
    """Return the model's most probable next turn in each chat, token by token, without specials.

    Args:
        model: A causal language model, on its device.
        tokenizer: Its tokenizer; its chat template opens the turn.
        chats: Chats that end with a turn of the user.
        max_new_tokens: An answer is cut here if the model does not end it before.
        batch_size: Prompts that run together, padded on the left.

    Raises:
        DataError: The tokenizer has no chat template, or names no token that ends a turn.
    """
    hf, roles = tokenizer.hf, tokenizer.roles
    ends = sorted({roles[role] for role in ("eot", "eos") if role in roles})
    if not getattr(hf, "chat_template", None) or not ends:
        raise DataError(
            f"{tokenizer.name}: found no chat template or no end-of-turn token; expected both, to "
            "know how an answer opens and ends. Set them and save_pretrained the tokenizer"
        )
    opened = [
        hf.apply_chat_template(
            [message._asdict() for message in chat], tokenize=False, add_generation_prompt=True
        )
        for chat in chats
    ]
    prompts = [encoded.ids for encoded in tokenizer.encode_many(opened, specials=True)]
    pad = roles.get("pad", ends[0])
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=pad,
        **_UNTOUCHED,
    )
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = len(prompts[batch[-1]])
        ids_BT = torch.full((len(batch), width), pad)
        mask_BT = torch.zeros((len(batch), width), dtype=torch.long)
        for b, i in enumerate(batch):
            ids_BT[b, width - len(prompts[i]) :] = torch.from_numpy(prompts[i])
            mask_BT[b, width - len(prompts[i]) :] = 1
        written = model.generate(
            ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            generation_config=config,
        )
        for i, ids in zip(batch, written[:, width:], strict=True):
            answers[i] = hf.decode(ids, skip_special_tokens=True)
    model.train(was_training)
    return answers
