"""``inarch align seft`` from the command line."""

import re
from pathlib import Path

import pytest

RECIPE = """
policy: models/mine
revisers:
  internal: {data: ranked.jsonl}
  external: {path: runs/other/revisers/strong}
rounds: [internal, {reviser: external, num_prompts: 7}]
prompts: prompts.jsonl
"""
TOLD = {
    "round": 1,
    "reviser": "internal",
    "num_prompts": 1300,
    "num_answers": 1234,
    "label_fracs": {"[No Revise]": 0.5, "[Minor Revise]": 0.25, "[Major Revise]": 0.125},
    "keep_frac": 0.5,
    "failures": {"unparsable": 100, "empty": 54},
    "mean_edit_frac": 0.3456,
    "left_out": {"duplicate": 34},
    "num_rows": 1200,
    "num_learnt": 1199,
    "score_before": None,
    "score_after": None,
    "num_scored": 0,
    "annotation_free": True,
    "sft_loss_first": 1.5,
    "sft_loss_last": 0.75,
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(RECIPE)
    return "s.yaml"


@pytest.fixture
def calls(monkeypatch):
    from inarch.flows import seft

    calls: list[tuple[object, ...]] = []

    def run(settings, out):
        calls.append((settings, out))
        scores = {"score_before": 0.25, "score_after": 0.5, "num_scored": 9}
        return [TOLD, TOLD | scores | {"round": 2, "reviser": None, "annotation_free": False}]

    monkeypatch.setattr(seft, "run", run)
    return calls


def test_seft_calls_the_flow_and_shows_its_rounds(recipe, calls, inarch_says):
    code, printed, _ = inarch_says("align", "seft", recipe, "--set", "control=self_sft")
    assert code == 0
    ((settings, out),) = calls
    assert (settings.control, out) == ("self_sft", Path("runs/s"))
    assert [(one.reviser, one.num_prompts) for one in settings.rounds] == [
        ("internal", None),
        ("external", 7),
    ]
    lines = printed.splitlines()
    table = [re.split(r"  +", line.strip()) for line in lines]
    for row in (
        ["reviser", "internal", "none"],
        ["answers", "1,234", "1,234"],
        ["[No Revise]", "50.0%", "50.0%"],
        ["[Major Revise]", "12.5%", "12.5%"],
        ["original stands in", "12.5%", "12.5%"],  # 154 of 1,234
        ["words changed", "34.6%", "34.6%"],
        ["learnt", "1,199", "1,199"],
        ["score before reviser", "–", "0.25"],
        ["loss per token, last", "0.750", "0.750"],
    ):
        assert row in table
    assert "not annotation-free" in printed
    assert lines[-1] == "runs/s"


def test_a_dry_run_does_nothing(recipe, calls, inarch_says):
    code, printed, _ = inarch_says("align", "seft", recipe, "--dry-run")
    assert (code, calls) == (0, [])
    plan = [line.split("│")[1:3] for line in printed.splitlines() if "│" in line]
    assert dict([cell.strip() for cell in row] for row in plan) == {
        "rounds": "internal, external",
        "control": "none",
        "revisers to train": "internal",
        "annotation-free": "yes",
        "prompts per round": "unknown",
        "disk": "unknown",
        "memory": "unknown",
        "time": "unknown",
        "out": "runs/s",
    }


def test_a_mistake_is_named(recipe, calls, inarch_says):
    code, _, printed = inarch_says("align", "seft", recipe, "--set", "rounds=[inner, external]")
    assert (code, calls) == (2, [])
    assert "rounds: found ['inner'], expected names of revisers" in printed
