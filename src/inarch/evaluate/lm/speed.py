"""How fast models read and write, and what their caches take: measured side by side.

Shapes: B = rows, T = tokens of the prompt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Workload(NamedTuple):
    """What models are timed on."""

    batch_size: int = 1
    prompt_tokens: int = 128
    new_tokens: int = 16
    rounds: int = 7
    """Of which the least counts, as other work only makes a round slower; models take turns."""


class Speed(NamedTuple):
    """Of one model, the least of all rounds."""

    prefill_s: float
    """To read the prompts of a batch."""
    decode_s: float
    """To write one more token of each row of the batch."""
    cache_bytes: int
    """Of keys and values, per token."""


@torch.inference_mode()
def measure_speed(models: Sequence[Any], workload: Workload) -> list[Speed]:
    """Return how fast each model is, after a round that does not count.

    Args:
        models: Causal LMs in evaluation mode; each is timed on its own device.
        workload: The same random tokens for all.
    """
    shape = (workload.batch_size, workload.prompt_tokens)
    vocabulary = min(model.config.get_text_config().vocab_size for model in models)
    ids_BT = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0))
    found: list[list[Speed]] = [[] for _ in models]
    for _ in range(workload.rounds + 1):
        for runs, model in zip(found, models, strict=True):
            runs.append(_once(model, ids_BT.to(model.device), workload.new_tokens))
    return [
        Speed(
            min(run.prefill_s for run in runs[1:]),
            min(run.decode_s for run in runs[1:]),
            runs[-1].cache_bytes,
        )
        for runs in found
    ]


def _once(model: Any, ids_BT: Tensor, new_tokens: int) -> Speed:
    out, prefill_s = _timed(ids_BT, lambda: model(ids_BT, use_cache=True))
    cache = out.past_key_values

    def decode() -> None:
        last_B1 = out.logits[:, -1:].argmax(-1)
        for _ in range(new_tokens):
            logits = model(last_B1, past_key_values=cache, use_cache=True).logits
            last_B1 = logits[:, -1:].argmax(-1)

    num_bytes = _cache_bytes(cache)
    _, decode_s = _timed(ids_BT, decode)
    return Speed(prefill_s, decode_s / new_tokens, round(num_bytes / ids_BT.numel()))


def _timed(like: Tensor, work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return result, time.perf_counter() - began


def _cache_bytes(cache: Any) -> int:
    """Return the bytes of all keys and values in a cache."""
    return sum(
        part.numel() * part.element_size()
        for layer in cache.layers
        for part in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if part is not None
    )
