"""Likelihood of texts, multiple choice and greedy answers, beside lm-evaluation-harness.

    python benchmarks/likelihood.py [--vocab 1000 --vocab 32000] [--task "short texts"] [--rounds 3]

Both score the same texts and questions with the same random model, by turns in one process of one
thread per task; tokenizing is part of it, loading is not. Time is processor time, the median over
the rounds behind a first one. lm-eval runs with each of a few batch sizes, and the fastest counts.
The numbers of the two are compared to 2e-6 first. `products_s` is what the model's products with
weights would take at the speed that PyTorch's own function has in this process, for the tokens that
must be read, without padding. Writes benchmarks/results/likelihood-DATE-HARDWARE.json, with the
load of the machine.
"""

import argparse
import json
import math
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
WINDOW = 512
BATCHES = (1, 8)
VOCABS = (1000, 32000, 128000)
TASKS = ("short texts", "long texts", "choices", "long prompts", "written")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocab", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--no-json", action="store_true")
    parser.add_argument("--one", help="JSON of one comparison; for the processes of this script")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(compare(**json.loads(args.one))))
        return
    rows = []
    for task in args.task or TASKS:
        for vocab in args.vocab or VOCABS:
            if task == "written" and vocab != (args.vocab or VOCABS)[0]:
                continue  # has the tokenizer's
            case = {"task": task, "vocab": vocab, "rounds": args.rounds}
            command = [sys.executable, __file__, "--one", json.dumps(case)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
            if not args.no_json:
                save(rows)


def compare(task: str, vocab: int, rounds: int) -> dict[str, object]:
    """Return the seconds of both, and what is compared."""
    import torch

    from inarch.io.models import new_model

    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    from tests.tiny import byte_level

    hf = byte_level()
    config = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512}
    config |= {"num_hidden_layers": 4, "num_attention_heads": 4, "initializer_range": 0.05}
    vocab = len(hf) if task == "written" else vocab  # so that what is written is a text
    model = new_model(config | {"max_position_embeddings": WINDOW}, vocab, 0)
    model.generation_config.eos_token_id = hf.eos_token_id
    seconds: dict[int, list[float]] = {batch: [] for batch in (0, *BATCHES)}
    numbers: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in data(task)))
        for _ in range(rounds + 1):
            for batch, taken in seconds.items():
                found = (theirs if batch else ours)(task, model, hf, path, batch)
                taken.append(found["seconds"])
                numbers.append(found["number"])
    if not all(math.isclose(numbers[0], n, rel_tol=2e-6, abs_tol=1e-9) for n in numbers):
        raise SystemExit(f"{task}: other numbers: {numbers}")
    medians = {batch: statistics.median(taken[1:]) for batch, taken in seconds.items()}
    best = min(BATCHES, key=medians.__getitem__)
    row: dict[str, object] = {"task": task, "vocab": vocab, "number": numbers[0]}
    row |= {"inarch_s": round(medians[0], 3), "lm_eval_s": round(medians[best], 3)}
    if "texts" in task:
        row["products_s"] = round(products(model, hf, data(task)), 3)
    return row | {"lm_eval_batch": best, "ratio": round(medians[best] / medians[0], 2)}


def products(model: Any, hf: Any, rows: list[dict[str, Any]]) -> float:
    """Return the seconds that products with weights take for windows of the texts' tokens."""
    import torch
    from torch.nn.functional import linear

    from inarch.evaluate.lm._windows import rolling

    lengths = [len(hf(row["text"])["input_ids"]) for row in rows]
    windows = [window for length in lengths for window in rolling(length, WINDOW, WINDOW)]
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    work = sum(m.weight.numel() for m in layers) * sum(w.end - w.begin for w in windows)
    work += head.weight.numel() * sum(w.num for w in windows)
    weight, hidden_ND = torch.randn(1024, 256), torch.randn(WINDOW, 256)
    taken = []
    with torch.no_grad():
        for _ in range(20):
            began = time.process_time()
            linear(hidden_ND, weight)
            taken.append(time.process_time() - began)
    return work * statistics.median(taken) / (WINDOW * weight.numel())


