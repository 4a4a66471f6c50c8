"""Likelihood of texts, multiple choice and greedy answers, beside lm-evaluation-harness.

    python benchmarks/likelihood.py [--vocab 32000] [--rounds 3] [--no-json]

Both score the same texts and questions with the same random model, in processes of their own with
one thread; tokenizing is part of it, loading is not. Time is processor time, the least of several
processes. lm-eval runs with each of a few batch sizes, and the fastest counts. The numbers of the
two are compared to 1e-5 before they are printed. Writes
benchmarks/results/likelihood-DATE-HARDWARE.json, with the load of the machine.
"""

import argparse
import json
import math
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

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
BATCHES = (1, 8, 32)
TASKS = ("texts", "choices", "long prompts", "written")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--no-json", action="store_true")
    parser.add_argument("--one", help="JSON of one measurement; for the processes of this script")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(**json.loads(args.one))))
        return
    rows = []
    for task in args.task or TASKS:
        ours = best([{"task": task, "vocab": args.vocab, "batch": 0}], args.rounds)
        cases = [{"task": task, "vocab": args.vocab, "batch": batch} for batch in BATCHES]
        theirs = best(cases, args.rounds)
        if not math.isclose(ours["number"], theirs["number"], rel_tol=1e-5, abs_tol=1e-9):
            raise SystemExit(f"{task}: {ours['number']} is not {theirs['number']}")
        row = {"task": task, "number": ours["number"], "inarch_s": round(ours["seconds"], 3)}
        row |= {"lm_eval_s": round(theirs["seconds"], 3), "lm_eval_batch": theirs["batch"]}
        rows.append(row | {"ratio": round(theirs["seconds"] / ours["seconds"], 2)})
        print(rows[-1], flush=True)
        if not args.no_json:
            save(rows, args.vocab)


def best(cases: list[dict], rounds: int) -> dict:
    found = []
    for case in cases * rounds:
        command = [sys.executable, __file__, "--one", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
        found.append(case | json.loads(done.stdout.splitlines()[-1]))
    return min(found, key=lambda run: run["seconds"])


def measure(task: str, vocab: int, batch: int) -> dict[str, float]:
    """Return seconds, and what is compared; batch 0 is inarch."""
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in data(task)))
        return (theirs if batch else ours)(task, model, hf, path, batch)


def data(task: str) -> list[dict]:
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

    if task == "texts":
        return [{"text": text(5, 500)} for _ in range(16)]
    least, most = (150, 200) if task == "long prompts" else (10, 60)
    number = 16 if task == "long prompts" else 32
    return [
        {"prompt": f"{text(least, most)}:", "options": [text(2, 6) for _ in range(4)], "label": 1}
        for _ in range(number)
    ]


def form(task: str) -> dict:
    if task == "written":
        return {"generate": {"answer": "prompt", "stop": ["zz"], "max_new_tokens": 32}}
    return {"multiple_choice": {"choices": "options", "answer": "label"}}


def ours(task: str, model: object, hf: object, path: Path, _batch: int) -> dict[str, float]:
    from inarch.evaluate import choices, exact_match
    from inarch.evaluate._questions import TaskSettings, read_questions
    from inarch.evaluate._reader import Reader
    from inarch.evaluate._texts import read_texts
    from inarch.evaluate.likelihood import LikelihoodSettings, score_texts
    from inarch.settings import validate

    began = time.process_time()
    if task == "texts":
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


def theirs(task: str, model: object, hf: object, path: Path, batch: int) -> dict[str, float]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    given = {
        "task": "rows",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
    }
    if task == "texts":
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
    if task == "texts":
        number = found["results"]["rows"]["bits_per_byte,none"]
    elif task == "written":
        number = sum(len(row["resps"][0][0]) for row in samples)
    else:
        number = sum(one[0] for row in samples for one in row["filtered_resps"])
    return {"seconds": seconds, "number": number}


def save(rows: list[dict], vocab: int) -> None:
    import torch

    name = re.sub(r"[^a-z0-9]+", "-", (processor() or platform.machine()).lower()).strip("-")
    content = {"date": str(date.today()), "hardware": processor(), "torch": torch.__version__}
    content |= {"vocab": vocab, "window": WINDOW, "load": os.getloadavg(), "rows": rows}
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
