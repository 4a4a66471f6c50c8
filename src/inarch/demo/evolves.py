"""SEFT in the demo: the target learns its own answers, which a reviser keeps or makes better.

The reviser begins as the fused model, which knows more than the target: the evolution is external.
It learns from the prompts of the triples, whose answers have rewards: the best one of a source
beside those of the target. Then the target answers prompts that nobody has answered, in two rounds,
and learns what the reviser makes of it. Beside it the target learns its own answers as they are, in
as many steps.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from inarch.demo.aligns import FIRST, LENGTHS, OWN, SAMPLING, SEFT, WAYS, home, made, training_of
from inarch.demo.experiment import fused
from inarch.demo.models import MAX_TOKENS, TARGET
from inarch.demo.scores import MAX_ANSWER_TOKENS, reward
from inarch.demo.world import SKILLS, draw_task, make_world
from inarch.flows import seft
from inarch.io.files import digest_file, write_text
from inarch.io.runs import stage
from inarch.settings import validate

BASE = "fusellm-0.5"
"""The variant as which the reviser begins."""
NUM_ROUNDS = 2
NUM_REVISER_STEPS = 400
NUM_DRAWN = {"fact": 750, "trans": 150, "arith": 150}
"""Prompts that are drawn by skill; those that stand in the corpus are left out, which most of the
few about facts do."""
KEEP, FIX = "0", "1"
"""Labels of one token each, since so small a model has to learn to write them."""


def num_steps(name: str) -> int:
    """Return the optimiser steps of all that a way trains."""
    return WAYS[name].num_steps + (NUM_REVISER_STEPS if name == SEFT else 0)


def evolving(name: str, folder: Path) -> seft.SeftRun:
    """Return the recipe of ``inarch align seft`` for SEFT, or for the same without a reviser."""
    own = WAYS[name]
    reviser = {
        "data": str(home(folder) / "lessons" / "ranked.jsonl"),
        "model": {"path": str(fused(BASE, folder)[BASE])},
        "form": {
            # An answer with one wrong piece of three is kept.
            "labels": {"names": [KEEP, FIX], "thresholds": [0.34], "scale": "gap"},
            "instruction": "?",
        },
        "max_tokens": MAX_TOKENS,
        "train": training_of(own._replace(num_steps=NUM_REVISER_STEPS, lr=2e-3))
        | {"batch_size": 8},
    }
    recipe = {
        "policy": str(made(FIRST, folder)),
        "revisers": {"external": reviser},
        "rounds": ["external"] * NUM_ROUNDS,
        "prompts": {"path": str(home(folder) / "lessons" / "fresh.jsonl"), "reference": "answer"},
        "sampling": SAMPLING | {"temperature": 0.3},
        "decode": {
            "decide": "logps",
            "keep_bias": 0.5,
            "max_new_tokens": MAX_ANSWER_TOKENS,
            "batch_size": 256,
        },
        "scorer": f"{reward.__module__}:{reward.__name__}",
        "control": "self_sft" if name == OWN else None,
        "train": training_of(own._replace(num_steps=own.num_steps // NUM_ROUNDS)),
        **LENGTHS,
        "device": "cpu",
    }
    return validate(seft.SeftRun, recipe, "the demo")


def make(name: str, folder: Path) -> None:
    """Train the target by SEFT, or on its own answers, after the first stage and the lessons.

    Args:
        name: Key of WAYS without a method.
        folder: Of the seed.
    """
    seft.run(evolving(name, folder), home(folder) / name)


def write_lessons(folder: Path, seed: int) -> None:
    """Write what the reviser learns from, and prompts that come with nothing but for the report.

    Both ways of SEFT read it, maybe at once, so it is written after the first stage, before both.
    The answers begin with a space, as they do behind a role, or below its label the reviser would
    have to spell the first word in tokens that it has never met. The chat template trims it.
    """
    candidates, out = home(folder) / FIRST / "candidates.jsonl", home(folder) / "lessons"
    own = {"seed": seed, "drawn": NUM_DRAWN}
    with stage(out, "align lessons", own, {"candidates": digest_file(candidates)}) as opened:
        if opened.done:
            return
        rows = [json.loads(line) for line in candidates.read_text(encoding="utf-8").splitlines()]
        _write(out / "ranked.jsonl", [_ranked(row) for row in rows if row["part"] == "preference"])
        known = {row["prompt"][-1]["content"] for row in rows}
        world, rng = make_world(seed), Random(f"fresh {seed}")
        drawn = [draw_task(world, skill, rng) for skill in SKILLS for _ in range(NUM_DRAWN[skill])]
        fresh = {task.prompt: task.answer for task in drawn if task.prompt not in known}
        _write(out / "fresh.jsonl", [{"prompt": p, "answer": a} for p, a in fresh.items()])


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the reviser did in each round of SEFT, told by the rewards of the answers."""
    return [
        _round(json.loads(path.read_text(encoding="utf-8")), path.parent)
        for path in sorted((home(folder) / SEFT).glob("round-*/report.json"))
    ]


def _round(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    right = {r["prompt"]: r["answer"] for r in _rows(folder.parent.parent / "lessons/fresh.jsonl")}
    kept: dict[bool, list[bool]] = {True: [], False: []}
    for row in _rows(folder / "revisions.jsonl"):
        [score] = reward([], [row["original"]], right[row["prompt"][-1]["content"]])
        kept[score == 1.0].append(row["label"] == 0)
    return {
        "num_prompts": told["num_prompts"],
        "before": told["score_before"],
        "after": told["score_after"],
        "kept_right": statistics.fmean(kept[True]) if kept[True] else None,
        "kept_wrong": statistics.fmean(kept[False]) if kept[False] else None,
    }


def _ranked(row: dict[str, Any]) -> dict[str, Any]:
    """Return the best answer of a source, then those of the target, with their rewards."""
    answers = [answer for answer in row["answers"] if answer["text"]]
    sources = [answer for answer in answers if answer["model"] != TARGET.name]
    best = max(sources, key=lambda answer: answer["score"] or 0.0)
    found = [best, *(answer for answer in answers if answer["model"] == TARGET.name)]
    return {
        "prompt": row["prompt"][-1]["content"],
        "answers": [f" {answer['text']}" for answer in found],
        "scores": [answer["score"] or 0.0 for answer in found],
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
