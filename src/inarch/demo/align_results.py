"""What the demo tells of its aligned models: who gained over where it began, and over its peers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.demo import aligns, evolves
from inarch.demo.aligns import FIRST, OWN, SEFT, WAYS, Aligned
from inarch.demo.experiment import Size, questions
from inarch.demo.models import TARGET
from inarch.demo.results import Results, beside, points

BEFORE = "target before"
COMPARED = (
    (FIRST, TARGET.name),
    ("wrpo", FIRST),
    ("wrpo", "dpo"),
    ("wrpo", "sft"),
    (SEFT, FIRST),
    (SEFT, OWN),
)
"""What a finding is said of: a model, and the one that it is compared with."""


def add(results: Results, folders: Mapping[int, Path], size: Size) -> Results:
    """Return the results with those of the aligned models, all of which are made.

    Args:
        results: Of all other models.
        folders: Seed to its folder.
        size: What was run.
    """
    if not size.aligned:
        return results
    found = {seed: aligns.results(f, questions(seed, size)) for seed, f in folders.items()}
    told = as_json(found) | {
        "build": {seed: aligns.statistics_of(folder) for seed, folder in folders.items()},
        "rounds": {seed: evolves.rounds_of(folder) for seed, folder in folders.items()},
    }
    return results._replace(
        findings=results.findings + findings(told["piece_frac"]),
        facts=results.facts | {"aligned": told},
    )


def as_json(found: Mapping[int, Sequence[Aligned]]) -> dict[str, Any]:
    """Return what ``results.json`` tells of the aligned models of every seed."""
    return {
        "labels": {TARGET.name: BEFORE} | {name: way.label for name, way in WAYS.items()},
        "num_steps": {name: way.num_steps for name, way in WAYS.items()},
        "num_reviser_steps": evolves.NUM_REVISER_STEPS,
        "num_samples": aligns.NUM_SAMPLES,
        "piece_frac": _whole(found, "piece_frac"),
        "reward": _whole(found, "reward"),
        "scores": [
            {"seed": seed, **model._asdict()} for seed, models in found.items() for model in models
        ],
    }


def findings(piece_frac: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return how the methods stand beside where they began and beside their peers, good or bad.

    Args:
        piece_frac: Model to the share of right pieces over all skills, one number per seed.
    """
    said = []
    for mine, other in COMPARED:
        pairs = zip(piece_frac[mine], piece_frac[other], strict=True)
        gains = [a - b for a, b in pairs]
        said.append(f"{_name(mine)} {beside(gains)} {_name(other)}: {points(gains)} points.")
    return tuple(said)


def _name(key: str) -> str:
    return BEFORE if key == TARGET.name else WAYS[key].label


def _whole(found: Mapping[int, Sequence[Aligned]], metric: str) -> dict[str, tuple[float, ...]]:
    """Return, for each model, the mean of a metric over the skills, one number per seed."""
    over_seeds: dict[str, list[float]] = {}
    for models in found.values():
        for model in models:
            mean = statistics.fmean(getattr(model, metric).values())
            over_seeds.setdefault(model.name, []).append(mean)
    return {name: tuple(values) for name, values in over_seeds.items()}
