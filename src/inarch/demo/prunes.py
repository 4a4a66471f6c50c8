"""BlockPruner in the demo: a fused model loses half of its blocks, in orders of several methods.

BlockPruner's order is a run of ``inarch prune``, with the smaller model that it saves. The other
orders are found on the same rows, and go as far in blocks: that flow would stop them where as many
parameters are gone. What is left after each removal is asked as all models of the demo are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.demo.experiment import VARIANTS, fused
from inarch.demo.models import MAX_TOKENS
from inarch.demo.scores import ask, inputs_of
from inarch.demo.world import SKILLS, Task
from inarch.flows import prune
from inarch.flows._prune.calibration import CalibrationSettings, calibrate
from inarch.flows._prune.order import find_order, step_of
from inarch.flows._prune.settings import MethodSettings, TargetSettings
from inarch.io.files import digest_file
from inarch.io.models import load_model
from inarch.io.runs import stage
from inarch.io.tokenizers import load_tokenizer
from inarch.prune import Block, Step, _sizes
from inarch.prune._blocks import BlockModel
from inarch.prune._score import ModelSubject

NUM_BLOCKS = 4
"""Blocks that are removed, half of the target's."""
NUM_CHATS = 64
"""Chats of the fusion corpus that the orders are found on."""


class Method(NamedTuple):
    """One way to choose the blocks."""

    label: str
    """What tables call it."""
    name: str
    settings: dict[str, Any]
    draws: int = 1
    """Orders that are scored; their scores are averaged."""


BLOCK_PRUNER = "block_pruner"
METHODS: dict[str, Method] = {
    BLOCK_PRUNER: Method("BlockPruner", "block_pruner", {}),
    "one_shot": Method("one-shot ranking", "one_shot", {}),
    # Of four layers the published barrier would leave nothing to choose.
    "sleb": Method("SLEB (layers)", "sleb", {"barrier": False}),
    "block_influence": Method("ShortGPT (layers)", "block_influence", {}),
    "random": Method("random orders", "random", {}, draws=4),
}


class Removal(NamedTuple):
    """A model without some of its blocks."""

    method: str
    """Key of METHODS."""
    blocks: int
    """How many are gone."""
    share: float
    """Share of the parameters that are gone; a mean over draws, as the next."""
    piece_frac: dict[str, float]
    """Skill to the share of right pieces."""
    gone: tuple[tuple[str, ...], ...]
    """The blocks in the order of their removal, one row per draw."""


def pruning(variant: str, folder: Path) -> prune.PruneRun:
    """Return the settings of the run of ``inarch prune``.

    Args:
        variant: Whose model is pruned; one that makes one model.
        folder: Of the seed.
    """
    corpus = folder / "data" / f"{VARIANTS[variant].corpus}.jsonl"
    return prune.PruneRun(
        model=str(fused(variant, folder)[variant]),
        data=CalibrationSettings(path=str(corpus), samples=NUM_CHATS, length=MAX_TOKENS),
        target=TargetSettings(blocks=(NUM_BLOCKS,)),
        method=MethodSettings(name=BLOCK_PRUNER),
        devices=("cpu",),
        speed=False,
    )


def pruned(variant: str, folder: Path) -> Path:
    """Return the folder of that run."""
    return folder / "pruned" / variant


def removals(variant: str, folder: Path, seed: int, tasks: Sequence[Task]) -> list[Removal]:
    """Prune the model of a variant, and return what is right after each removal.

    Both are kept in the folder of the seed.

    Args:
        variant: See `pruning`.
        folder: Of the seed.
        seed: Of the random orders.
        tasks: What is asked, some of every skill.
    """
    settings = pruning(variant, folder)
    steps = [step_of(row) for row in prune.run(settings, pruned(variant, folder))["steps"]]
    own = {
        "order": names(steps),
        "num_blocks": NUM_BLOCKS,
        "seed": seed,
        "methods": {key: method[1:] for key, method in METHODS.items()},
    }
    inputs = inputs_of(Path(settings.model), tasks)
    inputs["data"] = digest_file(settings.data.path)
    with stage(folder / "pruned" / "scores", "score pruned", own, inputs) as opened:
        if not opened.done:
            found = _Lab(settings, tasks, opened.folder).scored(steps, seed)
            opened.note(removals=[removal._asdict() for removal in found])
        return [
            Removal(**row | {"gone": tuple(map(tuple, row["gone"]))})
            for row in opened.facts["removals"]
        ]


class _Lab:
    """The model, the rows it is judged on, and what it is asked."""

    def __init__(self, settings: prune.PruneRun, tasks: Sequence[Task], folder: Path) -> None:
        self.tokenizer = load_tokenizer(settings.tokenizer_path)
        self.model = BlockModel.of(load_model(settings.model))
        rows = calibrate(settings.data, self.tokenizer, MAX_TOKENS).rows
        self.subject = ModelSubject(self.model, rows, settings.search)
        self.sizes = _sizes.measure(self.model)
        self.tasks, self.folder = tasks, folder
        self._asked: dict[frozenset[Block], dict[str, float]] = {}

    def scored(self, steps: Sequence[Step], seed: int) -> list[Removal]:
        """Return the whole model, then every removal of every method.

        Args:
            steps: Those of BlockPruner.
            seed: Of the random orders; those of other seeds are others.
        """
        orders = {BLOCK_PRUNER: [list(steps)]}
        for key, method in METHODS.items():
            if key != BLOCK_PRUNER:
                orders[key] = [
                    self._order(method, draw, seed * method.draws + draw)
                    for draw in range(method.draws)
                ]
        return [row for key in METHODS for row in self._along(key, orders[key])]

    def _order(self, method: Method, draw: int, seed: int) -> list[Step]:
        own = method.settings | ({"seed": seed} if method.draws > 1 else {})
        chosen = MethodSettings(name=method.name, settings=own)
        return find_order(
            (method.name, chosen.own()),
            self.subject,
            self.folder / f"{method.name}-{draw}.jsonl",
            (),
            lambda steps: len(blocks_of(steps)) >= NUM_BLOCKS,
        )

    def _along(self, key: str, orders: Sequence[Sequence[Step]]) -> Iterator[Removal]:
        """Yield what is left before the first and after each step; draws go in step."""
        for num in range(min(map(len, orders)) + 1):
            gone = [blocks_of(steps[:num]) for steps in orders]
            asked = [self._ask(blocks) for blocks in gone]
            yield Removal(
                key,
                len(gone[0]),
                statistics.fmean(_sizes.removed_frac(self.sizes, blocks) for blocks in gone),
                {skill: statistics.fmean(scores[skill] for scores in asked) for skill in SKILLS},
                tuple(names(steps[:num]) for steps in orders),
            )

    def _ask(self, gone: Sequence[Block]) -> dict[str, float]:
        key = frozenset(gone)
        if key not in self._asked:
            with self.model.without(gone):
                scores = ask(self.model.model, self.tokenizer, self.tasks)
            self._asked[key] = {score.skill: score.piece_frac for score in scores}
        return self._asked[key]


def blocks_of(steps: Sequence[Step]) -> list[Block]:
    """Return the blocks that steps remove, in their order."""
    return [block for step in steps for block in step.unit]


def names(steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the names of those blocks, such as ``mha2``."""
    return tuple(f"{block.kind}{block.layer}" for block in blocks_of(steps))
