"""What the demo says about its aligned models, worked out by hand."""

from pathlib import Path

import pytest

from inarch.demo import aligns, evolves
from inarch.demo.align_results import add, as_json, findings
from inarch.demo.aligns import WAYS, Aligned
from inarch.demo.experiment import Size, questions
from inarch.demo.results import Results
from inarch.demo.world import Task

SIZE = Size((), num_test=2, aligned=True)


def model(name: str, *shares: float, lower: float = 0.0) -> Aligned:
    skills = ("fact", "trans", "arith")
    sampled = [share - lower for share in shares]
    greedy, reward = (dict(zip(skills, s, strict=True)) for s in (shares, sampled))
    return Aligned(name, greedy, reward)


def test_scores_are_means_over_skills_seed_by_seed() -> None:
    found = {
        7: [model("target", 0.9, 0.6, 0.3), model("wrpo", 0.3, 0.0, 0.0, lower=-0.1)],
        8: [model("target", 1.0, 1.0, 0.7), model("wrpo", 0.2, 0.1, 0.3, lower=0.2)],
    }
    told = as_json(found)
    assert told["piece_frac"] == {
        "target": pytest.approx((0.6, 0.9)),
        "wrpo": pytest.approx((0.1, 0.2)),
    }
    assert told["reward"]["wrpo"] == pytest.approx((0.2, 0.0))
    assert [(row["seed"], row["name"]) for row in told["scores"]] == [
        (7, "target"),
        (7, "wrpo"),
        (8, "target"),
        (8, "wrpo"),
    ]
    assert told["labels"]["target"] == "target before"
    assert told["labels"].keys() - told["num_steps"].keys() == {"target"}
    assert told["num_steps"]["seft"] == told["num_steps"]["self_sft"]  # the reviser's stand apart


def test_every_seed_is_told_from_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {7: Path("seven"), 8: Path("eight")}
    shares = {"seven": 0.25, "eight": 0.75}

    def results(folder: Path, tasks: list[Task]) -> list[Aligned]:
        assert tasks == questions(7 if folder.name == "seven" else 8, SIZE)
        names = ("target", *WAYS)
        return [model(name, *3 * [shares[folder.name] + i / 100]) for i, name in enumerate(names)]

    monkeypatch.setattr(aligns, "results", results)
    monkeypatch.setattr(aligns, "statistics_of", lambda folder: {"rows": folder.name})
    monkeypatch.setattr(evolves, "rounds_of", lambda folder: [folder.name])
    added = add(Results((7, 8), (), ("before",), {"epochs": 3}), folders, SIZE)
    told = added.facts["aligned"]
    assert added.facts["epochs"] == 3
    assert told["build"] == {7: {"rows": "seven"}, 8: {"rows": "eight"}}
    assert told["rounds"] == {7: ["seven"], 8: ["eight"]}
    assert told["piece_frac"]["target"] == pytest.approx((0.25, 0.75))
    assert added.findings[:2] == (
        "before",
        "Target-SFT better in every seed than target before: +1.0 on average; +1.0, +1.0 points.",
    )


def test_wrpo_is_judged_against_its_start_and_its_peers() -> None:
    shares = {
        "target": (0.3, 0.4),
        "target_sft": (0.4, 0.6),
        "wrpo": (0.5, 0.5),
        "dpo": (0.4, 0.4),
        "sft": (0.6, 0.7),
        "seft": (0.3, 0.5),
        "self_sft": (0.2, 0.3),
    }
    mine = "Target-SFT + WRPO"
    assert findings(shares) == (
        "Target-SFT better in every seed than target before:"
        " +15.0 on average; +10.0, +20.0 points.",
        f"{mine} better in 1 of 2 seeds than Target-SFT: +0.0 on average; +10.0, -10.0 points.",
        f"{mine} better in every seed than Target-SFT + DPO:"
        " +10.0 on average; +10.0, +10.0 points.",
        f"{mine} worse in every seed than Target-SFT + more SFT:"
        " -15.0 on average; -10.0, -20.0 points.",
        "Target-SFT + SEFT worse in every seed than Target-SFT:"
        " -10.0 on average; -10.0, -10.0 points.",
        "Target-SFT + SEFT better in every seed than Target-SFT + its own answers:"
        " +15.0 on average; +10.0, +20.0 points.",
    )


def test_no_difference_is_called_so() -> None:
    shares = dict.fromkeys(("target", *WAYS), (0.5, 0.4))
    assert findings(shares)[2] == (
        "Target-SFT + WRPO the same as Target-SFT + DPO: +0.0 on average; +0.0, +0.0 points."
    )


def test_one_seed_is_no_verdict() -> None:
    shares = dict.fromkeys(("target", *WAYS), (0.5,))
    assert "in one seed, against" in findings(shares)[1]
