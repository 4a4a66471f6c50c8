"""Searches over merges of tiny models: what is tried, kept, gone on with, and refused."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import merge, search
from inarch.flows._search.judge import Judge, Scores
from inarch.merge import MergeConfig
from inarch.settings import validate
from tests.tiny import TEXT, byte_level, save_model


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with ``base``, ``a`` and ``b``, and rows of text."""
    root = tmp_path_factory.mktemp("a search 探索")
    hf = byte_level()
    weights = load_file(save_model(root / "base", hf) / "model.safetensors")
    for seed, name in enumerate("ab", 1):
        save_model(root / name, hf)
        generator = torch.Generator().manual_seed(seed)
        changed = {
            key: value + 0.05 * torch.randn(value.shape, generator=generator)
            for key, value in weights.items()
        }
        save_file(changed, root / name / "model.safetensors", metadata={"format": "pt"})
    rows = [{"text": f"Row {i}. {TEXT[i % 4]}"} for i in range(12)]
    (root / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def recipe(world: Path, **changes: object) -> dict[str, object]:
    """A search over the weights of two models, and the method."""
    return {
        "merge": {
            "merge_method": "$method",
            "base_model": str(world / "base"),
            "models": [
                {"model": str(world / name), "parameters": {"weight": f"${name}"}} for name in "ab"
            ],
        },
        "search": {
            "method": {"choices": ["task_arithmetic", "ties"]},
            "a": {"low": -0.5, "high": 1.5},
            "b": {"low": -1.0, "high": 1.0, "points": 2},
        },
        "score": {"bits_per_byte": str(world / "text.jsonl")},
        "budget": 8,
    } | changes


def settings_of(content: dict[str, object]) -> search.SearchRun:
    return validate(search.SearchRun, content, "the test")


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "wall_s"} for row in rows]


@pytest.fixture
def quick(monkeypatch):
    """Score models by how far their weights are from some numbers; no network is built."""

    def score(self: Judge, model: Path, device: str = "cpu", *, held_out: bool = True) -> Scores:
        weights = load_file(model / "model.safetensors").values()
        far = sum(float((value - 0.01).square().sum()) for value in weights)
        return Scores(far, 2 * far if held_out else None)

    monkeypatch.setattr(Judge, "__init__", lambda *_: None)
    monkeypatch.setattr(Judge, "score", score)


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    """A search that came to its end, and its folder."""
    out = tmp_path_factory.mktemp("found") / "out"
    return search.run(settings_of(recipe(world)), out), out


# --------------------------------------------------------------------------------- what comes out


def test_inputs_and_trials_have_rows(found, world):
    rows = found[0].rows
    assert [(row["kind"], Path(row["name"]).name) for row in rows] == [
        *(("input", name) for name in ("a", "b", "base")),
        ("trial", "plain mean"),
        *(("trial", f"trial {number}") for number in range(1, 8)),
    ]
    assert [row["trial"] for row in rows[3:]] == list(range(8))
    assert rows[4]["values"] == {"method": "task_arithmetic", "a": 0.5, "b": [0.0, 0.0]}
    assert rows == [json.loads(line) for line in (found[1] / "trials.jsonl").open()]
    assert all(math.isfinite(row["score"]) and row["wall_s"] > 0 for row in rows)
    assert {row["values"]["method"] for row in rows[4:]} == {"task_arithmetic", "ties"}
    assert len({json.dumps(row["values"]) for row in rows[3:]}) == 8


def test_scores_are_those_of_the_models(found, world, tmp_path):
    judge = Judge(found[0].settings.score, [world / "base"], seed=0)
    rows = {Path(row["name"]).name: row for row in found[0].rows}
    for name in ("a", "b", "base"):
        assert judge.score(world / name) == (rows[name]["score"], rows[name]["held_out"])
    entries = [{"model": str(world / name)} for name in "ab"]
    mean = {"merge_method": "linear", "models": entries, "parameters": {"weight": 0.5}}
    values = rows["trial 2"]["values"]
    trial = {
        "merge_method": values["method"],
        "base_model": str(world / "base"),
        "models": [
            e | {"parameters": {"weight": values[n]}} for e, n in zip(entries, "ab", strict=True)
        ],
    }
    for name, config in (("plain mean", mean), ("trial 2", trial)):
        folder = merge.run(validate(MergeConfig, config, "test"), tmp_path / name)
        scores = judge.score(folder)
        assert scores.score == pytest.approx(rows[name]["score"], rel=1e-12)
        if name == "plain mean":
            assert scores.held_out == pytest.approx(rows[name]["held_out"], rel=1e-12)


