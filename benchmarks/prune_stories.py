"""BlockPruner against every baseline on a small real model, over several calibration samples.

    python benchmarks/prune_stories.py MODEL [--rounds 5] [--stories 160]

MODEL is a folder with stories260K (Karpathy's TinyStories model, 5 layers). No stories come with
it, so it writes them itself, sampled at temperature 1: an eighth is held out for all, and each
round draws its calibration sample from the rest. Reported: perplexity on the held-out stories at
10, 20 and 30 % of the parameters removed, by the first step that removes as much; mean, and
standard deviation over rounds.
"""

import argparse
import json
import math
import platform
import statistics
import tempfile
from datetime import date
from pathlib import Path

import torch

from inarch.flows import prune
from inarch.flows._prune import lab as _prune_lab
from inarch.io.models import load_model
from inarch.io.tokenizers import load_tokenizer
from inarch.prune import METHODS
from inarch.settings import load

RATIOS = (0.1, 0.2, 0.3)
METHOD_SETTINGS = {"laco": {"run": 2}}
"""Where the published default does not fit a model of five layers."""


def main() -> None:
    """Measure, print a table, and write the dated JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stories", type=int, default=160)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        held_out, others = write_stories(args.model, args.stories, Path(folder))
        rounds = [
            one_round(args.model, others, held_out, seed, Path(folder))
            for seed in range(args.rounds)
        ]
    rows = {
        method: [[r["curves"][method][ratio] for r in rounds] for ratio in map(str, RATIOS)]
        for method in METHODS
    }
    print(f"whole model: {rounds[0]['whole']:.3f}")
    for method, cells in rows.items():
        shown = (f"{statistics.fmean(c):10.2f} ({statistics.stdev(c):.2f})" for c in cells)
        print(f"{method:22}", *shown)
    orders = {r["order"] for r in rounds}
    print(f"{len(orders)} different orders in {len(rounds)} rounds: {sorted(orders)}")
    save({"rounds": rounds, "settings": vars(args) | {"model": args.model.name}})


def write_stories(model: Path, num: int, folder: Path) -> tuple[list[str], list[str]]:
    """Return stories that the model writes: those held out, and others."""
    network, tokenizer = load_model(model), load_tokenizer(str(model))
    torch.manual_seed(0)
    begin = torch.full((num, 1), tokenizer.roles["bos"])
    ids = network.generate(
        begin, max_new_tokens=255, do_sample=True, temperature=1.0, top_k=0, pad_token_id=0
    )
    texts = [tokenizer.hf.decode(row, skip_special_tokens=True).strip() for row in ids]
    return texts[: num // 8], texts[num // 8 :]


def one_round(
    model: Path, others: list[str], held_out: list[str], seed: int, folder: Path
) -> dict[str, object]:
    """Return what one calibration sample gives."""
    data, out = folder / "stories.jsonl", folder / f"round-{seed}"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in others))
    compare = [
        {"name": name, **METHOD_SETTINGS.get(name, {})}
        | ({"seed": seed} if name == "random" else {})
        for name in METHODS
        if name != "block_pruner"
    ]
    flags = [f"model={model}", f"data.path={data}", "data.length=256", "data.samples=32"]
    flags += [f"data.seed={seed}", "target.ratio=0.31", "speed=false"]
    settings = load(prune.PruneRun, None, [*flags, f"compare={json.dumps(compare)}"])
    found = judged(settings, held_out, out)
    curves = {
        method: {str(r): perplexity_at(curve, r) for r in RATIOS}
        for method, curve in found["curves"].items()
    }
    order = " ".join(f"{entry['kind']}{entry['layer']}" for entry in found["order"])
    return {
        "seed": seed,
        "order": order,
        "whole": math.exp(found["curves"]["block_pruner"][0]["held_out"]),
        "curves": curves,
    }


def perplexity_at(curve: list[dict[str, float]], share: float) -> float:
    """Return the perplexity at the first step that removes a share; NaN: there is none."""
    return next((math.exp(row["held_out"]) for row in curve if row["share"] >= share), math.nan)


def judged(settings: prune.PruneRun, held_out: list[str], out: Path) -> dict[str, object]:
    """Run, with the same held-out stories in every round."""
    real = _prune_lab.calibrate

    def calibrate(own, tokenizer, limit):  # type: ignore[no-untyped-def]
        path = out.parent / "held-out.txt"
        path.write_text("\n\n".join(held_out))
        whole = own.model_copy(update={"path": str(path)})
        found, fixed = real(own, tokenizer, limit), real(whole, tokenizer, limit)
        return found._replace(held_out=fixed.rows)

    _prune_lab.calibrate = calibrate
    try:
        return prune.run(settings, out)
    finally:
        _prune_lab.calibrate = real


def save(facts: dict[str, object]) -> None:
    """Write the JSON, with the hardware in its name."""
    results = Path(__file__).parent / "results"
    facts = {"date": str(date.today()), "python": platform.python_version(), **facts}
    path = results / f"prune_stories-{date.today()}-amd-epyc.json"
    path.write_text(json.dumps(facts, indent=1, default=str) + "\n")
    print(path)


if __name__ == "__main__":
    main()
