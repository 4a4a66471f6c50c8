"""The demo's page on merged pairs: what was gained, lost, and at which weights."""

import pytest
from tests.report.conftest import SKILLS

# Share of right pieces, alike in all skills; one number per seed.
PAIRS = {"pair-facts": (0.50, 0.60, 0.40), "pair-translator": (0.70, 0.60, 0.50)}
MERGES = {
    "merge-varm": (0.65, 0.62, 0.50),
    "merge-mean": (0.60, 0.58, 0.44),
    "merge-sum": (0.05, 0.05, 0.05),
}
WEIGHTS = {
    "merge-varm": ((0.5, 0.3, 0.2), (0.4, 0.4, 0.2), (0.6, 0.2, 0.2)),
    "merge-mean": ((1 / 3, 1 / 3, 1 / 3),) * 3,
    "merge-sum": None,
}
PLAIN = (0.60, 0.60, 0.60)
VARM, MEAN, SUM = "merged: varm", "merged: mean", "merged: sum"


@pytest.fixture
def merged(results):
    """What a demo of two pairs and three merges writes."""
    gone = ("plain", "pair-facts")
    rows = [row for row in results["scores"] if row["model"] not in gone]
    for name, shares in {"plain": PLAIN, **PAIRS, **MERGES}.items():
        for seed, share in zip(results["seeds"], shares, strict=True):
            score = {"piece_frac": share, "exact_frac": share / 2, "bits_per_byte": 1 - share}
            rows += [{"seed": seed, "model": name, "skill": skill, **score} for skill in SKILLS]
    sources = ("facts", "translator", "reckoner")
    merges = {
        name: {
            "method": "x",
            "parameters": {},
            "coefficients": [
                weights and dict(zip(sources, weights, strict=True))
                for weights in WEIGHTS[name] or (None,) * 3
            ],
        }
        for name in MERGES
    }
    labels = {"pair-translator": "FuseChat pair with translator"}
    labels |= {name: name.replace("merge-", "merged: ") for name in MERGES}
    winners = results["winners"] | {"pair-translator": {s: {"translator": 200} for s in SKILLS}}
    return results | {
        "scores": rows,
        "variants": results["variants"] | labels,
        "merges": merges,
        "winners": winners,
    }


def chapter(found):
    """The lines of the chapter."""
    return found.text.split("Merging the pairs\n")[1].split("\nEvery number")[0]


def test_the_table_compares_with_plain_training_and_with_the_mean_of_the_pairs(demo, merged, page):
    found = page(demo(merged))
    # Itself: .65 .62 .50, mean .59, squares 36 9 81 / 2 = 63, root 7.94.  Plain: .60; mean of the
    # pairs: .60 .60 .45.  Bits: 1 - v.  Weights: (.5 + .4 + .6) / 3, (.3 + .4 + .2) / 3, .2.
    assert found.row("Merges of the pairs", VARM) == [
        "59.0 ± 7.9",
        "−1.0 (+5.0 +2.0 −10.0)",
        "+4.0 (+5.0 +2.0 +5.0)",
        "0.410 ± 0.079",
        "0.500",
        "0.300",
        "0.200",
    ]
    row = found.row("Merges of the pairs", MEAN)
    assert row[2] == "−1.0 (0.0 −2.0 −1.0)"
    assert row[4:] == ["0.333", "0.333", "0.333"]
    assert found.row("Merges of the pairs", SUM)[4:] == ["–", "–", "–"]


def test_what_merging_brought_is_said_good_or_bad(demo, merged, page):
    told = chapter(page(demo(merged)))
    assert "of the 2 pairs" in told
    assert (
        f"1 of 3 merges gets more right than the mean of the pairs in every seed: {VARM}." in told
    )
    assert f"1 of 3 merges gets less in every seed: {SUM}." in told  # the mean ties in one
    # -55 -55 -40
    assert f"Too far behind the pairs for the second plot, in points: {SUM} (−50.0)." in told
    assert f"The best of them on average, {VARM}, in points" in told
    assert "+4.0 (+2.0 to +5.0) against the mean of the pairs" in told
    # Best pairs: .70 .60 .50, so -5 2 0.
    assert "−1.0 (−5.0 to +2.0) against the best pair of the seed" in told
    assert "−1.0 (−10.0 to +5.0) against plain training" in told
    # .7367 .7067 .6900: -8.67 -8.67 -19
    assert "−12.1 (−19.0 to −8.7) against FuseLLM, λ 0.5, one training" in told


def test_the_plots_hold_pairs_and_merges_and_leave_out_what_is_far_behind(demo, merged, page):
    labels = page(demo(merged)).labels
    shares = next(label for label in labels if label.startswith("Merged pairs"))
    for name, mean in (
        ("plain training", 60),
        ("mean of the pairs", 55),
        ("best pair of each seed", 60),
        (VARM, 59),
        (SUM, 5),
    ):
        assert f"{name} {mean}" in shares
    gains = next(label for label in labels if label.startswith("Difference to the mean of the"))
    assert gains.endswith(f"{VARM} +4.0, {MEAN} −1.0")
    # The plots of all variants leave merges to this chapter.
    assert not [x for x in labels if x not in (shares, gains) and "merged" in x]


def test_every_number_has_the_merges_too(demo, merged, page):
    assert page(demo(merged)).row("Mean of the skills", VARM)[:2] == ["59.0 ± 7.9", "−1.0 ± 7.9"]


def test_merges_are_not_ranked_with_what_was_trained(demo, merged, page):
    for row in merged["scores"]:
        if row["model"] == "merge-varm":
            row["piece_frac"] = 0.99
    found = page(demo(merged))
    assert "FuseLLM, λ 0.5, the best of 4 that were fused" in found.text
    assert "39.0 to" not in found.text.split("What did not")[1].split("Merging the pairs")[0]
    assert (
        f"1 of 3 merges gets more right than the mean of the pairs in every seed: {VARM}"
        in found.text
    )


def test_a_seed_without_one_of_the_pairs_is_left_out_of_the_comparison(demo, merged, page):
    merged["scores"] = [
        row for row in merged["scores"] if (row["seed"], row["model"]) != (13, "pair-facts")
    ]
    row = page(demo(merged)).row("Merges of the pairs", VARM)
    assert row[1:3] == ["−1.0 (+5.0 +2.0 −10.0)", "+3.5 (+5.0 +2.0)"]


def test_a_demo_of_one_seed_has_no_spread(demo, merged, page):
    merged["seeds"] = [11]
    merged["scores"] = [row for row in merged["scores"] if row["seed"] == 11]
    found = page(demo(merged))
    assert found.row("Merges of the pairs", VARM)[:3] == ["65.0", "+5.0", "+5.0"]
    assert "+5.0 against the mean of the pairs; −5.0 against the best pair" in chapter(found)


def test_a_demo_that_was_cut_knows_its_merges(demo, merged, page):
    folder = demo(merged)
    (folder / "results.json").unlink()
    found = page(folder)
    row = found.row("Merges of the pairs", "merge-varm")
    assert row[:3] == ["59.0 ± 7.9", "−1.0 (+5.0 +2.0 −10.0)", "+4.0 (+5.0 +2.0 +5.0)"]
    assert row[4:] == ["–", "–", "–"]  # what they were, only a whole demo tells


def test_without_merges_or_pairs_there_is_no_chapter(demo, results, merged, page):
    merged["scores"] = [row for row in merged["scores"] if not row["model"].startswith("pair")]
    assert "Merging the pairs" not in page(demo(merged)).text
    assert "Merging the pairs" not in page(demo(results)).text
