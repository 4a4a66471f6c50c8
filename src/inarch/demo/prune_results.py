"""What the demo tells of its pruned models: right pieces by removed blocks, and who is better."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.demo import stories
from inarch.demo.experiment import VARIANTS, Size, questions
from inarch.demo.models import TARGET
from inarch.demo.prunes import BLOCK_PRUNER, METHODS, NUM_BLOCKS, NUM_CHATS, Removal, removals
from inarch.demo.results import Results, beside, points

Curve = dict[int, tuple[float, ...]]
"""Removed blocks to the share of right pieces over all skills, one number per seed."""


def add(results: Results, folders: Mapping[int, Path], size: Size) -> Results:
    """Return the results with those of the pruned models, all of which are made.

    Args:
        results: Of all other models.
        folders: Seed to its folder; the stories are beside them.
        size: What was run.
    """
    told: dict[str, Any] = {}
    said = results.findings
    if size.pruned:
        found = {
            seed: removals(size.pruned, folder, seed, questions(seed, size))
            for seed, folder in folders.items()
        }
        told = as_json(found, size.pruned)
        said += findings(curves(found.values()), told["label"], told["num_blocks"])
    if size.stories:
        place = next(iter(folders.values())).parent / "stories"
        told["stories"] = stories.shrink(size.stories, place)
    facts = results.facts | ({"pruned": told} if told else {})
    return results._replace(findings=said, facts=facts)


def as_json(found: Mapping[int, Sequence[Removal]], variant: str) -> dict[str, Any]:
    """Return what ``results.json`` tells of the removals of every seed.

    Args:
        found: By seed.
        variant: Whose model is pruned.
    """
    over_seeds = curves(found.values())
    return {
        "variant": variant,
        "label": VARIANTS[variant].label,
        "num_blocks": 2 * TARGET.config["num_hidden_layers"],
        "num_chats": NUM_CHATS,
        "methods": {key: METHODS[key].label for key in over_seeds},
        "draws": {key: METHODS[key].draws for key in over_seeds},
        "curves": over_seeds,
        "removals": [
            {"seed": seed, **removal._asdict()} for seed, some in found.items() for removal in some
        ],
    }


def curves(found: Iterable[Sequence[Removal]]) -> dict[str, Curve]:
    """Return a curve per method, of the removals of every seed."""
    over_seeds: dict[str, dict[int, list[float]]] = {}
    for removal in (removal for some in found for removal in some):
        curve = over_seeds.setdefault(removal.method, {})
        curve.setdefault(removal.blocks, []).append(statistics.fmean(removal.piece_frac.values()))
    return {
        method: {blocks: tuple(shares) for blocks, shares in curve.items()}
        for method, curve in over_seeds.items()
    }


def findings(over_seeds: Mapping[str, Curve], label: str, num_blocks: int) -> tuple[str, ...]:
    """Return what the last removals show, good or bad.

    Args:
        over_seeds: A curve per method, BlockPruner's among them.
        label: Of the model.
        num_blocks: Of the whole model.
    """
    mine = over_seeds[BLOCK_PRUNER]
    lost = _less(mine[NUM_BLOCKS], mine[0])
    where = f"{label} without {NUM_BLOCKS} of {num_blocks} blocks"
    said = [f"{where}, BlockPruner: {points(lost)} points against all blocks."]
    for method, curve in over_seeds.items():
        if method == BLOCK_PRUNER or NUM_BLOCKS not in curve:
            continue
        gains = _less(mine[NUM_BLOCKS], curve[NUM_BLOCKS])
        said.append(
            f"{where}, BlockPruner {beside(gains)} {METHODS[method].label}: {points(gains)} points."
        )
    return tuple(said)


def _less(mine: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(mine, other, strict=True))
