"""BlockPruner's search: the published algorithm, and ours with its savings one after the other.

    python benchmarks/prune_search.py [--only NAME ...] [--repeats 1]

Processor time of one thread, all in one run, the least of several alternating repeats; the process
keeps freed memory, so that later repeats measure no page faults. On a random Llama of 12 layers of
width 256 that gives up 6 of 24 blocks. `published` is the reference's algorithm written plainly:
every candidate, whole forwards, cross entropy over permuted logits, mean of row means. `plain` is
ours with nothing reused, and gives the losses that all others must give bit for bit (`fast`: the
order). `late` forces the order to the late blocks that real models give up; nothing is stopped
early then. Blocks run are beside what `inarch.prune._cost` foresees for an order that is found: if
it is forced, a loser that was the best so far may have states to start from. Writes
benchmarks/results/prune_search-DATE-HARDWARE.json.
"""

import argparse
import ctypes
import json
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from sparse_loss import RESULTS, hardware
from torch.nn.functional import cross_entropy

from inarch.io.models import new_model
from inarch.prune import _units
from inarch.prune._blocks import BlockModel
from inarch.prune._cost import num_passes, plain_work, search_work
from inarch.prune._lane import Work
from inarch.prune._order import Block, Unit, name_of
from inarch.prune._rows import Rows
from inarch.prune._score import ModelSubject
from inarch.prune.settings import SearchSettings

LAYERS, STEPS, BATCH_ROWS = 12, 6, 4
MODEL = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
}
SINGLE = _units.single("mix", ())

EXACT = {"early_stop": False, "batch_rows": BATCH_ROWS}
SAVINGS = {
    "plain": SearchSettings(reuse_prefix=False, **EXACT),
    "prefix": SearchSettings(reuse_winner=False, reuse_candidates=False, **EXACT),
    "prefix, winner": SearchSettings(reuse_candidates=False, **EXACT),
    "all exact": SearchSettings(batch_rows=BATCH_ROWS),
    "fast": SearchSettings(batch_rows=BATCH_ROWS, chunked_loss=True),
}
LATE = "mha9 mha10 mha8 mlp8 mlp10 mha7"
SIZES = {
    "V=2048, 4x128": (2048, 4, 128),
    "V=2048, 16x128": (2048, 16, 128),
    "V=2048, 16x256": (2048, 16, 256),
    "V=32000, 4x128": (32000, 4, 128),
}
"""Vocabulary, rows, tokens of a row."""

CASES: dict[str, tuple[tuple[int, int, int], int, str | None]] = {
    **{f"{name}, late": (size, 0, LATE) for name, size in SIZES.items()},
    **{f"{n}, seed {seed}": (size, seed, None) for n, size in SIZES.items() for seed in range(3)},
}
"""Size, seed of the weights, forced order. How much is saved depends on how late an order is."""

PUBLISHED_ORDER = (
    "mha25 mha27 mha24 mha23 mha28 mha29 mha8 mlp7 mha19 mha30 mlp22 mha21 mlp27 mha18 mlp21 mlp11"
    " mha12"
)
"""Of Llama-2-7B, from the reference's list for 64 samples."""

Losses = Callable[[Sequence[Block], Sequence[Unit]], list[float]]


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a line such as ``mha9 mlp8``."""
    return [Block("mha" if word[:3] == "mha" else "mlp", int(word[3:])) for word in text.split()]


def published(model: BlockModel, rows: Rows) -> Losses:
    """Return the reference's perplexities, as their logarithms."""

    @torch.no_grad()
    def one(gone: Sequence[Block]) -> float:
        means = []
        with model.without(gone):
            for ids_BT in rows.ids_ST.split(BATCH_ROWS):
                logits_BTV = model.model(input_ids=ids_BT, use_cache=False).logits
                nll_BT = cross_entropy(
                    logits_BTV[:, :-1].permute(0, 2, 1), ids_BT[:, 1:], reduction="none"
                )
                means.append(nll_BT.mean(1))
        return torch.cat(means).mean().item()

    return lambda gone, units: [one([*gone, *unit]) for unit in units]


def search(losses: Losses, forced: str | None) -> tuple[float, list[Unit], list[list[float]]]:
    """Return the seconds of a search, its order and all losses."""
    order: list[Unit] = []
    tables = []
    began = time.process_time()
    while len(order) < STEPS:
        gone = [block for unit in order for block in unit]
        units = SINGLE([b for b in ALL if b not in gone])
        found = losses(gone, units)
        wanted = (blocks_of(forced)[len(order)],) if forced else units[found.index(min(found))]
        order.append(wanted)
        tables.append(found)
    return time.process_time() - began, order, tables


ALL = [Block(kind, layer) for layer in range(LAYERS) for kind in ("mha", "mlp")]


