"""What a run will take, before it starts: tokens, disk, time and memory.

Tokens are counted on a sample of the corpus and scaled by bytes; times divide the arithmetic of the
models, 2 operations per weight and token forward and 6 in training, by the speed of a matrix
product measured here and now. What is not on this machine is said to be unknown.
"""

import time
from collections import Counter
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from inarch.data import Reader, UnreadableChat, read, read_raw, usable
from inarch.errors import WeightsError
from inarch.flows._corpus import reader_of
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.flows.teach import device_of
from inarch.io.models import new_model, quiet_transformers
from inarch.records import Document, TokenRow
from inarch.teach.store import id_type

_SAMPLE_ROWS = 200
_UNKNOWN = "unknown"


class _Need(NamedTuple):
    """What one model reads and weighs."""

    num_tokens: float
    num_kept: float
    num_weights: int
    id_bytes: int


def plan(settings: FuseRun, *, train: bool = True) -> dict[str, object]:
    """Return what a run of ``fuse``, or of ``teach`` alone, will take, by what it is.

    Args:
        settings: The recipe.
        train: Count the training of the target, too.
    """
    sample, scale, rows = _sample(settings)
    needs = {m.label: _need(settings, m, sample, scale) for m in _models(settings)}
    speed = operations_per_s(device_of(settings))
    facts: dict[str, object] = {"rows": rows}
    seconds, disk_gib, memory_gib = 0.0, 0.0, 0.0
    known = rows != _UNKNOWN
    for model in settings.candidates:
        need = needs[model.label]
        facts[f"teach {model.label}: tokens"] = round(need.num_tokens) if need else _UNKNOWN
        if need is None:
            known = False
            continue
        per_token = _bytes_per_token(settings.teach.top_k, need.id_bytes)
        passes = _passes(settings, rows) if settings.teach.online else 1.0
        seconds += 2 * need.num_weights * need.num_tokens * passes / speed
        weights_gib = 4 * need.num_weights / 2**30
        if settings.teach.online:
            memory_gib += weights_gib
        else:
            memory_gib = max(memory_gib, weights_gib)
            disk_gib += need.num_kept * per_token / 2**30
    target = needs[settings.target.label]
    if train and target is not None:
        num_tokens, passes = target.num_tokens, _passes(settings, rows)
        facts["train: tokens"] = round(num_tokens * passes)
        seconds += 6 * target.num_weights * num_tokens * passes / speed
        # Weights, gradients and two moments, all float32.
        training_gib = 16 * target.num_weights / 2**30
        online = settings.teach.online
        memory_gib = memory_gib + training_gib if online else max(memory_gib, training_gib)
        disk_gib += _training_disk(settings, target) / 2**30
    known = known and target is not None
    more = "" if known else f"{_UNKNOWN} beyond what is on this machine; at least "
    return facts | {
        "disk": f"{more}{disk_gib:.2g} GiB",
        "memory": f"{more}{memory_gib:.2g} GiB and activations",
        "time": f"{more}{timedelta(seconds=round(seconds))} on {device_of(settings)}",
    }


def _models(settings: FuseRun) -> tuple[ModelSettings, ...]:
    return (settings.target, *settings.sources)


def _sample(settings: FuseRun) -> tuple[list[Document], float, int | str]:
    """Return the first documents, how much larger the corpus is, and its number of rows."""
    path = Path(settings.data.path)
    if not path.exists():
        return [], 0.0, _UNKNOWN
    raws = list(islice(read_raw(settings.data), _SAMPLE_ROWS))
    sample = [d for d in (usable(raw, Counter()) for raw in raws) if d is not None]
    if len(raws) < _SAMPLE_ROWS:
        return sample, 1.0, len(raws)
    num_rows = sum(1 for _ in read_raw(settings.data))
    return sample, num_rows / len(raws), num_rows


def _need(
    settings: FuseRun, model: ModelSettings, sample: list[Document], scale: float
) -> _Need | None:
    try:
        reader = reader_of(settings, model)
    except WeightsError:
        return None
    rows = [row for document in sample for row in _readable(reader, document)]
    found = num_weights(model, reader.tokenizer.size)
    if found is None:
        return None
    return _Need(
        num_tokens=scale * sum(len(row.ids) for row in rows),
        num_kept=scale * sum(int(row.supervised.sum()) for row in rows),
        num_weights=found,
        id_bytes=id_type(reader.tokenizer.size).itemsize,
    )


def _readable(reader: Reader, document: Document) -> list[TokenRow]:
    try:
        return read(reader, [document])
    except UnreadableChat:  # the run counts it and goes on
        return []


def num_weights(model: ModelSettings, vocab_size: int) -> int | None:
    """Return the weights of a model, None where its config is not on this machine."""
    if model.scratch is not None:
        return sum(p.numel() for p in new_model(model.scratch, vocab_size, 0).parameters())
    try:
        config = AutoConfig.from_pretrained(model.path, trust_remote_code=False)
        with torch.device("meta"), quiet_transformers():
            return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    except (OSError, ValueError):
        return None


def _passes(settings: FuseRun, rows: int | str) -> float:
    if settings.train.max_steps is None or not isinstance(rows, int):
        return settings.train.epochs
    return settings.train.max_steps * settings.train.batch_size / max(rows, 1)


def _bytes_per_token(top_k: int, id_bytes: int) -> int:
    """Return the bytes of a kept token before compression, which takes off about a third."""
    ids, logps, tail, next_token, coordinates = top_k * id_bytes, 2 * top_k, 2, id_bytes + 4, 2
    return ids + logps + tail + next_token + coordinates


def _training_disk(settings: FuseRun, target: _Need) -> float:
    """Return the bytes of the training examples, the checkpoints and the result."""
    per_token = 16 + (6 * settings.teach.top_k if settings.candidates else 0)
    examples = 0.0 if settings.teach.online else target.num_tokens * per_token
    saves = settings.train.save_every_steps is not None
    # A checkpoint holds weights and both moments; the next is written before the last one goes.
    num_checkpoints = settings.train.keep_checkpoints + 1 if saves else 0
    return examples + (12 * num_checkpoints + 4) * target.num_weights


def operations_per_s(device: str) -> float:
    """Return the speed of a float32 matrix product, in multiplications and additions."""
    size = 1024
    a = torch.randn(size, size, device=device)
    (a @ a).sum().item()
    begun, num_products = time.monotonic(), 0
    while time.monotonic() - begun < 0.2:
        (a @ a).sum().item()
        num_products += 1
    return 2 * size**3 * num_products / (time.monotonic() - begun)
