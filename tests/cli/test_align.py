"""``inarch align`` from the command line."""

from pathlib import Path

import pytest

RECIPE = """
model: models/sft
data: {path: triples.jsonl, max_tokens: 1024, max_prompt_tokens: 900}
method: wrpo
train: {lr: 3.0e-7}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(RECIPE)
    return "w.yaml"


@pytest.fixture
def calls(monkeypatch):
    from inarch.flows import align

    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        align,
        "run",
        lambda settings, out: calls.append((settings.method.name, settings.method.own(), out)),
    )
    return calls


def test_train_calls_the_flow(recipe, calls, inarch_says):
    assert inarch_says("align", "train", recipe)[:2] == (0, "runs/w\n")
    ((name, own, out),) = calls
    assert (name, own.beta, own.alpha, out) == ("wrpo", 0.01, 0.1, Path("runs/w"))


def test_one_switch_changes_the_method(recipe, calls, inarch_says):
    code, printed, _ = inarch_says("align", "train", recipe, "--set", "method=simpo", "--out", "x")
    assert (code, printed) == (0, "x\n")
    assert calls[0][0] == "simpo"
    inarch_says("align", "train", recipe, "--set", "method={name: dpo, beta: 0.5}")
    assert (calls[1][0], calls[1][1].beta) == ("dpo", 0.5)


def test_a_dry_run_does_nothing(recipe, calls, inarch_says):
    code, printed, _ = inarch_says("align", "train", recipe, "--dry-run")
    assert code == 0
    assert calls == []
    plan = [line.split("│")[1:3] for line in printed.splitlines() if "│" in line]
    assert dict([cell.strip() for cell in row] for row in plan) == {
        "method": "wrpo",
        "reference": "stored",
        "rows": "unknown",
        "tokens": "unknown",
        "memory": "unknown",
        "time": "unknown",
        "out": "runs/w",
    }
    assert sorted(path.name for path in Path().iterdir()) == ["w.yaml"]


def test_mistakes_name_their_line(recipe, calls, inarch_says):
    code, _, told = inarch_says("align", "train", recipe, "--set", "method=wrop")
    assert code == 2
    assert told.startswith("--set method=wrop: method: found the method 'wrop', expected one of")
    code, _, told = inarch_says("align", "train", recipe, "--set", "reference=adapter")
    assert code == 2
    assert "reference: adapter needs train.lora" in told
