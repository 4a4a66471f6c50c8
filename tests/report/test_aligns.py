"""The demo's page on aligned models: what each way brought, beside where it began."""

import pytest
from tests.report.conftest import SEEDS, SKILLS

LABELS = {
    "target": "target before",
    "target_sft": "Target-SFT",
    "wrpo": "Target-SFT + WRPO",
    "dpo": "Target-SFT + DPO",
    "sft": "Target-SFT + more SFT",
}
# Share of right pieces over all skills, one number per seed; trans has .3 less, fact .3 more.
# Of sampled answers it is .1 less, and of WRPO's .05 less.
SHARES = {
    "target": (0.50, 0.50, 0.56),
    "target_sft": (0.50, 0.40, 0.45),
    "wrpo": (0.52, 0.35, 0.45),
    "dpo": (0.48, 0.34, 0.40),
    "sft": (0.58, 0.59, 0.60),
}


def by_skill(share: float) -> dict[str, float]:
    return dict(zip(SKILLS, (share + 0.3, share - 0.3, share), strict=True))


@pytest.fixture
def aligned(results):
    """What a demo writes that aligned its target."""
    scores = [
        {
            "seed": seed,
            "name": name,
            "piece_frac": by_skill(share),
            "reward": by_skill(share - (0.05 if name == "wrpo" else 0.1)),
        }
        for name, shares in SHARES.items()
        for seed, share in zip(SEEDS, shares, strict=True)
    ]
    build = {
        "prompts": 520,
        "prompts_for_sft": 173,
        "rows": 211,
        "source_above_target_frac": 0.75,
        "wins": {"facts": 120, "reckoner": 53},
    }
    told = {
        "labels": LABELS,
        "num_steps": {"target_sft": 38, "wrpo": 30, "dpo": 30, "sft": 31},
        "num_samples": 4,
        "scores": scores,
        "build": {str(seed): build for seed in SEEDS},
    }
    return results | {"aligned": told}


def chapter(found) -> str:
    """The lines of the chapter."""
    return found.text.split("Aligned with what the sources answer\n")[1].split("\nEvery number")[0]


def test_the_table_has_means_spreads_and_paired_differences(demo, aligned, page):
    found = page(demo(aligned))
    # .52 .35 .45: mean .44, deviations 8 9 1, squares 146 / 2 = 73, root 8.5; +2 -5 0: mean -1.
    # Sampled .47 .30 .40 against .40 .30 .35: +7 0 +5: mean 4.
    assert found.row("Aligned models, mean", "Target-SFT + WRPO") == [
        "30",
        "44.0 ± 8.5",
        "−1.0 (+2.0 −5.0 0.0)",
        "39.0 ± 8.5",
        "+4.0 (+7.0 0.0 +5.0)",
    ]
    # .50 .40 .45: 5.0
    assert found.row("Aligned models, mean", "Target-SFT") == [
        "38",
        "45.0 ± 5.0",
        "–",
        "35.0 ± 5.0",
        "–",
    ]
    # 0 +10 +11: mean 7
    assert found.row("Aligned models, mean", "target before")[:3] == [
        "–",
        "52.0 ± 3.5",
        "+7.0 (0.0 +10.0 +11.0)",
    ]
    assert found.row("Aligned models: pieces", "Target-SFT") == [
        "75.0 ± 5.0",
        "15.0 ± 5.0",
        "45.0 ± 5.0",
    ]
    assert found.tables["What there was to learn from"][1] == [
        "11",
        "520",
        "173",
        "211",
        "75.0%",
        "facts 120 and reckoner 53",
    ]


def test_what_the_numbers_show_is_said_good_or_bad(demo, aligned, page):
    told = chapter(page(demo(aligned)))
    assert "answers a prompt of the corpus 4 times" in told
    assert "to about 173 of 520 prompts" in told
    assert "go on for 30 steps each" in told
    # 0 -10 -11
    assert "The first stage alone changes the pieces right by −7.0 (−11.0 to 0.0) points." in told
    assert (
        "WRPO against Target-SFT, in points: no clear difference, −1.0 (−5.0 to +2.0); sampled "
        "+4.0 (0.0 to +7.0)." in told
    )
    # +4 +1 +5; sampled five more
    assert (
        "WRPO against Target-SFT + DPO, in points: more right in every seed, +3.3 (+1.0 to +5.0); "
        "sampled +8.3 (+6.0 to +10.0)." in told
    )
    # -6 -24 -15
    assert (
        "WRPO against Target-SFT + more SFT, in points: less right in every seed, −15.0 (−24.0 to "
        "−6.0); sampled −10.0 (−19.0 to −1.0)." in told
    )


def test_both_plots_tell_their_means(demo, aligned, page):
    labels = page(demo(aligned)).labels
    assert [
        label for label in labels if label.startswith(("Most probable", "Sampled answers"))
    ] == [
        "Most probable answers: pieces right, %. Means over seeds: target before 52, "
        "Target-SFT 45, Target-SFT + WRPO 44, Target-SFT + DPO 41, Target-SFT + more SFT 59",
        "Sampled answers: mean reward, %. Means over seeds: target before 42, "
        "Target-SFT 35, Target-SFT + WRPO 39, Target-SFT + DPO 31, Target-SFT + more SFT 49",
    ]


def test_one_seed_shows_little(demo, aligned, page):
    aligned["seeds"] = [11]
    told = aligned["aligned"]
    told["scores"] = [row for row in told["scores"] if row["seed"] == 11]
    told["build"] = {"11": told["build"]["11"]}
    aligned["scores"] = [row for row in aligned["scores"] if row["seed"] == 11]
    found = page(demo(aligned))
    assert found.row("Aligned models, mean", "Target-SFT + WRPO")[1:3] == ["52.0", "+2.0"]
    assert "one seed, which shows little, +2.0; sampled +7.0." in chapter(found)
    assert "every seed" not in chapter(found)


def test_a_demo_without_alignment_has_no_such_chapter(demo, results, page):
    assert "Aligned" not in page(demo(results)).text
