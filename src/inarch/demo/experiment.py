"""The demo's runs, as recipes of ``inarch fuse``: four models are taught, then the target is fused.

One folder holds one seed: ``data`` (chats and tokenizers), ``taught`` (the four models), ``fused``
(the target after each variant), ``merged`` (its pairs, made one), ``pruned`` (one variant
without some blocks), ``aligned`` (the target after preferences) and ``scores``. All of them are
made of run folders, so a demo that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from inarch.data import DataSettings
from inarch.demo.models import MAX_TOKENS, SOURCES, TARGET, DemoModel, lessons, write_tokenizer
from inarch.demo.world import NUM_TEST, SKILLS, Task, World, draw_task, make_world, spoil, to_chat
from inarch.flows import match
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.fuse.settings import FuseSettings
from inarch.io.files import write_atomic
from inarch.io.runs import stage
from inarch.io.tokenizers import load_tokenizer
from inarch.train.settings import TrainSettings

NOISE = 0.35
"""Probability that a piece of an answer in the fusion corpus is wrong."""
EXPERTS = tuple(source.name for source in SOURCES)


class Size(NamedTuple):
    """How much work a demo does."""

    variants: tuple[str, ...]
    """Names in VARIANTS."""
    teaching_frac: float = 1.0
    """Share of the optimiser steps that the four models are taught for."""
    num_lessons: int = 4000
    """Chats that each of the four models is taught."""
    num_chats: int = 600
    """Chats of the fusion corpus, a third of each skill."""
    epochs: int = 12
    """Passes over the fusion corpus."""
    num_test: int = NUM_TEST
    """Held-out prompts of each skill that every model is asked."""
    merges: tuple[str, ...] = ()
    """Names in `inarch.demo.merges.MERGES`; they need the variant ``pairs``."""
    pruned: str = ""
    """The variant whose model loses blocks, one that makes one model; none: nobody does."""
    aligned: bool = False
    """The target learns from preferences, too."""
    stories: str = ""
    """Folder of a small real model that loses blocks, too; none: there is none."""


class Variant(NamedTuple):
    """One way to go on training the target on the fusion corpus."""

    label: str
    """What tables call it."""
    fuse: FuseSettings | None = None
    """None: plain continued training."""
    listens_to: tuple[str, ...] = EXPERTS
    """Models whose beliefs are fused, where there is fusion."""
    corpus: str = "corpus"
    """``corpus``, or ``clean``: the same prompts with right answers."""
    num_passes: int = 1
    """How often the epochs of the others fit into its own."""

    @property
    def is_pairwise(self) -> bool:
        """Return whether it makes one model per source."""
        return self.fuse is not None and self.fuse.pairwise


BASELINE = "plain"
VARIANTS: dict[str, Variant] = {
    "plain": Variant("plain training"),
    "fusellm-0.9": Variant("FuseLLM λ 0.9", FuseSettings(lambda_=0.9)),
    "fusellm-0.5": Variant("FuseLLM λ 0.5", FuseSettings(lambda_=0.5)),
    "pairs": Variant("FuseChat", FuseSettings(lambda_=0.5, pairwise=True)),
    "self": Variant(
        "its own beliefs λ 0.5",
        FuseSettings(lambda_=0.5, include_target=False),
        listens_to=(TARGET.name,),
    ),
    "clean": Variant("plain on clean labels", corpus="clean"),
    "plain-twice": Variant("plain, twice as long", num_passes=2),
}
"""``self`` and ``clean`` show what is not the sources' doing, and what could be had at best."""


def write_data(seed: int, size: Size, folder: Path) -> None:
    """Write what each model is taught and the fusion corpus, and learn the tokenizers.

    How the sources' tokenizers match the target's is noted in the manifest of ``folder/data``.
    """
    data = folder / "data"
    own = {"seed": seed, "num_lessons": size.num_lessons, "num_chats": size.num_chats}
    with stage(data, "demo data", own, {}) as opened:
        if opened.done:
            return
        world = make_world(seed)
        for model in (*SOURCES, TARGET):
            rng = Random(f"{model.name} {seed}")
            write_tokenizer(model, world, rng, tokenizer_folder(data, model))
            tasks = lessons(model, world, size.num_lessons, rng)
            _write_chats(tasks, data / f"{model.name}.jsonl")
        right, careless = fusion_corpus(world, seed, size.num_chats)
        _write_chats(right, data / "clean.jsonl")
        _write_chats(careless, data / "corpus.jsonl")
        opened.note(match=_matches(data), sentence=_sentence(right[0], data))


