"""What the demo says about its pruned models, worked out by hand."""

import pytest

from inarch.demo.prune_results import as_json, curves, findings
from inarch.demo.prunes import Removal


def removal(method: str, blocks: int, *shares: float) -> Removal:
    skills = dict(zip(("fact", "trans", "arith"), shares, strict=True))
    return Removal(method, blocks, blocks / 10, skills, (("mha0",) * blocks,))


def test_curves_are_means_over_skills_seed_by_seed() -> None:
    first = [removal("block_pruner", 0, 0.9, 0.6, 0.3), removal("block_pruner", 4, 0.3, 0.0, 0.0)]
    second = [removal("block_pruner", 0, 1.0, 1.0, 0.7), removal("block_pruner", 4, 0.2, 0.1, 0.3)]
    # 1.8 / 3, 2.7 / 3; .3 / 3, .6 / 3
    (curve,) = curves([first, second]).values()
    assert curve == {0: pytest.approx((0.6, 0.9)), 4: pytest.approx((0.1, 0.2))}
    told = as_json({7: first, 8: second}, "fusellm-0.5")
    assert told["methods"] == {"block_pruner": "BlockPruner"}
    assert told["num_blocks"] == 8
    assert [(r["seed"], r["blocks"]) for r in told["removals"]] == [(7, 0), (7, 4), (8, 0), (8, 4)]


def test_the_last_removal_is_judged_against_every_method() -> None:
    mine = {0: (0.8, 0.9), 4: (0.6, 0.5)}
    others = {
        "one_shot": {0: (0.8, 0.9), 4: (0.5, 0.6)},
        "sleb": {0: (0.8, 0.9), 4: (0.4, 0.2)},
        "block_influence": {0: (0.8, 0.9), 4: (0.7, 0.7)},
        "random": {0: (0.8, 0.9), 2: (0.1, 0.1)},
    }
    where = "A without 4 of 8 blocks, BlockPruner"
    assert findings({"block_pruner": mine, **others}, "A", 8) == (
        f"{where}: -30.0 on average; -20.0, -40.0 points against all blocks.",
        f"{where} better in 1 of 2 seeds than one-shot ranking:"
        " +0.0 on average; +10.0, -10.0 points.",
        f"{where} better in every seed than SLEB (layers): +25.0 on average; +20.0, +30.0 points.",
        f"{where} worse in every seed than ShortGPT (layers):"
        " -15.0 on average; -10.0, -20.0 points.",
    )


def test_ties_and_single_seeds_are_no_verdict() -> None:
    mine = {0: (0.8,), 4: (0.6,)}
    (_, said) = findings({"block_pruner": mine, "random": {4: (0.5,)}}, "A", 8)
    assert (
        said
        == "A without 4 of 8 blocks, BlockPruner in one seed, against random orders: +10.0 points."
    )
    alike = {0: (0.8, 0.8), 4: (0.6, 0.5)}
    (_, said) = findings({"block_pruner": alike, "sleb": alike}, "A", 8)
    assert "BlockPruner the same as SLEB (layers)" in said
