"""A model, an order of blocks to remove. The table of methods is the whole registry."""

from inarch.prune._method import PruneMethod
from inarch.prune._order import Block, Step, Unit
from inarch.prune._subject import Subject
from inarch.prune.block_influence import BlockInfluenceSettings, block_influence
from inarch.prune.block_influence_split import BlockInfluenceSplitSettings, block_influence_split
from inarch.prune.block_pruner import BlockPrunerSettings, block_pruner
from inarch.prune.deepest import DeepestSettings, deepest
from inarch.prune.laco import LacoSettings, laco
from inarch.prune.one_shot import OneShotSettings, one_shot
from inarch.prune.random import RandomSettings, random
from inarch.prune.relative_magnitude import RelativeMagnitudeSettings, relative_magnitude
from inarch.prune.sleb import SlebSettings, sleb

METHODS: dict[str, PruneMethod] = {
    "block_pruner": PruneMethod(block_pruner, BlockPrunerSettings, "losses"),
    "one_shot": PruneMethod(one_shot, OneShotSettings, "losses"),
    "sleb": PruneMethod(sleb, SlebSettings, "losses"),
    "block_influence": PruneMethod(block_influence, BlockInfluenceSettings, "stream"),
    "block_influence_split": PruneMethod(
        block_influence_split, BlockInfluenceSplitSettings, "stream"
    ),
    "relative_magnitude": PruneMethod(relative_magnitude, RelativeMagnitudeSettings, "stream"),
    "laco": PruneMethod(laco, LacoSettings, "stream"),
    "deepest": PruneMethod(deepest, DeepestSettings, "stream"),
    "random": PruneMethod(random, RandomSettings, "nothing"),
}

__all__ = ["METHODS", "Block", "PruneMethod", "Step", "Subject", "Unit"]
