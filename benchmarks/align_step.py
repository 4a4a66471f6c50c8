"""A step of DPO, of inarch and of TRL's DPOTrainer, on the same tiny model and data.

    python benchmarks/align_step.py [--vocab 32000 --vocab 128000] [--rounds 2] [--no-json]

Every measurement is a process of its own with one thread; the least seconds of processor time over
its steps but the first count, and of several rounds the best. ``tokens_per_s`` are those of prompts
and answers, each answer with its prompt, whatever either program computes; ``peak_gib`` is the most
resident memory above the most that the process had held before the first step, for ``auto``
that of its trial. ``whole`` adds AdamW's update.

TRL computes log-probs in tiles by its fused LM head, which has no setting to switch on: it always
is. On a CPU it scores every position, on a GPU those of the answers alone; ``trl, answers only`` is
its CPU code with that one choice made as on a GPU, which no setting offers, and so its best case.
``stored`` are reference log-probs computed beforehand, by both (``precompute_ref_log_probs``).
"""

import argparse
import copy
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import numpy as np

HIDDEN, LAYERS, STEPS = 128, 2, 3
DATA = {  # rows, tokens of a prompt, tokens of an answer
    "mixed": (4, (64, 65), (60, 190)),
    "long prompts": (2, (1500, 1501), (100, 101)),
    "short prompts": (8, (10, 30), (20, 200)),
}
PROGRAMS = {
    "inarch": {"layout": "auto"},
    "inarch, padded": {"layout": "padded"},
    "inarch, packed": {"layout": "packed"},
    "inarch, shared": {"layout": "shared"},
    "trl": {},
    "trl, answers only": {"compact": True},
}


def main() -> None:
    """Measure in processes, print a line per run, and write the dated JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocab", type=int, action="append")
    parser.add_argument("--data", action="append", choices=DATA)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-json", action="store_true")
    parser.add_argument("--one", help="JSON of one measurement; for the processes of this script")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(**json.loads(args.one))))
        return
    runs = []
    for case in cases(args.vocab or [32000, 128000], args.data or list(DATA)):
        found = [in_process(case) for _ in range(args.rounds)]
        best = min(found, key=lambda run: run["seconds"])
        runs.append(case | best | {"peak_gib": min(run["peak_gib"] for run in found)})
        show(runs[-1])
        if not args.no_json:
            save(runs)


def cases(vocabs: list[int], data: list[str]) -> list[dict[str, object]]:
    """Return what is measured: both programs at every width of the head, layouts at the first."""
    both, found = ("inarch", "trl"), []
    if "mixed" in data:
        for kind in ({"stored": True}, {"stored": False}, {"whole": True}):
            found += [case(vocab, program, **kind) for vocab in vocabs for program in both]
        found += [case(vocab, "trl, answers only") for vocab in vocabs]
        found += [case(vocab, "inarch", method="wrpo") for vocab in vocabs]
    for name in reversed(data):
        for method in ("wrpo", "dpo"):
            for program in PROGRAMS:
                made = case(vocabs[0], program, data=name, method=method)
                if made not in found and (method == "dpo" or "inarch" in program):
                    found.append(made)
    return found


def case(vocab: int, program: str, **other: object) -> dict[str, object]:
    """Return one measurement's arguments."""
    return {
        "vocab": vocab,
        "data": "mixed",
        "method": "dpo",
        "stored": True,
        "whole": False,
        "program": program,
    } | other


def in_process(case: dict[str, object]) -> dict[str, float]:
    """Return what a process of its own measures."""
    command = [sys.executable, __file__, "--one", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    vocab: int, data: str, method: str, stored: bool, whole: bool, program: str
) -> dict[str, float]:
    """Return the seconds of a step, its tokens per second, and the memory that steps took."""
    import torch

    from inarch.io.models import new_model

    torch.set_num_threads(1)
    config = {"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN}
    config |= {"num_hidden_layers": LAYERS, "num_attention_heads": 4}
    policy = new_model(config | {"max_position_embeddings": 2048}, vocab, 0).train()
    reference = None if stored else copy.deepcopy(policy)
    rows = made_up(vocab, data, 3 if method == "wrpo" else 2)
    build = trl_step if program.startswith("trl") else inarch_step
    loss = build(policy, reference, rows, method, PROGRAMS[program])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6) if whole else None
    before = resident()
    seconds = []
    for _ in range(STEPS):
        policy.zero_grad()
        begun = time.process_time()
        loss().backward()
        if optimizer is not None:
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
        seconds.append(time.process_time() - begun)
    tokens = sum(len(prompt) + len(a) for prompt, answers in rows for a in answers)
    least = min(seconds[1:])
    return {
        "seconds": round(least, 4),
        "tokens_per_s": round(tokens / least),
        "peak_gib": round(resident() - before, 3),
        "tokens": tokens,
    }


