"""A training step with stored teachers against a plain language-modelling step, on the CPU.

    python benchmarks/fuse_step.py

Three steps of one model on the same rows take turns: transformers' own loss with dense logits, the
house's plain loss, and the fused one, whose batches are read from the Arrow file in which ``fuse``
keeps them. The ratio of the medians is the figure; the times depend on what else runs.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inarch.fuse import (
    Example,
    Examples,
    FuseSettings,
    Lesson,
    collate,
    fused_loss,
    plain_loss,
    write_examples,
)
from inarch.records import TokenRow

NUM_ROWS, LENGTH, TOP_K, ROUNDS = 4, 128, 10, 7


def examples(vocab_size: int) -> list[Example]:
    """Rows of random tokens with a random teacher at every position."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(NUM_ROWS):
        ids = rng.integers(0, vocab_size, LENGTH).astype(np.int32)
        num = LENGTH - 1
        probs = rng.dirichlet(np.full(TOP_K + 1, 0.5), num) + 1e-6
        candidates = np.stack([rng.choice(vocab_size, TOP_K, replace=False) for _ in range(num)])
        lesson = Lesson(
            ids=candidates.astype(np.int32),
            logps=np.log(probs[:, :TOP_K]).astype(np.float16),
            tail=np.log(probs[:, TOP_K]).astype(np.float16),
            winner=np.zeros(num, np.int8),
            chunk=np.full(num, -1, np.int32),
            chunk_logps=np.zeros(0, np.float32),
        )
        supervised = np.arange(LENGTH) < num
        made.append(
            Example(TokenRow(ids, np.arange(LENGTH, dtype=np.int32), supervised, True), lesson)
        )
    return made


def measure(vocab_size: int) -> dict[str, float]:
    """Return the median seconds of each kind of step."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config)
    fused = fused_loss(FuseSettings())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.arrow"
        write_examples(path, [examples(vocab_size)])
        stored = Examples(path)

        def dense_step() -> torch.Tensor:
            batch = collate([Example(stored[i].row, None) for i in range(NUM_ROWS)])
            ids = batch["input_ids"]
            return model(input_ids=ids, attention_mask=batch["attention_mask"], labels=ids).loss

        def plain_step() -> torch.Tensor:
            batch = collate([Example(stored[i].row, None) for i in range(NUM_ROWS)])
            return plain_loss(model, batch, 0.0).loss / batch["num_items"]

        def fused_step() -> torch.Tensor:
            batch = collate([stored[i] for i in range(NUM_ROWS)])
            return fused(model, batch, 0.0).loss / batch["num_items"]

        steps = {"dense": dense_step, "plain": plain_step, "fused": fused_step}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(ROUNDS + 1):
            for name, step in steps.items():
                model.zero_grad()
                begun = time.perf_counter()
                step().backward()
                if turn:  # the first warms up
                    taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Measure both vocabularies and write the JSON."""
    torch.set_num_threads(1)
    rows = []
    for vocab_size in (32_000, 152_000):
        took = measure(vocab_size)
        rows.append(
            {
                "vocab_size": vocab_size,
                "seconds": took,
                "fused_over_plain": took["fused"] / took["plain"],
                "fused_over_transformers": took["fused"] / took["dense"],
            }
        )
        print(rows[-1])
    result = {
        "what": "forward and backward of a step, 4 rows of 128 tokens, Llama 4 x 256, k = 10",
        "date": date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "results": rows,
    }
    name = f"fuse_step-{date.today().isoformat()}-amd-epyc.json"
    path = Path(__file__).parent / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
