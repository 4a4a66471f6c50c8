"""``inarch align`` from the command line."""

import json
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


def test_settings_beside_a_short_form_can_be_set(recipe, monkeypatch, inarch_says):
    from inarch.flows import align
    from inarch.flows.align import AlignRun

    read: list[AlignRun] = []
    monkeypatch.setattr(align, "run", lambda settings, out: read.append(settings))
    Path("short.yaml").write_text("model: models/mine\ndata: triples.jsonl\nmethod: dpo\n")
    more = ("--set", "data.limit=3", "--set", "model.dtype=bf16", "--set", "method.beta=0.5")
    assert inarch_says("align", "train", "short.yaml", *more)[0] == 0
    ((data, model, own),) = [(s.data, s.model, s.method.own()) for s in read]
    assert (data.path, data.limit) == ("triples.jsonl", 3)
    assert (model.path, model.dtype) == ("models/mine", "bf16")
    assert own.beta == 0.5
    code, _, told = inarch_says("align", "train", "short.yaml", "--set", "data.path.x=3")
    assert code == 2
    assert "set all of data.path instead" in told


def test_a_training_shows_its_first_and_last_numbers(tmp_path, capsys):
    from inarch.cli.show_align import show_training

    show_training(tmp_path)
    assert capsys.readouterr().out == ""
    lines = [{"step": 10, "loss": 0.69, "alpha": 0.01}, {"step": 90, "loss": 0.25, "alpha": 0.1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    show_training(tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert " ".join(rows[0]) == "up to step 10 up to step 90"
    assert rows[2:4] == [["loss", "0.69", "0.25"], ["alpha", "0.01", "0.1"]]


# ------------------------------------------------------------------------------------------ build


BUILD = """
prompts: prompts.jsonl
sources: [models/a, {endpoint: {url: "http://localhost:8000/v1", model: org/far}}]
target: models/mine
scorer: rewards:score
"""
TOLD = {
    "form": "triples",
    "prompts": 9,
    "prompts_for_sft": 3,
    "sources": ["a", "far"],
    "unread": {"rows with an empty prompt": 1},
    "rows": 4,
    "dropped": {"prompts to which all answers of the target are one text": 2},
    "wins": {"a": 6, "far": 3},
    "ties": 1,
    "models": {
        "a": {"answers": 45, "failures": {}, "mean_score": 0.123456, "mean_characters": 1234.5},
        "far": {
            "answers": 45,
            "failures": {"HTTP 429": 45},
            "mean_score": None,
            "mean_characters": None,
        },
        "mine": {"answers": 30, "failures": {}, "mean_score": 0.1, "mean_characters": 3.0},
    },
    "gaps": {"source - target": {"mean": -0.25, "median": 0.5}},
    "mean_characters": {"source": 10.0},
    "source_above_target_frac": 0.75,
}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A recipe; what the flow is called with, instead of running it."""
    from inarch.flows import align_build

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    Path("b.yaml").write_text(BUILD)
    calls: list[tuple[object, Path]] = []

    def run(settings, out):
        calls.append((settings, out))
        return TOLD

    monkeypatch.setattr(align_build, "run", run)
    return calls


def test_build_shows_who_won_and_what_was_left_out(build, inarch_says):
    code, printed, _ = inarch_says("align", "build", "b.yaml", "--set", "samples=7")
    assert code == 0
    ((settings, out),) = build
    assert (settings.samples, out) == (7, Path("runs/b"))
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (
        "a 45 0 0.123 1,234 6",
        "far 45 45 3",
        "mine 30 0 0.1 3",
        "4 triples",
        "source - target mean -0.25, median 0.5",
        "source above target 75.0%",
        "rows with an empty prompt 1",
        "prompts to which all answers of the target are one text 2",
        "answers of far: HTTP 429 45",
        "ties between sources, won by the first 1",
    ):
        assert line in lines
    assert lines[-1] == "runs/b"


def test_a_dry_run_of_build_does_nothing(build, inarch_says):
    code, printed, _ = inarch_says("align", "build", "b.yaml", "--dry-run")
    assert code == 0
    assert build == []
    assert "name: far" in printed
    assert "unknown" in printed
    assert sorted(path.name for path in Path().iterdir()) == ["b.yaml"]


def test_mistakes_in_a_build_name_their_line(build, inarch_says):
    code, _, told = inarch_says("align", "build", "b.yaml", "--set", "choose.form=triple")
    assert code == 2
    assert "choose.form" in told
    code, _, told = inarch_says("align", "build", "b.yaml", "--set", "scorer={check: {kind: code}}")
    assert code == 2
    assert "name its column as prompts.reference" in told
