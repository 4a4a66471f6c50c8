"""The demo's page says what its numbers say, whatever they are."""

import json
import shutil

import pytest

from inarch import report
from inarch.errors import DataError


def test_the_tables_hold_the_means_and_spreads_of_the_scores(demo, results, page):
    found = page(demo(results))
    # fact, λ 0.5: 0.76 0.73 0.74, mean 0.7433, deviations 1.67 1.33 0.33 points, squares
    # 2.78 1.78 0.11, sum 4.67 / 2 = 2.33, root 1.53.  Whole answers are the squares: 0.5776 0.5329
    # 0.5476, mean 0.5527.  Bits 1.6 - 1.5 v: 0.46 0.505 0.49, mean 0.485.
    # Plain: 0.62 0.58 0.61; differences 14 15 13, mean 14, spread 1.
    assert found.row("fact", "FuseLLM, λ 0.5") == [
        "74.3 ± 1.5",
        "+14.0 ± 1.0",
        "55.3 ± 2.3",
        "0.485 ± 0.023",
    ]
    # The mean over skills per seed: (.76+1+.45)/3 = .7367, (.73+.99+.40)/3 = .7067, .69.
    # Plain: (.62+.97+.38)/3 = .6567, .61, .6233.  Differences 8.00 9.67 6.67, mean 8.11.
    assert found.row("Mean of the skills", "FuseLLM, λ 0.5")[:2] == ["71.1 ± 2.4", "+8.1 ± 1.5"]
    assert found.row("fact", "plain training")[1] == "–"
    assert found.row("trans", "FuseLLM, λ 0.9")[1] == "0.0 ± 1.0"  # 0 +1 -1: no sign of its own
    assert found.row("fact", "FuseChat pair with facts")[1] == "+7.3 ± 1.2"


def test_models_matches_routing_and_facts_are_those_of_the_results(demo, results, page):
    found = page(demo(results))
    assert found.row("The models", "reckoner") == ["source", "qwen3", "0.60 M", "354"]
    assert found.row("Pieces right", "reckoner") == ["0.0 ± 0.0", "1.7 ± 0.6", "83.3 ± 3.5"]
    # three seeds: counts are added up, shares averaged
    matched = found.row("Sources onto", "translator")
    assert matched == ["10,200", "9,900", "9,900", "0", "81.0%", "97.0%"]
    routing = found.tables["FuseLLM, λ 0.9 and FuseLLM, λ 0.5, in documents"]
    assert routing == [
        ["domain", "facts", "translator", "reckoner", "target", "documents"],
        ["fact", "155", "0", "5", "40", "200"],
        ["trans", "0", "170", "18", "12", "200"],
        ["arith", "11", "0", "161", "28", "200"],
    ]
    # 155, 170 and 161 of 200
    most = "Heat map. Most believed, fact: facts 78%; trans: translator 85%; arith: reckoner 80%"
    assert most in found.labels
    for words in ("11, 12, 13", "7 min 11 s", "35% of the pieces", "--seed 12", "Su"):
        assert words in found.text


def test_the_summary_and_what_helped_follow_from_the_numbers(demo, results, page):
    found = page(demo(results))
    assert "Plain training gets 63.0% of the answers' pieces right" in found.text
    assert "FuseLLM, λ 0.5, the best of 3 that were fused, 71.1%: +8.1 points" in found.text
    helped = section(found, "What helped", "What did not")
    assert "+8.1 points against plain training (+6.7 to +9.7; above it in every seed)" in helped
    assert "fact +14.0, trans +3.0 and arith +7.3" in helped
    assert "pair" not in helped
    assert "own beliefs" not in helped


def test_what_did_not_help_is_said(demo, results, page):
    short = section(page(demo(results)), "What did not", "Every number")
    assert "FuseLLM, λ 0.9: no clear gain in trans (0.0, −1.0 to +1.0)" in short
    assert "FuseChat pair with facts: over all skills −13.2 points" in short
    assert "worse in trans (−42.7, −43.0 to −42.0)" in short
    assert "by +0.198 bits per byte" in short
    assert "plain, clean labels (for scale): +15.2 points" in short
    assert "FuseLLM, λ 0.5 gains less than that" in short
    assert "arith (reckoner 83.3%, 39.3% here)" in short
    assert "3 seeds are few" in short


