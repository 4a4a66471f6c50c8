"""Alignment in the demo: the target learns which answers are better, without anybody's beliefs.

The prompts are those of the fusion corpus; the reward of an answer is its share of right pieces.
The sources answer, and the target as it was taught learns the best of their answers to a third of
the prompts. From there it goes on in as many steps of WRPO, of DPO on its own answers, and of SFT
on the sources' answers; or by SEFT, see `inarch.demo.evolves`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.demo.experiment import taught
from inarch.demo.models import MAX_TOKENS, SOURCES, TARGET
from inarch.demo.scores import MAX_ANSWER_TOKENS, ask, inputs_of, reward
from inarch.demo.world import SKILLS, Task
from inarch.flows import align, align_build
from inarch.io.files import digest_file, write_text
from inarch.io.models import load_model
from inarch.io.runs import stage
from inarch.io.sampling import SamplingSettings, sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message
from inarch.settings import validate

NUM_SAMPLES = 3
"""Answers of each model to each prompt."""
FIRST, SEFT, OWN = "target_sft", "seft", "self_sft"
"""The first stage, with which the others begin; SEFT, and the same without a reviser."""


class Way(NamedTuple):
    """One way to train the target on."""

    label: str
    """What tables call it."""
    num_steps: int
    """Optimiser steps of the target."""
    lr: float
    method: dict[str, Any] | None = None
    """Of ``inarch align train``; none: of ``inarch align seft``."""


WAYS: dict[str, Way] = {
    FIRST: Way("Target-SFT", 38, 1e-3, {"name": "sft"}),
    "wrpo": Way("Target-SFT + WRPO", 30, 5e-5, {"name": "wrpo", "beta": 3.0, "alpha": 0.5}),
    "dpo": Way("Target-SFT + DPO", 30, 5e-5, {"name": "dpo", "beta": 3.0}),
    "sft": Way("Target-SFT + more SFT", 30, 5e-4, {"name": "sft"}),
    SEFT: Way("Target-SFT + SEFT", 60, 2e-4),
    OWN: Way("Target-SFT + its own answers", 60, 2e-4),
}
"""Settings were chosen on other seeds than are shown, each method's learning rate for itself."""


class Aligned(NamedTuple):
    """One model."""

    name: str
    """Key of WAYS, or the target's name for the target as it was taught."""
    piece_frac: dict[str, float]
    """Skill to the share of right pieces, decoded greedily as for all models of the demo."""
    reward: dict[str, float]
    """Skill to the mean reward of sampled answers, which is what preferences are to raise."""


def building(folder: Path) -> align_build.BuildRun:
    """Return the recipe of ``inarch align build`` for the folder of a seed."""
    first = WAYS[FIRST]
    recipe = {
        "prompts": {"path": str(home(folder) / "data" / "prompts.jsonl"), "reference": "answer"},
        "sources": [{"path": str(taught(s.name, folder)), "name": s.name} for s in SOURCES],
        "target": {"path": str(taught(TARGET.name, folder)), "name": TARGET.name},
        "samples": NUM_SAMPLES,
        "sampling": SAMPLING,
        "scorer": f"{reward.__module__}:{reward.__name__}",
        "sft": {"train": training_of(first), **LENGTHS},
        "device": "cpu",
    }
    return validate(align_build.BuildRun, recipe, "the demo")


def training(name: str, folder: Path) -> align.AlignRun:
    """Return the recipe of ``inarch align train`` of a way that has a method.

    All read the same triples, of which DPO takes the two answers of the target and SFT the one of a
    source.
    """
    recipe = {
        "model": str(made(FIRST, folder)),
        "data": {"path": str(home(folder) / FIRST / "triples.jsonl"), **LENGTHS},
        "method": WAYS[name].method,
        "train": training_of(WAYS[name]),
        "device": "cpu",
    }
    return validate(align.AlignRun, recipe, "the demo")


def made(name: str, folder: Path) -> Path:
    """Return the folder of the model that a way makes."""
    own = home(folder) / name
    return own / "sft" / "model" if name == FIRST else own / "model"


