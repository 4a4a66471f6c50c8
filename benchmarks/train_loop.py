"""The trainer against a bare PyTorch loop: the same model, rows, order, loss and optimiser.

    python benchmarks/train_loop.py [--steps 100] [--repeats 3]

Processor time of the steps of one thread, start and end of the run left out, the least of several
alternating runs. Writes benchmarks/results/train_loop-DATE-HARDWARE.json.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from sparse_loss import RESULTS, hardware
from torch import Tensor, nn

from inarch.io.models import new_model
from inarch.numerics import Head, chunked_sum, run_with_head, token_logps
from inarch.records import LossOut
from inarch.train.plan import lr_scale, row_order
from inarch.train.settings import TrainSettings
from inarch.train.trainer import train

VOCAB = 1200
LENGTH = 25
SIZES = {
    "64 k weights": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "1.1 M weights": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384},
}


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    """Return a batch without padding."""
    return {"input_ids": torch.stack(rows), "num_items": torch.tensor(len(rows) * (LENGTH - 1))}


def clm_loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
    """Return the summed loss of the next tokens."""
    next_N = batch["input_ids"][:, 1:].flatten()

    def sums(hidden_BTD: Tensor, head: Head) -> Tensor:
        def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
            return -token_logps(logits_nV, next_N[part]).sum()[None]

        return chunked_sum(hidden_BTD[:, :-1].flatten(0, 1), head, per_chunk)

    return LossOut(run_with_head(model, {"input_ids": batch["input_ids"]}, sums)[0], {})


def bare(model: Any, rows: list[Tensor], settings: TrainSettings) -> float:
    """Return the seconds per step of a loop with nothing but the training in it."""
    optimizer = torch.optim.AdamW(
        model.train().parameters(), lr=settings.lr, betas=settings.betas, fused=True
    )
    order = row_order(len(rows), settings).reshape(-1, settings.batch_size)
    began = time.process_time()
    for step, row_ids in enumerate(order):
        batch = collate([rows[i] for i in row_ids])
        (clm_loss(model, batch, 0.0).loss / batch["num_items"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * lr_scale(step, len(order), settings)
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - began) / len(order)


def ours(model: Any, rows: list[Tensor], settings: TrainSettings) -> float:
    """Return the seconds per step between the first and the last loss of the trainer."""
    marks = []

    def loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
        marks.append(time.process_time())
        return clm_loss(model, batch, progress)

    with tempfile.TemporaryDirectory() as out:
        train(model, rows, collate, loss, settings, out)
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def compare(size: Mapping[str, int], steps: int, repeats: int) -> dict[str, float]:
    """Return seconds per step of both and their ratio."""
    config = {"model_type": "llama", "num_attention_heads": 2, **size}
    settings = TrainSettings(max_steps=steps, batch_size=32, lr=1e-3, save_every_steps=None)
    rows = list(torch.randint(VOCAB, (600, LENGTH), generator=torch.Generator().manual_seed(0)))
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(repeats):
        times["bare"].append(bare(new_model(config, VOCAB, seed=0), rows, settings))
        times["ours"].append(ours(new_model(config, VOCAB, seed=0), rows, settings))
    least = {f"{name}_cpu_s": min(found) for name, found in times.items()}
    return {**least, "ours_over_bare": least["ours_cpu_s"] / least["bare_cpu_s"]}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    now = datetime.now(UTC)
    results = {
        "date": now.isoformat(timespec="seconds"),
        "hardware": platform.platform() + ", " + hardware() + ", one thread",
        "torch": torch.__version__,
        "setting": {"rows_per_step": 32, "tokens_per_row": LENGTH, "vocab": VOCAB},
        "results": {name: compare(size, args.steps, args.repeats) for name, size in SIZES.items()},
    }
    path = RESULTS / f"train_loop-{now.date()}-{hardware()}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
