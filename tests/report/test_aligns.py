"""The demo's page on aligned models: what each way brought, beside where it began."""

import re

import pytest
from tests.report.conftest import SEEDS, SKILLS

LABELS = {
    "target": "target before",
    "target_sft": "Target-SFT",
    "wrpo": "Target-SFT + WRPO",
    "dpo": "Target-SFT + DPO",
    "sft": "Target-SFT + more SFT",
    "seft": "Target-SFT + SEFT",
    "self_sft": "Target-SFT + its own answers",
}
# Share of right pieces over all skills, one number per seed; trans has .3 less, fact .3 more.
# Of sampled answers it is .1 less, and of WRPO's .05 less.
SHARES = {
    "target": (0.50, 0.50, 0.56),
    "target_sft": (0.50, 0.40, 0.45),
    "wrpo": (0.52, 0.35, 0.45),
    "dpo": (0.48, 0.34, 0.40),
    "sft": (0.58, 0.59, 0.60),
    "seft": (0.53, 0.41, 0.47),
    "self_sft": (0.46, 0.36, 0.41),
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
    first = {"num_prompts": 180, "before": 0.5, "after": 0.75, "kept_right": 1, "kept_wrong": 0.25}
    second = first | {"before": 0.6, "kept_right": None}
    told = {
        "labels": LABELS,
        "num_steps": {
            "target_sft": 38,
            "wrpo": 30,
            "dpo": 30,
            "sft": 31,
            "seft": 60,
            "self_sft": 61,
        },
        "num_reviser_steps": 410,
        "num_samples": 4,
        "scores": scores,
        "build": {str(seed): build for seed in SEEDS},
        "rounds": {str(seed): [first, second] for seed in SEEDS},
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
    assert found.tables["What the reviser of SEFT did"][1:3] == [
        ["11", "1", "180", "50.0%", "75.0%", "100.0%", "25.0%"],
        ["11", "2", "180", "60.0%", "75.0%", "–", "25.0%"],
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
    # +3 +1 +2, and +7 +5 +6; sampled alike
    assert (
        "SEFT against Target-SFT, in points: more right in every seed, +2.0 (+1.0 to +3.0); "
        "sampled +2.0 (+1.0 to +3.0)." in told
    )
    assert (
        "SEFT against Target-SFT + its own answers, in points: more right in every seed, +6.0 "
        "(+5.0 to +7.0); sampled +6.0 (+5.0 to +7.0)." in told
    )
    assert "in 2 rounds and 60 steps" in told
    assert "for 410 small steps of its own" in told
    # .50 and .60 before, .75 after
    assert "its reviser turns answers of mean reward 55.0% into ones of 75.0%." in told


def test_both_plots_tell_their_means(demo, aligned, page):
    labels = page(demo(aligned)).labels
    assert [
        label for label in labels if label.startswith(("Most probable", "Sampled answers"))
    ] == [
        "Most probable answers: pieces right, %. Means over seeds: target before 52, "
        "Target-SFT 45, Target-SFT + WRPO 44, Target-SFT + DPO 41, Target-SFT + more SFT 59, "
        "Target-SFT + SEFT 47, Target-SFT + its own answers 41",
        "Sampled answers: mean reward, %. Means over seeds: target before 42, "
        "Target-SFT 35, Target-SFT + WRPO 39, Target-SFT + DPO 31, Target-SFT + more SFT 49, "
        "Target-SFT + SEFT 37, Target-SFT + its own answers 31",
    ]


def test_the_plots_stress_wrpo(demo, aligned, page):
    found = page(demo(aligned))
    for title in ("Most probable answers", "Sampled answers"):
        (svg,) = re.findall(rf"<figcaption>{title}.*?</figcaption>(<svg .*?</svg>)", found.html)
        assert re.findall(r'class="strong">([^<]*)</text>', svg) == ["Target-SFT + WRPO"]


def test_one_seed_shows_little(demo, aligned, page):
    aligned["seeds"] = [11]
    told = aligned["aligned"]
    told["scores"] = [row for row in told["scores"] if row["seed"] == 11]
    told["build"] = {"11": told["build"]["11"]}
    told["rounds"] = {"11": told["rounds"]["11"]}
    aligned["scores"] = [row for row in aligned["scores"] if row["seed"] == 11]
    found = page(demo(aligned))
    assert found.row("Aligned models, mean", "Target-SFT + WRPO")[1:3] == ["52.0", "+2.0"]
    assert "one seed, which shows little, +2.0; sampled +7.0." in chapter(found)
    assert "every seed" not in chapter(found)


def test_a_demo_without_alignment_has_no_such_chapter(demo, results, page):
    assert "Aligned" not in page(demo(results)).text