def case(
    size: tuple[int, int, int], seed: int, forced: str | None, savings: list[str], repeats: int
) -> dict[str, Any]:
    """Return the least seconds, ratios and blocks of every way to search."""
    vocab, num_rows, length = size
    model = BlockModel.of(new_model(MODEL | {"max_position_embeddings": length}, vocab, seed))
    ids_ST = torch.randint(vocab, (num_rows, length), generator=torch.Generator().manual_seed(0))
    supervised_ST = torch.ones_like(ids_ST, dtype=torch.bool)
    supervised_ST[:, -1] = False
    rows = Rows(ids_ST, supervised_ST)
    seconds: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        took, order, reference = search(published(model, rows), forced)
        seconds.setdefault("published", []).append(took)
        plain: list[list[float]] = []
        for name in savings:
            settings = SAVINGS[name]
            subject = ModelSubject(model, rows, settings)

            def losses(gone: Any, units: Any, subject: ModelSubject = subject) -> list[float]:
                return subject.losses(gone, units, top=None if forced else 2)

            took, found, tables = search(losses, forced)
            plain = plain or tables
            seconds.setdefault(name, []).append(took)
            once, batches = search_work(ALL, order, SINGLE, settings), num_rows // BATCH_ROWS
            facts[name] = {
                "blocks": subject.work.blocks,
                "blocks_foreseen": once.blocks * batches,
                "heads": subject.work.heads,
                "heads_foreseen": once.heads * batches,
                "same_order": found == order,
                **compared(tables, plain),
            }
            print(name, round(took, 2), facts[name], flush=True)
    least = {name: min(times) for name, times in seconds.items()}
    ratios = {
        name: {
            "cpu_s": round(least[name], 2),
            "published_over_this": round(least["published"] / least[name], 2),
            "plain_over_this": round(least["plain"] / least[name], 2),
        }
        for name in least
    }
    best_two = [sorted(table)[:2] for table in reference]
    return {
        "order": " ".join(name_of(unit) for unit in order),
        "least_relative_margin": None if forced else min(b / a - 1 for a, b in best_two),
        **{name: ratios[name] | facts.get(name, {}) for name in ratios},
    }


def compared(tables: list[list[float]], plain: list[list[float]]) -> dict[str, Any]:
    """Return how losses, but for those of stopped candidates, differ from the plain ones."""
    flat = [(a, b) for x, y in zip(tables, plain, strict=True) for a, b in zip(x, y, strict=True)]
    known = [(a, b) for a, b in flat if a < float("inf")]
    return {
        "losses_bit_for_bit": all(a == b for a, b in known),
        "largest_relative_difference": max(abs(a / b - 1) for a, b in known),
    }


def foreseen() -> dict[str, Any]:
    """Return what is saved on Llama-2 sizes, in multiplications, for the published order."""
    sizes = {"7B": (32, 4096, 11008, 4096), "70B": (80, 8192, 28672, 1024)}
    report = {}
    for name, (layers, width, inner, kv_width) in sizes.items():
        attention = 2 * width**2 + 2 * width * kv_width + 2 * width * 1024  # 2048 tokens a row
        weights = Work(attention, 3 * width * inner, 32000 * width)
        blocks = [Block(kind, layer) for layer in range(layers) for kind in ("mha", "mlp")]
        found = [Block(b.kind, round(b.layer * layers / 32)) for b in blocks_of(PUBLISHED_ORDER)]
        order = [(block,) for block in dict.fromkeys(found)]

        def cost(work: Work, weights: Work = weights) -> float:
            return sum(a * b for a, b in zip(work, weights, strict=True))

        plain = plain_work(blocks, order, SINGLE)
        counted = [key for key in SAVINGS if key not in ("plain", "fast")]
        ours = {key: search_work(blocks, order, SINGLE, SAVINGS[key]) for key in counted}
        report[name] = {
            "steps": len(order),
            "losses": num_passes(len(blocks), len(order)),
            "plain_over_this": {k: round(cost(plain) / cost(w), 2) for k, w in ours.items()},
            "multiplications_per_token": {
                "plain": cost(plain),
                "all exact": cost(ours["all exact"]),
            },
        }
    return report


def keep_memory() -> None:
    """Tell the C library to keep what is freed, as PyTorch does on GPUs: no new pages each time."""
    libc = ctypes.CDLL(None)
    for option, value in ((-1, 2**31 - 1), (-2, 2**28), (-3, 2**30)):  # trim, top pad, mmap
        libc.mallopt(option, value)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--savings", nargs="*", choices=list(SAVINGS), default=list(SAVINGS))
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    now = datetime.now(UTC)
    path = RESULTS / f"prune_search-{now.date()}-{hardware()}.json"
    results = {
        "date": now.isoformat(timespec="seconds"),
        "hardware": platform.platform() + ", " + hardware() + ", one thread",
        "torch": torch.__version__,
        "setting": {**MODEL, "steps": STEPS, "rows_per_batch": BATCH_ROWS, "repeats": args.repeats},
        "foreseen_for_llama_2": foreseen(),
        "results": {},
    }
    for name in args.only:
        print(name, flush=True)
        results["results"][name] = case(*CASES[name], args.savings, args.repeats)
        path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
