"""The demo's page on models with fewer blocks: what is left right, and which method is better."""

import json

import pytest
from tests.report.conftest import SEEDS, SKILLS

LABELS = {"block_pruner": "BlockPruner", "sleb": "SLEB (layers)", "random": "random orders"}
# Share of right pieces over all skills, one number per seed; trans has .3 less, fact .3 more.
WHOLE = (0.60, 0.60, 0.66)
LEFT = {
    ("block_pruner", 1): (0.58, 0.59, 0.60),
    ("block_pruner", 2): (0.50, 0.40, 0.45),
    ("sleb", 2): (0.48, 0.45, 0.45),
    ("random", 2): (0.30, 0.35, 0.31),
    ("random", 1): (0.30, 0.40, 0.35),
}
SHARES = {("block_pruner", 2): 0.2, ("sleb", 2): 0.25, ("random", 2): 0.225}
STEPS = {
    "block_pruner": [(0, 0.0, 5.0), (1, 0.05, 6.0), (2, 0.10, 9.0)],
    "sleb": [(0, 0.0, 5.0), (2, 0.125, 8.0)],
    "random": [(0, 0.0, 5.0), (1, 0.05, 7.0), (2, 0.25, 30.0)],
}


def removal(method: str, blocks: int, seed: int, share: float) -> dict[str, object]:
    pieces = dict(zip(SKILLS, (share + 0.3, share - 0.3, share), strict=True))
    gone = [["mha2", "mlp1"][:blocks]] * (2 if method == "random" else 1)
    part = SHARES.get((method, blocks), blocks / 10)
    row = {"seed": seed, "method": method, "blocks": blocks, "share": part}
    return row | {"piece_frac": pieces, "gone": gone}


@pytest.fixture
def pruned(results):
    """What a demo writes that took two of eight blocks out by three methods."""
    left = {(method, 0): WHOLE for method in LABELS} | LEFT
    stories = {
        "model": "tales",
        "num_blocks": 10,
        "order": ["mha2", "mlp4"],
        "perplexity": {
            method: [dict(zip(("blocks", "share", "perplexity"), s, strict=True)) for s in steps]
            for method, steps in STEPS.items()
        },
        "before": "Once upon a time, <b>she</b> smiled.",
        "after": "Once upon a time time.",
    }
    return results | {
        "pruned": {
            "variant": "fusellm-0.5",
            "label": "FuseLLM λ 0.5",
            "num_blocks": 8,
            "num_chats": 64,
            "methods": LABELS,
            "draws": {"block_pruner": 1, "sleb": 1, "random": 2},
            "removals": [
                removal(method, blocks, seed, share)
                for (method, blocks), shares in left.items()
                for seed, share in zip(SEEDS, shares, strict=True)
            ],
            "stories": stories,
        }
    }


def chapter(found) -> str:
    """The lines of the chapter."""
    return found.text.split("With fewer blocks\n")[1].split("\nEvery number")[0]


def test_the_table_has_means_spreads_and_paired_differences(demo, pruned, page):
    found = page(demo(pruned))
    # .60 .60 .66: mean .62, deviations 2 2 4, squares 24 / 2 = 12, root 3.5.  .50 .40 .45: 5.0.
    # .58 .59 .60: 1.0.  .48 .45 .45: mean 46, deviations 2 1 1, 6 / 2 = 3, root 1.7.
    mine = found.row("FuseLLM λ 0.5: pieces", "BlockPruner")
    assert mine == ["59.0 ± 1.0", "45.0 ± 5.0", "20.0%", "–"]
    # +2 -5 0: mean -1
    assert found.row("FuseLLM λ 0.5: pieces", "SLEB (layers)") == [
        "–",
        "46.0 ± 1.7",
        "25.0%",
        "−1.0 (+2.0 −5.0 0.0)",
    ]
    # +20 +5 +14: mean 13
    assert found.row("FuseLLM λ 0.5: pieces", "random orders")[2:] == [
        "22.5%",
        "+13.0 (+20.0 +5.0 +14.0)",
    ]
    assert found.row("2 blocks gone", "none gone") == ["92.0 ± 3.5", "32.0 ± 3.5", "62.0 ± 3.5"]
    assert found.row("2 blocks gone", "BlockPruner")[1] == "15.0 ± 5.0"
    assert any("with all blocks 62.0 ± 3.5 (mean" in caption for caption in found.tables)
    gone = [row for row in found.tables["What went"] if row[0] == "12"]
    assert gone[0] == ["12", "BlockPruner", "mha2 mlp1"]
    assert gone[-1] == ["12", "random orders", "mha2 mlp1; mha2 mlp1"]