def test_no_claim_survives_other_numbers(demo, results, page):
    for row in results["scores"]:
        if row["model"].startswith("fusellm"):
            row["piece_frac"] = 0.01
    found = page(demo(results))
    helped = section(found, "What helped", "What did not")
    assert helped.startswith("On average over the skills nothing that was fused got more pieces")
    assert "\n" not in helped
    assert "FuseLLM, λ 0.5: over all skills −62.0 points" in section(
        found, "What did not", "Every number"
    )


def test_one_seed_has_no_spread_and_is_called_one(demo, results, page):
    results["seeds"] = [11]
    results["scores"] = [row for row in results["scores"] if row["seed"] == 11]
    found = page(demo(results))
    assert found.row("fact", "FuseLLM, λ 0.5")[:2] == ["76.0", "+14.0"]
    assert "+8.0 points against plain training (one seed)" in found.text
    assert "an effect cannot be told from chance" in found.text
    assert "±" not in found.text


def test_a_score_that_is_missing_is_named_and_left_out_of_the_pairs(demo, results, page):
    results["scores"] = [
        row for row in results["scores"] if (row["seed"], row["model"]) != (12, "plain")
    ]
    found = page(demo(results))
    assert "Seed 12 has no scores of plain training." in found.text
    # plain without seed 12: 0.62 0.61; the pairs left are 14 and 13
    assert found.row("fact", "plain training")[0] == "61.5 ± 0.7"
    assert found.row("fact", "FuseLLM, λ 0.5")[:2] == ["74.3 ± 1.5", "+13.5 ± 0.7"]


def test_a_mean_over_skills_needs_all_of_them(demo, results, page):
    results["scores"] = [
        row
        for row in results["scores"]
        if (row["seed"], row["model"], row["skill"]) != (12, "fusellm-0.5", "arith")
    ]
    found = page(demo(results))
    assert "Seed 12 has no scores of FuseLLM, λ 0.5." in found.text
    # .7367 and .69, without the .86 of two skills; against .6567 and .6233
    assert found.row("Mean of the skills", "FuseLLM, λ 0.5")[:2] == ["71.3 ± 3.3", "+7.3 ± 0.9"]
    assert found.row("fact", "FuseLLM, λ 0.5")[0] == "74.3 ± 1.5"


def test_a_demo_without_a_baseline_says_so(demo, results, page):
    results["scores"] = [row for row in results["scores"] if row["model"] != "plain"]
    found = page(demo(results))
    assert "Plain continued training has no scores" in found.text
    assert found.row("fact", "FuseLLM, λ 0.5")[1] == "–"


def test_a_demo_that_was_cut_shows_the_scores_it_has(demo, results, page):
    folder = demo(results)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "seed-13" / "scores")
    for seed in (11, 12):
        shutil.rmtree(folder / f"seed-{seed}" / "scores" / "clean")
    cut = folder / "seed-12" / "fused" / "fusellm-0.9" / "manifest.json"
    cut.write_text(json.dumps(json.loads(cut.read_text()) | {"status": "running"}))
    found = page(folder)
    assert "This demo has not come to its end" in found.text
    assert "Seed 13 has no scores of facts" in found.text
    assert "Not finished: seed-12/fused/fusellm-0.9." in found.text
    # 0.76 0.73 and, against 0.62 0.58, 14 15
    assert found.row("fact", "fusellm-0.5")[:2] == ["74.5 ± 2.1", "+14.5 ± 0.7"]
    assert found.tables["fusellm-0.5 and fusellm-0.9, in documents"][1][-1] == "400"  # two seeds


def test_a_cut_demo_and_a_whole_one_show_the_same_numbers(demo, results, page):
    folder = demo(results)
    whole = page(folder)
    (folder / "results.json").unlink()
    cut = page(folder)
    labels = results["variants"]
    for skill in (*results["skills"], "Mean of the skills"):
        for key, label in labels.items():
            assert cut.row(skill, key) == whole.row(skill, label)


def test_results_of_another_shape_are_an_error(demo, results):
    del results["scores"][0]["piece_frac"]
    with pytest.raises(DataError, match=r"results.json is not what .* writes \(KeyError"):
        report.build(demo(results))


def section(found, start, end):
    """The text between two headings."""
    return found.text.split(f"{start}\n")[1].split(f"\n{end}")[0].strip()