def test_the_best_is_merged_and_reported_on_what_was_held_out(found, world):
    best, out = found[0].best, found[1]
    trials = [row for row in found[0].rows if row["kind"] == "trial"]
    assert best["score"] == min(row["score"] for row in trials)
    judge = Judge(found[0].settings.score, [world / "base"], seed=0)
    assert judge.score(out / "model") == (best["score"], best["held_out"])
    told = yaml.safe_load((out / "model/merge.yaml").read_text())
    assert told["merge_method"] == best["values"]["method"]
    assert told["models"][0]["parameters"]["weight"] == best["values"]["a"]
    assert told["models"][1]["parameters"]["weight"] == best["values"]["b"]


def test_the_models_of_trials_are_deleted(found):
    assert sorted(path.name for path in found[1].iterdir()) == [
        ".lock",
        "manifest.json",
        "model",
        "trials.jsonl",
    ]


def test_the_text_held_out_is_no_part_of_the_search(found, world, tmp_path):
    """A search on the rest alone makes the same trials."""
    judge = Judge(found[0].settings.score, [world / "base"], seed=0)
    rest = tmp_path / "rest.jsonl"
    rest.write_text("".join(json.dumps({"text": d.text}) + "\n" for d in judge._parts[0]))
    score = {"bits_per_byte": str(rest), "held_out": 0.0}
    again = search.run(settings_of(recipe(world, score=score, budget=6)), tmp_path / "out")
    assert [row.get("values") for row in again.rows] == [r.get("values") for r in found[0].rows[:9]]
    assert [r["score"] for r in again.rows] == pytest.approx(
        [r["score"] for r in found[0].rows[:9]], rel=1e-9
    )
    assert again.best["held_out"] is None


def test_a_higher_score_may_be_better(world, tmp_path, monkeypatch):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    scores = iter([0.1, 0.2, 0.3, 0.4, 0.9, 0.6, 0.5])
    monkeypatch.setattr(Judge, "score", lambda *_, **__: Scores(next(scores), None))
    content = recipe(world, score={"answers": str(path), "held_out": 0.0}, budget=4)
    assert search.run(settings_of(content), tmp_path / "out").best["trial"] == 1


# -------------------------------------------------------------------------------- going on with it


def test_a_finished_search_is_left_as_it_is(found, world, monkeypatch):
    monkeypatch.setattr(search, "Judge", None)  # nothing is scored
    before = (found[1] / "trials.jsonl").read_bytes()
    again = search.run(settings_of(recipe(world)), found[1])
    assert again == found[0]
    assert (found[1] / "trials.jsonl").read_bytes() == before