def fusion_corpus(world: World, seed: int, num_chats: int) -> tuple[list[Task], list[Task]]:
    """Return the tasks of the fusion corpus: right, and as a careless crowd would answer them."""
    rng = Random(f"corpus {seed}")
    right = [draw_task(world, SKILLS[i % len(SKILLS)], rng) for i in range(num_chats)]
    return right, [spoil(task, NOISE, rng) for task in right]


def teaching(model: DemoModel, seed: int, size: Size, folder: Path) -> FuseRun:
    """Return the recipe that trains one of the four models from random weights."""
    return FuseRun(
        target=ModelSettings(
            name=model.name,
            scratch=model.config,
            tokenizer=str(tokenizer_folder(folder / "data", model)),
        ),
        data=_data(folder, model.name),
        train=_training(
            batch_size=16, lr=2e-3, seed=seed, max_steps=num_teaching_steps(model, size)
        ),
        device="cpu",
    )


def fusing(name: str, seed: int, size: Size, folder: Path) -> FuseRun:
    """Return the recipe of a variant: the taught target, trained on the fusion corpus."""
    variant = VARIANTS[name]
    sources = tuple(
        # Where the target listens to itself, one of the two needs another name.
        ModelSettings(path=str(taught(n, folder)), name="itself" if n == TARGET.name else n)
        for n in variant.listens_to
    )
    return FuseRun(
        target=ModelSettings(path=str(taught(TARGET.name, folder)), name=TARGET.name),
        sources=sources if variant.fuse else (),
        data=_data(folder, variant.corpus),
        fuse=variant.fuse or FuseSettings(),
        train=_training(
            batch_size=32, lr=1e-3, seed=seed, max_steps=num_fusing_steps(variant, size)
        ),
        device="cpu",
    )


def num_teaching_steps(model: DemoModel, size: Size) -> int:
    """Return the optimiser steps that a model is taught for."""
    return max(1, round(size.teaching_frac * model.num_steps))


def num_fusing_steps(variant: Variant, size: Size) -> int:
    """Return the optimiser steps of one model of a variant."""
    return ceil(variant.num_passes * size.epochs * size.num_chats / 32)


def tokenizer_folder(data: Path, model: DemoModel) -> Path:
    """Return where a model's tokenizer is, in the data folder of a seed."""
    return data / "tokenizers" / model.name


def taught(name: str, folder: Path) -> Path:
    """Return the folder of one of the four models, as it is before fusion."""
    return folder / "taught" / name / "model"


def questions(seed: int, size: Size) -> list[Task]:
    """Return what every model of a seed is asked, skill by skill."""
    tasks = make_world(seed).test
    by_skill = ([task for task in tasks if task.skill == skill] for skill in SKILLS)
    return [task for found in by_skill for task in found[: size.num_test]]


def fused(name: str, folder: Path) -> dict[str, Path]:
    """Return the models that a variant makes of the target: one, or one per source."""
    out = folder / "fused" / name
    variant = VARIANTS[name]
    if not variant.is_pairwise:
        return {name: out / "model"}
    return {f"pair-{s}": out / "pairs" / s / "model" for s in variant.listens_to}


def _data(folder: Path, name: str) -> DataSettings:
    return DataSettings(path=str(folder / "data" / f"{name}.jsonl"), max_tokens=MAX_TOKENS)


def _training(**own: Any) -> TrainSettings:
    return TrainSettings(
        schedule="linear",
        warmup_frac=0.05,
        min_lr_frac=0.05,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        save_every_steps=None,
        **own,
    )


def _write_chats(tasks: Iterable[Task], path: Path) -> None:
    with write_atomic(path) as temp:
        temp.write_text("".join(f"{json.dumps(to_chat(task))}\n" for task in tasks))


def _matches(data: Path) -> list[dict[str, object]]:
    """Return, for each source, how its tokenizer matches the target's on the fusion corpus."""
    target = str(tokenizer_folder(data, TARGET))
    reports = [
        match.run(target, str(tokenizer_folder(data, source)), data / "corpus.jsonl")
        for source in SOURCES
    ]
    return [
        {"source": source.name, **report._asdict()}
        for source, report in zip(SOURCES, reports, strict=True)
    ]


def _sentence(task: Task, data: Path) -> dict[str, list[str]]:
    """Return the tokens of one prompt under every tokenizer."""
    found = {}
    for model in (*SOURCES, TARGET):
        tokenizer = load_tokenizer(str(tokenizer_folder(data, model)))
        ids = tokenizer.encode(f" {task.prompt}").ids
        found[model.name] = [tokenizer.hf.decode([token]) for token in ids.tolist()]
    return found