def test_what_the_numbers_show_is_said_good_or_bad(demo, pruned, page):
    told = chapter(page(demo(pruned)))
    assert "FuseLLM λ 0.5 has 8 blocks" in told
    assert "surprised by 64 chats" in told
    assert "Of random orders, 2 per seed are averaged." in told
    assert "leaves 45.0% of the pieces right without 2 blocks, which hold 20.0%" in told
    assert "before, 62.0% were right." in told
    # -2 -1 -6
    assert "The first block alone changes that by −3.0, −6.0 to −1.0, in points." in told
    assert "By skill, in points: fact −17.0, trans −17.0 and arith −17.0." in told
    assert (
        "With 2 blocks gone, it is not clear that BlockPruner differs from SLEB (layers) (−1.0, "
        "−5.0 to +2.0), in points." in told
    )
    assert (
        "BlockPruner leaves more right in every seed than random orders (+13.0, +5.0 to +20.0)"
        in told
    )


def test_a_better_baseline_is_called_better(demo, pruned, page):
    for row in pruned["pruned"]["removals"]:
        if (row["method"], row["blocks"]) == ("sleb", 2):
            row["piece_frac"] = dict.fromkeys(SKILLS, 0.55)
    # -5 -15 -10
    assert (
        "BlockPruner leaves less right in every seed than SLEB (layers) (−10.0, −15.0 to −5.0)"
        in chapter(page(demo(pruned)))
    )


def test_each_method_has_a_plot_of_its_means(demo, pruned, page):
    labels = [label for label in page(demo(pruned)).labels if "by removed blocks" in label]
    assert [label.split(": ")[1] for label in labels] == [
        "62 after 0, 59 after 1 and 45 after 2",
        "62 after 0 and 46 after 2",
        "62 after 0, 35 after 1 and 32 after 2",
    ]


def test_the_small_model_is_told_with_what_it_writes(demo, pruned, page):
    found = page(demo(pruned))
    told = chapter(found)
    assert "tales has 10 blocks" in told
    assert "Without mha2 and mlp4 it is 9.00, before 5.00." in told
    assert "As much or more goes, at a lower perplexity, by SLEB (layers)." in told
    assert "All blocks: Once upon a time, <b>she</b> smiled." in told
    assert "2 gone, BlockPruner: Once upon a time time." in told
    rows = found.tables["Perplexity of stories that chose nothing"]
    assert rows[1:] == [
        ["none", "0", "0.0%", "5.00"],
        ["BlockPruner", "1", "5.0%", "6.00"],
        ["BlockPruner", "2", "10.0%", "9.00"],
        ["SLEB (layers)", "2", "12.5%", "8.00"],
        ["random orders", "1", "5.0%", "7.00"],
        ["random orders", "2", "25.0%", "30.00"],
    ]


def test_a_baseline_that_removes_less_is_not_called_better(demo, pruned, page):
    steps = pruned["pruned"]["stories"]["perplexity"]
    steps["sleb"][1]["share"] = 0.09
    assert "As much or more goes" not in chapter(page(demo(pruned)))


def test_one_seed_shows_little(demo, pruned, page):
    pruned["seeds"] = [11]
    told = pruned["pruned"]
    told["removals"] = [row for row in told["removals"] if row["seed"] == 11]
    pruned["scores"] = [row for row in pruned["scores"] if row["seed"] == 11]
    found = page(demo(pruned))
    assert found.row("FuseLLM λ 0.5: pieces", "SLEB (layers)")[1:] == ["48.0", "25.0%", "+2.0"]
    assert "in one seed, which shows little" in chapter(found)
    assert "every seed" not in chapter(found)


def test_each_half_of_the_chapter_may_be_missing(demo, results, pruned, page):
    whole = json.loads(json.dumps(pruned))
    del pruned["pruned"]["stories"]
    assert "A small real model" not in page(demo(pruned)).text
    del whole["pruned"]["removals"]
    assert chapter(page(demo(whole))).startswith("A small real model")
    assert "With fewer blocks" not in page(demo(results)).text
