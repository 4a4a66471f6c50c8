"""The tagger that needs no weights: trained, scored and timed, for three seeds and their vote.

    python benchmarks/spans_bilstm_crf.py [--data ../shared/data/toxic_spans] [--seeds 0 1 2]

Trains recipes/spans/bilstm-crf.yaml on the training posts without those of trial, one process per
seed on one thread. The epoch is chosen on trial; test is scored once per seed, and nothing is
chosen by it. Processor time of a training is that of its process, from start to end. Speed is posts
of test per second of processor time, the best of several passes. Writes
benchmarks/results/spans_bilstm_crf-DATE-HARDWARE.json.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from inarch.spans.metric import score
from inarch.spans.offsets import spans_to_offsets
from inarch.spans.read import read_posts
from inarch.spans.tagger import Tagger
from inarch.spans.vote import Ensemble

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
PASSES = 5


def train(seed: int, data: Path, out: Path) -> float:
    """Train one seed, and return the processor time that it took, in s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = [f"data.train={data / 'tsd_train.csv'}", f"data.dev={data / 'tsd_trial.csv'}"]
    sets = [flag for value in (*files, f"train.seed={seed}") for flag in ("--set", value)]
    recipe = str(ROOT / "recipes/spans/bilstm-crf.yaml")
    command = [sys.executable, "-m", "inarch", "spans", "train", recipe, *sets, "--out", str(out)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scores(tagger: Any, data: Path) -> dict[str, dict[str, float]]:
    """Return the official scores on trial and test."""
    found = {}
    for part in ("trial", "test"):
        posts = read_posts(data / f"tsd_{part}.csv")
        spans = tagger.tag_stream([post.text for post in posts])
        predicted = [spans_to_offsets(row) for row in spans]
        values = score(predicted, [post.offsets for post in posts])._asdict()
        found[part] = {name: round(value, 4) for name, value in values.items()}
    return found


def posts_per_s(tagger: Tagger, data: Path) -> float:
    """Return how many posts of test are tagged in a second of processor time."""
    texts = [post.text for post in read_posts(data / "tsd_test.csv")]
    best = 0.0
    for _ in range(PASSES):
        began = time.process_time()
        tagger.tag_batch(texts)
        best = max(best, len(texts) / (time.process_time() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/toxic_spans")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, taggers = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            out = Path(folder) / str(seed)
            cpu_s = train(seed, args.data, out)
            taggers.append(Tagger.from_pretrained(out / "model"))
            rows.append(
                {"seed": seed, "train_cpu_s": round(cpu_s), **scores(taggers[-1], args.data)}
            )
            print(rows[-1], flush=True)
    mean = sum(row["test"]["f1"] for row in rows) / len(rows)
    names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    cpu = names[0].strip() if names else platform.processor()
    now = datetime.now(UTC)
    result = {
        "date": now.isoformat(timespec="seconds"),
        "cpu": cpu,
        "torch": torch.__version__,
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "mean_test_f1": round(mean, 4),
        "seeds": rows,
        "vote": scores(Ensemble(taggers), args.data),
        "posts_per_cpu_s": round(posts_per_s(taggers[0], args.data)),
    }
    print(result)
    hardware = re.sub(r"\W+", "-", cpu.lower()).strip("-")
    path = RESULTS / f"spans_bilstm_crf-{now:%Y-%m-%d}-{hardware}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
