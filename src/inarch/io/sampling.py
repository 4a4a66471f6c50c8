"""Sampled answers of a local model that depend on nothing but the model, the chat and a seed.

Row r has a stream of uniform numbers of its own, u_1, u_2, ..., keyed by its seed and its chat's
key. At step t its distribution is warped (temperature, then top-k, then top-p, as transformers
does) and the token whose piece of the cumulative distribution, in the order of the vocabulary,
holds u_t is made the largest logit. So greedy decoding draws an exact sample, whatever the batch
and its order are; what rounding moves is a u_t that is that near to a border.

Shapes: B = rows of a batch, V = ids.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inarch.io.generation import Completion, as_contents, complete, read_prompts, usable
from inarch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inarch.io.tokenizers import Tokenizer
    from inarch.records import Message


class SamplingSettings(Settings):
    """How answers are drawn; the defaults are WRPO's."""

    temperature: NonNegativeFloat = 0.8
    """Divides the logits; 0 takes the most probable token."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Draw from the fewest tokens that hold this share of the mass; 1 draws from all."""
    top_k: PositiveInt | None = None
    """Draw from this many of the most probable tokens; null draws from all."""
    max_new_tokens: PositiveInt = 512
    """An answer is cut here if the model does not end it before."""
    seed: int = 42
    """Seed of the first sample; the next ones have the seeds that follow."""
    batch_size: PositiveInt = 64
    """Samples that run together in a local model; changes speed and memory only."""

    @model_validator(mode="after")
    def _nothing_dead(self) -> Self:
        dead = {"top_p", "top_k"} & self.model_fields_set if self.temperature == 0 else set()
        if dead and (self.top_p, self.top_k) != (1.0, None):
            raise ValueError(
                f"found temperature 0, which takes the most probable token, and {min(dead)}, which "
                "says what to draw from; leave it out, or give a temperature"
            )
        return self


def sample(
    model: Any,
    tokenizer: Tokenizer,
    chats: Sequence[Sequence[Message]],
    settings: SamplingSettings,
    *,
    num_samples: int = 1,
    keys: Sequence[int] | None = None,
) -> list[list[str]]:
    """Return the texts of what `draw` gives."""
    drawn = draw(model, tokenizer, chats, settings, num_samples=num_samples, keys=keys)
    return [[one.text for one in row] for row in drawn]


def draw(
    model: Any,
    tokenizer: Tokenizer,
    chats: Sequence[Sequence[Message]],
    settings: SamplingSettings,
    *,
    num_samples: int = 1,
    keys: Sequence[int] | None = None,
) -> list[list[Completion]]:
    """Return the samples of each chat's next turn, without specials, see `as_contents`.

    Sample j of chat i depends on the model, the chat, the settings, ``settings.seed + j`` and
    ``keys[i]`` alone.

    Args:
        model: A causal language model, on its device.
        tokenizer: Its tokenizer; its chat template opens the turn.
        chats: Chats that end with a turn of the user.
        settings: How to draw.
        num_samples: Samples of each chat.
        keys: Any whole number per chat; by default its number, from 0.

    Raises:
        DataError: The tokenizer's chat template cannot open an answer or no token ends one, or a
            chat does not fit into the template or the model.
    """
    prompts = usable(read_prompts(model, tokenizer, chats))
    streams = [
        (settings.seed + j, key)
        for key in (range(len(prompts)) if keys is None else keys)
        for j in range(num_samples)
    ]

    def processors(rows: Sequence[int]) -> LogitsProcessorList:
        uniforms = [_uniforms(*streams[row], settings.max_new_tokens) for row in rows]
        return LogitsProcessorList([*_warpers(settings), _Draw(np.stack(uniforms))])

    written = complete(
        model,
        tokenizer,
        [prompt for prompt in prompts for _ in range(num_samples)],
        settings.max_new_tokens,
        settings.batch_size,
        processors if settings.temperature else None,
    )
    texts = as_contents(tokenizer, [one.text for one in written])
    flat = [Completion(text, one.cut) for text, one in zip(texts, written, strict=True)]
    return [flat[at : at + num_samples] for at in range(0, len(flat), num_samples)]


def _warpers(settings: SamplingSettings) -> list[Any]:
    """Return what transformers warps logits with, in its order."""
    warpers = [TemperatureLogitsWarper(settings.temperature)]
    if settings.top_k is not None:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(TopPLogitsWarper(settings.top_p))
    return warpers


def _uniforms(seed: int, key: int, number: int) -> NDArray[np.float64]:
    """Return the first numbers of a stream, in [0, 1)."""
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big"))).random(number)


class _Draw(LogitsProcessor):
    """Makes the token that a row's next uniform number falls on the only one."""

    def __init__(self, uniforms_BT: NDArray[np.float64]) -> None:
        self._uniforms_BT = torch.from_numpy(uniforms_BT)
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, V]``: 0 for the token that is drawn, -inf for the others."""
        precise = torch.float32 if scores.device.type == "mps" else torch.float64
        below_BV = scores.to(precise).softmax(-1).cumsum(-1)
        u_B1 = self._uniforms_BT[:, self._step, None].to(scores.device, precise) * below_BV[:, -1:]
        self._step += 1
        drawn_B1 = torch.searchsorted(below_BV, u_B1, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn_B1, 0.0)