def make(name: str, folder: Path, tasks: Sequence[Task]) -> None:
    """Train the target in one of the WAYS, and ask it; all but the first need the first.

    Args:
        name: Key of WAYS with a method.
        folder: Of the seed.
        tasks: What the models are asked, some of every skill.
    """
    if name == FIRST:
        _write_prompts(folder)
        align_build.run(building(folder), home(folder) / FIRST)
        measure(TARGET.name, folder, tasks)
    else:
        align.run(training(name, folder), home(folder) / name)
    measure(name, folder, tasks)


def results(folder: Path, tasks: Sequence[Task]) -> list[Aligned]:
    """Return the target as it was taught, then what each way made of it; all of them are made."""
    return [measure(name, folder, tasks) for name in (TARGET.name, *WAYS)]


def statistics_of(folder: Path) -> dict[str, Any]:
    """Return what the build of a seed counted."""
    path = home(folder) / FIRST / align_build.STATISTICS
    return dict(json.loads(path.read_text(encoding="utf-8")))


def measure(name: str, folder: Path, tasks: Sequence[Task]) -> Aligned:
    """Return how much a model gets right, decoded greedily and sampled; it is kept."""
    model = taught(name, folder) if name == TARGET.name else made(name, folder)
    inputs, own = inputs_of(model, tasks), {"sampling": SAMPLING, "num_samples": NUM_SAMPLES}
    with stage(home(folder) / "scores" / name, "score aligned", own, inputs) as opened:
        if not opened.done:
            network, tokenizer = load_model(model), load_tokenizer(str(model))
            scores = ask(network, tokenizer, tasks)
            opened.note(
                piece_frac={score.skill: score.piece_frac for score in scores},
                reward=_rewards(network, tokenizer, tasks),
            )
        return Aligned(name, opened.facts["piece_frac"], opened.facts["reward"])


def _rewards(network: Any, tokenizer: Any, tasks: Sequence[Task]) -> dict[str, float]:
    """Return the mean reward of sampled answers by skill."""
    chats = [(Message("user", task.prompt),) for task in tasks]
    settings = validate(SamplingSettings, SAMPLING, "the demo")
    written = sample(network, tokenizer, chats, settings, num_samples=NUM_SAMPLES)
    found: dict[str, list[float]] = {skill: [] for skill in SKILLS}
    for task, texts in zip(tasks, written, strict=True):
        found[task.skill] += reward([], texts, task.answer)
    return {skill: statistics.fmean(rewards) for skill, rewards in found.items()}


def _write_prompts(folder: Path) -> None:
    """Write the prompts of the fusion corpus, each once, with what is right."""
    clean, out = folder / "data" / "clean.jsonl", home(folder) / "data"
    with stage(out, "align data", {}, {"clean": digest_file(clean)}) as opened:
        if not opened.done:
            lines = clean.read_text(encoding="utf-8").splitlines()
            chats = [json.loads(line)["messages"] for line in lines]
            right = {question["content"]: answer["content"] for question, answer in chats}
            rows = [json.dumps({"prompt": p, "answer": a}) for p, a in right.items()]
            write_text(out / "prompts.jsonl", "\n".join(rows) + "\n")


SAMPLING = {"temperature": 0.8, "max_new_tokens": MAX_ANSWER_TOKENS, "batch_size": 256}
LENGTHS = {"max_tokens": MAX_TOKENS, "max_prompt_tokens": MAX_TOKENS - MAX_ANSWER_TOKENS}


def training_of(way: Way) -> dict[str, Any]:
    """Return how a way trains, in the keys of a recipe."""
    return {
        "max_steps": way.num_steps,
        "lr": way.lr,
        "batch_size": 32,
        "schedule": "linear",
        "warmup_frac": 0.05,
        "min_lr_frac": 0.05,
        "weight_decay": 0.01,
        "betas": [0.9, 0.98],
        "save_every_steps": None,
    }


def home(folder: Path) -> Path:
    """Return where all this is in the folder of a seed."""
    return folder / "aligned"
