"""The chain of `inarch.spans.crf` beside pytorch-crf: loss with gradients, loss alone, best path.

    python benchmarks/spans_crf.py [--rows 64] [--tokens 256] [--tags 2]

Both have the same potentials, emissions and lengths (between a tenth of the tokens and all), in one
process on one thread; runs of the two alternate. Time is processor time, the least of several runs.
Before the clock starts, losses, gradients and paths are compared. There is no physical limit beside
it: with few tags, all of the time is the cost of starting operations, one after the other.
Writes benchmarks/results/spans_crf-DATE-HARDWARE.json.
"""

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torchcrf import CRF

from inarch.spans.crf import Crf

RESULTS = Path(__file__).parent / "results"
REPEATS = 15


def pair(num_tags: int) -> tuple[Crf, CRF]:
    """Return both chains with the same potentials."""
    torch.manual_seed(0)
    ours, theirs = Crf(num_tags), CRF(num_tags, batch_first=True)
    ours.start_K.data = theirs.start_transitions.data.clone()
    ours.end_K.data = theirs.end_transitions.data.clone()
    ours.transitions_KK.data = theirs.transitions.data.clone()
    return ours, theirs


def tasks(rows: int, tokens: int, num_tags: int) -> dict[str, tuple[Callable, Callable]]:
    """Return what is timed: by name, our way and theirs."""
    ours, theirs = pair(num_tags)
    emissions = torch.randn(rows, tokens, num_tags)
    tags = torch.randint(num_tags, (rows, tokens))
    lengths = torch.randint(tokens // 10, tokens + 1, (rows,))
    lengths[0] = tokens
    mask = torch.arange(tokens) < lengths[:, None]

    def our_gradients() -> tuple[float, torch.Tensor]:
        given = emissions.clone().requires_grad_()
        loss = ours.nll(given, tags, lengths).sum()
        loss.backward()
        return loss.item(), given.grad

    def their_gradients() -> tuple[float, torch.Tensor]:
        given = emissions.clone().requires_grad_()
        loss = -theirs(given, tags, mask, reduction="sum")
        loss.backward()
        return loss.item(), given.grad

    def our_path() -> list[list[int]]:
        found = ours.viterbi(emissions, lengths).tolist()
        return [row[:length] for row, length in zip(found, lengths.tolist(), strict=True)]

    (a, grad_a), (b, grad_b) = our_gradients(), their_gradients()
    same_loss = abs(a - b) < 1e-3 * abs(b) and (grad_a - grad_b).abs().max() < 1e-4
    if not same_loss or our_path() != theirs.decode(emissions, mask):
        raise ValueError("the two disagree")
    no_grad = torch.no_grad()
    return {
        "loss and gradients": (our_gradients, their_gradients),
        "loss": (
            no_grad(lambda: ours.nll(emissions, tags, lengths)),
            no_grad(lambda: theirs(emissions, tags, mask, reduction="none")),
        ),
        "best path": (no_grad(our_path), no_grad(lambda: theirs.decode(emissions, mask))),
    }


def least_ms(ways: tuple[Callable, Callable]) -> list[float]:
    """Return the least processor time of each, in ms; their runs alternate."""
    least = [float("inf")] * 2
    for _ in range(REPEATS):
        for i, way in enumerate(ways):
            began = time.process_time()
            way()
            least[i] = min(least[i], 1e3 * (time.process_time() - began))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--tags", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, ways in tasks(args.rows, args.tokens, args.tags).items():
        ours, theirs = least_ms(ways)
        row = {"task": name, "ours_ms": ours, "pytorch_crf_ms": theirs, "ratio": theirs / ours}
        rows.append({key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()})
        print(rows[-1])
    names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    cpu = names[0].strip() if names else platform.processor()
    now = datetime.now(UTC)
    result = {
        "date": now.isoformat(timespec="seconds"),
        "cpu": cpu,
        "torch": torch.__version__,
        "setup": vars(args) | {"threads": 1, "repeats": REPEATS},
        "rows": rows,
    }
    hardware = re.sub(r"\W+", "-", cpu.lower()).strip("-")
    path = RESULTS / f"spans_crf-{now:%Y-%m-%d}-{hardware}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