def resident() -> float:
    """Return the most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def made_up(vocab: int, data: str, num_answers: int) -> list[tuple[object, list[object]]]:
    """Return prompts and answers of random ids."""
    num, prompt, answer = DATA[data]
    rng = np.random.default_rng(0)

    def ids(limits: tuple[int, int]) -> object:
        return rng.integers(0, vocab, rng.integers(*limits)).astype(np.int32)

    return [(ids(prompt), [ids(answer) for _ in range(num_answers)]) for _ in range(num)]


def inarch_step(policy, reference, rows, method, options):
    """Return the loss of `inarch align train` on the rows."""
    from inarch.align import METHODS
    from inarch.align._examples import PreferenceData, collator
    from inarch.align._objective import preference_loss
    from inarch.align._reference import Products, frozen, stored
    from inarch.align._rows import AnswerRow
    from inarch.align._trial import layout_for

    line = METHODS[method]
    data = PreferenceData([AnswerRow(p, tuple(a)) for p, a in rows], line.data, 2048)
    layout = layout_for(options["layout"], policy, [data.longest()])
    if reference is None:
        data.reference_RK = np.full((len(rows), len(rows[0][1])), -100, np.float32)
        before = stored
    else:
        before = frozen(reference, Products())
    loss = preference_loss(line, line.settings(), before)
    collate, examples = collator(line.items, layout), list(data)
    return lambda: loss(policy, collate(examples), 0.5).loss / len(rows)


def trl_step(policy, reference, rows, method, options):
    """Return the loss of TRL's trainer on the rows, as its own training loop calls it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import trl
    from datasets import Dataset
    from tests.tiny import byte_level

    if options.get("compact"):
        from trl.trainer import utils

        utils._use_triton = lambda device: True  # asked for here only: which positions to score
    hf = byte_level()
    hf.pad_token = "<eos>"
    stored = reference is None
    config = trl.DPOConfig(
        output_dir=tempfile.mkdtemp(),
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        max_length=None,
        per_device_train_batch_size=len(rows),
        precompute_ref_log_probs=stored,
    )
    chat = {
        "prompt": [{"role": "user", "content": "a"}],
        "chosen": [{"role": "assistant", "content": "b"}],
        "rejected": [{"role": "assistant", "content": "c"}],
    }
    if stored:
        reference = copy.deepcopy(policy)
    trainer = trl.DPOTrainer(
        model=policy,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_list([chat] * len(rows)),
        processing_class=hf,
    )
    del reference
    examples = [
        {"prompt_ids": p.tolist(), "chosen_ids": a[0].tolist(), "rejected_ids": a[1].tolist()}
        for p, a in rows
    ]
    if stored:
        known = {"ref_chosen_logps": -100.0, "ref_rejected_logps": -100.0}
        examples = [example | known for example in examples]
    return lambda: trainer.compute_loss(policy, trainer.data_collator(examples))


def show(run: dict[str, object]) -> None:
    """Print one run."""
    print(
        f"V {run['vocab']:6} {run['data']:13} {run['method']:4}"
        f" {'stored' if run['stored'] else 'live  '} {'step' if run['whole'] else 'loss'}"
        f" {run['program']:18} {run['tokens_per_s']:7} tokens/s  peak {run['peak_gib']:.3f} GiB",
        flush=True,
    )


def save(runs: list[dict[str, object]]) -> None:
    """Write the dated JSON beside this script."""
    import torch
    import transformers
    import trl

    results = {
        "date": date.today().isoformat(),
        "machine": "2 cores AMD EPYC, 24 GB; one thread",
        "model": f"llama, hidden {HIDDEN}, {LAYERS} layers, float32",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "runs": runs,
        "ratios": ratios(runs),
    }
    path = Path(__file__).parent / "results" / f"align_step-{date.today()}-amd-epyc.json"
    path.write_text(json.dumps(results, indent=1) + "\n")


def ratios(runs: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return inarch beside TRL: how many times the tokens a second, what share of the memory."""
    keys = ("vocab", "data", "method", "stored", "whole")
    found = []
    for ours in (run for run in runs if run["program"] == "inarch"):
        for theirs in runs:
            same = all(ours[key] == theirs[key] for key in keys)
            if same and theirs["program"].startswith("trl"):
                found.append(
                    {key: ours[key] for key in keys}
                    | {
                        "beside": theirs["program"],
                        "tokens_per_s": round(ours["tokens_per_s"] / theirs["tokens_per_s"], 2),
                        "memory": round(ours["peak_gib"] / theirs["peak_gib"], 2),
                    }
                )
    return found


if __name__ == "__main__":
    main()
