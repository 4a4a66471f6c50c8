"""A small training job, run in this process by tests and as a script by those that kill or launch.

    python job.py OUT '{"max_steps": 9, ...}' [STEP]

With STEP it kills itself, as by ``kill -9``, in the forward pass of that step.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch.io.models import new_model
from inarch.numerics import Head, chunked_sum, run_with_head, token_logps
from inarch.records import LossOut
from inarch.train.settings import TrainSettings
from inarch.train.trainer import TrainResult, train

VOCAB = 61
CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "attention_dropout": 0.1,
}
SETTINGS = {
    "max_steps": 7,
    "batch_size": 8,
    "micro_batch_size": 4,
    "lr": 1e-2,
    "warmup_frac": 0.2,
    "save_every_steps": 2,
    "log_every_steps": 3,
    "seed": 5,
}


def make_rows(number: int = 30) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(3, 20, (number,), generator=generator).tolist()
    return [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in lengths]


def collate(rows: list[list[int]]) -> dict[str, Tensor]:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "num_items": mask[:, 1:].sum()}


def clm_loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
    keep = batch["attention_mask"][:, 1:].bool()
    next_ids = batch["input_ids"][:, 1:][keep]

    def sums(hidden_BTD: Tensor, head: Head) -> Tensor:
        def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
            logps_n = token_logps(logits_nV, next_ids[part])
            right_n = logits_nV.argmax(1) == next_ids[part]
            return torch.stack([-logps_n.sum(), right_n.sum()])

        return chunked_sum(hidden_BTD[:, :-1][keep], head, per_chunk)

    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    loss, right = run_with_head(model, inputs, sums)
    return LossOut(loss, {"accuracy": right, "progress": progress * batch["num_items"]})


def run(
    out: Path, settings: Mapping[str, Any], loss: Any = clm_loss, config: Any = CONFIG
) -> TrainResult:
    model = new_model(config, VOCAB, seed=3)
    return train(model, make_rows(), collate, loss, TrainSettings(**SETTINGS | settings), out)


def main(out: str, settings: str, killed_at: str = "-1") -> None:
    torch.set_num_threads(1)
    parsed = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(settings).items()}
    config = CONFIG | {"attention_dropout": parsed.pop("dropout", 0.1)}
    max_steps = parsed.get("max_steps", SETTINGS["max_steps"])

    def loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
        if round(progress * max_steps) == int(killed_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return clm_loss(model, batch, progress)

    run(Path(out), parsed, loss, config)


if __name__ == "__main__":
    main(*sys.argv[1:])