def test_a_larger_budget_goes_on_as_if_it_had_been_the_first(quick, world, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    found = search.run(settings_of(recipe(world)), whole)
    search.run(settings_of(recipe(world, budget=5)), out)
    again = search.run(settings_of(recipe(world, budget={"trials": 8})), out)
    assert without_times(again.rows) == without_times(found.rows)
    assert again.best["held_out"] == found.best["held_out"]
    weights = [folder / "model/model.safetensors" for folder in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


KILLED = """
import sys, yaml
from inarch.flows import search
from inarch.settings import load
search.run(search.load_search(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("wait_for", [2, 6])
def test_a_killed_search_goes_on(found, world, tmp_path, wait_for):
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(recipe(world), sort_keys=False))
    process = subprocess.Popen([sys.executable, "-c", KILLED, path, out])
    deadline = time.monotonic() + 120
    rows = out / "trials.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if rows.exists() and rows.read_text().count("\n") >= wait_for:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_for <= rows.read_text().count("\n") < 11
    with rows.open("a") as file:
        file.write('{"kind": "trial", "na')  # as a kill within the write leaves it
    again = search.run(search.load_search(path), out)
    assert without_times(again.rows) == without_times(found[0].rows)
    assert not (out / ".trial.tmp").exists()
    assert (out / "model/config.json").exists()


def test_the_model_of_an_earlier_best_is_replaced(quick, world, tmp_path):
    out, models = tmp_path / "out", []
    for budget in (2, 8):
        found = search.run(settings_of(recipe(world, budget=budget)), out)
        far = Judge.score(None, out / "model").score
        assert found.best["score"] == far
        models.append(far)
    assert models[1] < models[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"strategy": "random"},
        {"search": {"method": {"choices": ["ties", "sce"]}, "a": {"low": 0, "high": 1},
                    "b": {"low": 0, "high": 1}}},
    ],
)  # fmt: skip
def test_another_search_is_refused(found, world, changes):
    with pytest.raises(SettingsError, match="holds a run that differs from this one"):
        search.run(settings_of(recipe(world, **changes)), found[1])


def test_another_text_is_refused(found, world):
    path = world / "text.jsonl"
    before = path.read_text()
    path.write_text(before + before)
    try:
        with pytest.raises(SettingsError, match=r"inputs.score"):
            search.run(settings_of(recipe(world)), found[1])
    finally:
        path.write_text(before)


@pytest.mark.parametrize("changes", [{"threads": 1}, {"device": "cpu"}])
def test_what_only_costs_may_change(found, world, changes):
    assert search.run(settings_of(recipe(world, **changes)), found[1]).rows == found[0].rows


# ------------------------------------------------------------------------------------ the budget


def test_nothing_is_tried_twice_and_a_small_space_ends(quick, world, tmp_path):
    small = {
        "method": {"choices": ["task_arithmetic", "ties"]},
        "a": {"choices": [0.2, 0.8]},
        "b": {"choices": [0.5, [0.0, 1.0]]},
    }
    found = search.run(settings_of(recipe(world, search=small, budget=30)), tmp_path / "out")
    tried = [json.dumps(row["values"]) for row in found.rows if row["kind"] == "trial"]
    assert len(tried) == len(set(tried)) == 9  # the plain mean and 2 * 2 * 2


def test_no_trial_begins_after_its_minutes(quick, world, tmp_path, monkeypatch):
    def score(self, *_, **__):
        time.sleep(0.4)
        return Scores(1.0, 1.0)

    monkeypatch.setattr(Judge, "score", score)
    content = recipe(world, budget={"trials": 50, "minutes": 1.0 / 60})
    found = search.run(settings_of(content), tmp_path / "out")
    trials = [row for row in found.rows if row["kind"] == "trial"]
    assert 2 <= len(trials) <= 3
    assert sum(row["wall_s"] for row in trials[:-1]) < 1.0
    again = search.run(settings_of(content), tmp_path / "out")
    assert len(again.rows) == len(found.rows)  # the minutes are those of all runs together


def test_random_trials_do_not_depend_on_scores(quick, world, tmp_path, monkeypatch):
    values = []
    for slope in (1.0, -1.0):
        count = iter(range(100))
        monkeypatch.setattr(Judge, "score", lambda *_, **__: Scores(slope * next(count), 0.0))  # noqa: B023
        content = recipe(world, strategy="random", budget=7)
        found = search.run(settings_of(content), tmp_path / f"out{slope}")
        values.append([row["values"] for row in found.rows if row["kind"] == "trial"])
    assert values[0] == values[1]


# ------------------------------------------------------------------------------ trials that fail


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_trial_without_a_score_is_counted_and_left_out(quick, world, tmp_path, monkeypatch, bad):
    real, calls = Judge.score, []

    def score(self, model, device="cpu", *, held_out=True):
        calls.append(model)
        scores = real(self, model, device, held_out=held_out)
        return scores._replace(score=bad) if len(calls) in (5, 6) else scores

    monkeypatch.setattr(Judge, "score", score)
    found = search.run(settings_of(recipe(world)), tmp_path / "out")
    failed = [row for row in found.rows if row["score"] is None]
    assert [row["trial"] for row in failed] == [1, 2]
    assert failed[0]["error"] == f"the score of the merge is {bad}"
    assert found.best["trial"] not in (1, 2)
    assert len(found.rows) == 11
    facts = json.loads((tmp_path / "out/manifest.json").read_text())["facts"]
    assert facts["failed"] == 2


def test_weights_that_cancel_out_are_a_trial_that_fails(quick, world, tmp_path):
    merged = recipe(world)["merge"] | {"merge_method": "linear"}
    numbers = {"a": {"choices": [1.0, 0.5]}, "b": {"choices": [-1.0, 1.0]}}
    found = search.run(settings_of(recipe(world, merge=merged, search=numbers)), tmp_path / "out")
    failed = [row for row in found.rows if row["score"] is None]
    assert [row["values"] for row in failed] == [{"a": 1.0, "b": -1.0}]
    assert "sum to zero" in failed[0]["error"]


def test_an_error_that_no_trial_is_to_blame_for_stops_the_search(
    quick, world, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise DataError("disk full")

    search.run(settings_of(recipe(world, budget=2)), tmp_path / "out")
    monkeypatch.setattr(merge, "run", full)
    with pytest.raises(DataError, match="disk full"):
        search.run(settings_of(recipe(world)), tmp_path / "out")
    monkeypatch.undo()
    assert len(search.run(settings_of(recipe(world)), tmp_path / "out").rows) == 11


# ------------------------------------------------------------------------------------- bad input


def written(path: Path, content: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"search": {}},
            "search: found a mapping, expected Dictionary should have at least 1 item",
        ),
        ({"budget": 0}, "budget: found 0, expected greater than or equal to 2"),
        ({"budget": {"trials": 5, "minutes": 0}}, "budget.minutes: found 0, expected greater"),
        ({"budgt": 3}, "budgt: unknown key; did you mean `budget`?"),
        ({"strategy": "cma"}, "expected 'model' or 'random'"),
        ({"score": {}}, "expected either bits_per_byte or answers"),
    ],
)
def test_settings_that_are_wrong(world, tmp_path, changes, problem):
    with pytest.raises(SettingsError) as told:
        search.load_search(written(tmp_path / "s.yaml", recipe(world, **changes)))
    assert problem in str(told.value)


def changed(content: dict[str, object], **names: object) -> dict[str, object]:
    return content | {"search": content["search"] | names}


def test_a_name_that_nobody_explains_is_told_with_its_line(world, tmp_path):
    content = changed(recipe(world), spare={"low": 0, "high": 1})
    content["merge"]["models"][1]["parameters"]["weight"] = "$bb"
    path = written(tmp_path / "s.yaml", content)
    with pytest.raises(SettingsError) as told:
        search.load_search(path)
    lines = path.read_text().splitlines()
    at = {
        key: next(i for i, line in enumerate(lines, 1) if key in line) for key in ("$bb", "spare")
    }
    assert str(told.value).splitlines() == [
        f"{path}:{at['$bb']}: merge.models.1.parameters.weight: $bb is not among the names of "
        "`search`; did you mean `b`?",
        f"{path}:{next(i for i, line in enumerate(lines, 1) if line == '  b:')}: search.b: has no "
        "effect, as the recipe has no $b",
        f"{path}:{at['spare']}: search.spare: has no effect, as the recipe has no $spare",
    ]


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        (["ties", "tie"], "merge_method: unknown method tie; did you mean `ties`?"),
        (["ties", "slerp"], "slerp takes 1 of the models"),
        (["ties", 3], "merge_method"),
    ],
)
def test_every_choice_must_be_a_recipe(world, tmp_path, method, problem):
    content = changed(recipe(world), method={"choices": method})
    with pytest.raises(SettingsError) as told:
        search.load_search(written(tmp_path / "s.yaml", content))
    assert problem in str(told.value)
    with pytest.raises(SettingsError, match="merge"):  # from Python, too
        search.run(settings_of(content), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_recipe_is_told(world, tmp_path):
    content = recipe(world)
    content["merge"]["modls"] = content["merge"].pop("models")
    with pytest.raises(SettingsError, match="modls: unknown key; did you mean `models`"):
        search.load_search(written(tmp_path / "s.yaml", changed(content)))


def test_models_that_do_not_fit_are_refused_before_anything_is_scored(world, tmp_path, monkeypatch):
    other = save_model(tmp_path / "other", byte_level(), kind="gpt_neox")
    content = recipe(world)
    content["merge"]["models"][1]["model"] = str(other)
    monkeypatch.setattr(search, "Judge", None)
    with pytest.raises(WeightsError):
        search.run(settings_of(content), tmp_path / "out")
    assert not (tmp_path / "out/trials.jsonl").exists()


def test_a_folder_without_weights(world, tmp_path):
    (tmp_path / "empty").mkdir()
    content = recipe(world)
    content["merge"]["models"][1]["model"] = str(tmp_path / "empty")
    with pytest.raises(WeightsError, match=r"empty has no config.json"):
        search.run(settings_of(content), tmp_path / "out")


def test_a_plan_reads_headers_only(world):
    plan = search.plan(settings_of(recipe(world, budget={"trials": 9, "minutes": 5})))
    assert plan["dimensions"] == 4
    assert plan["trials"] == "9, 5 minutes at most"
    assert [Path(name).name for name in plan["scored alone"]] == ["a", "b", "base"]
    assert plan["score"] == "bits per byte"