def data(task: str) -> list[dict[str, Any]]:
    draw = random.Random(0)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "with",
        "10",
        "cats",
    ]

    def text(least: int, most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(least, most)))

    if task == "short texts":  # of 100 to 300 tokens
        return [{"text": text(35, 110)} for _ in range(24)]
    if task == "long texts":  # of 2 to 5 windows
        return [{"text": text(220, 900)} for _ in range(5)]
    least, most = (150, 200) if task == "long prompts" else (10, 60)
    number = 16 if task == "long prompts" else 32
    return [
        {"prompt": f"{text(least, most)}:", "options": [text(2, 6) for _ in range(4)], "label": 1}
        for _ in range(number)
    ]


def form(task: str) -> dict[str, Any]:
    if task == "written":
        return {"generate": {"answer": "prompt", "stop": ["zz"], "max_new_tokens": 32}}
    return {"multiple_choice": {"choices": "options", "answer": "label"}}


def ours(task: str, model: Any, hf: Any, path: Path, _batch: int) -> dict[str, float]:
    from inarch.evaluate.lm import choices, exact_match
    from inarch.evaluate.lm._questions import TaskSettings, read_questions
    from inarch.evaluate.lm._reader import Reader
    from inarch.evaluate.lm._texts import read_texts
    from inarch.evaluate.lm.likelihood import LikelihoodSettings, score_texts
    from inarch.settings import validate

    began = time.process_time()
    if "texts" in task:
        texts, _ = read_texts(path)
        found = score_texts(model, hf, texts, LikelihoodSettings(window=WINDOW))
        number = found.numbers()["bits_per_byte"]
    else:
        given = {"data": str(path), "prompt": "prompt", **form(task)}
        settings = validate(TaskSettings, given, "benchmark")
        questions = read_questions(settings)
        if settings.generate:
            rows = exact_match.write(Reader(model, hf, WINDOW), questions, settings.generate)
            number = sum(len(row.text) for row in rows)
        else:
            rows = choices.choose(Reader(model, hf, WINDOW), questions, " ")
            number = sum(sum(row.logps) for row in rows)
    return {"seconds": time.process_time() - began, "number": number}


def theirs(task: str, model: Any, hf: Any, path: Path, batch: int) -> dict[str, float]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    given = {
        "task": "rows",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
    }
    if "texts" in task:
        given |= {"output_type": "loglikelihood_rolling", "doc_to_text": ""}
        given |= {"doc_to_target": "{{text}}", "metric_list": [{"metric": "bits_per_byte"}]}
    elif task == "written":
        given |= {"output_type": "generate_until", "doc_to_text": "{{prompt}}"}
        given |= {"doc_to_target": "prompt", "metric_list": [{"metric": "exact_match"}]}
        given |= {"generation_kwargs": {"until": ["zz"], "max_gen_toks": 32}}
    else:
        given |= {"output_type": "multiple_choice", "doc_to_text": "{{prompt}}"}
        given |= {"doc_to_choice": "options", "doc_to_target": "label"}
        given |= {"metric_list": [{"metric": name} for name in ("acc", "acc_norm")]}
    manager = TaskManager(include_defaults=False)
    tasks = list(manager.load([given])["tasks"].values())
    lm = HFLM(pretrained=model, tokenizer=hf, batch_size=batch, device="cpu", max_length=WINDOW)
    began = time.process_time()
    found = lm_eval.simple_evaluate(model=lm, tasks=tasks, task_manager=manager, bootstrap_iters=0)
    seconds = time.process_time() - began
    samples = found["samples"]["rows"]
    if "texts" in task:
        number = found["results"]["rows"]["bits_per_byte,none"]
    elif task == "written":
        number = sum(len(row["resps"][0][0]) for row in samples)
    else:
        number = sum(one[0] for row in samples for one in row["filtered_resps"])
    return {"seconds": seconds, "number": number}


def save(rows: list[dict[str, object]]) -> None:
    import torch

    name = re.sub(r"[^a-z0-9]+", "-", (processor() or platform.machine()).lower()).strip("-")
    content = {"date": str(date.today()), "hardware": processor(), "torch": torch.__version__}
    content |= {"window": WINDOW, "load": os.getloadavg(), "rows": rows}
    path = RESULTS / f"likelihood-{date.today()}-{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(path)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
