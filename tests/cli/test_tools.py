"""``diff``, ``extract`` and ``merge search`` on real small models, from the command line."""

import json
import logging
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tests.tiny import TEXT, byte_level, save_model
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.errors import SettingsError, WeightsError


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with two models, a text, and a search over them."""
    root = tmp_path_factory.mktemp("a place")
    hf = byte_level()
    weights = load_file(save_model(root / "base", hf) / "model.safetensors")
    save_model(root / "tuned", hf)
    torch.manual_seed(0)
    changed = {name: value + 0.05 * torch.randn_like(value) for name, value in weights.items()}
    save_file(changed, root / "tuned/model.safetensors", metadata={"format": "pt"})
    (root / "text.txt").write_text("\n".join(TEXT))
    search = {
        "merge": {
            "merge_method": "slerp",
            "base_model": "base",
            "models": [{"model": "tuned"}],
            "parameters": {"t": "$t"},
        },
        "search": {"t": {"low": 0, "high": 1}},
        "score": {"bits_per_byte": "text.txt"},
        "budget": 3,
    }
    (root / "search.yaml").write_text(yaml.safe_dump(search))
    return root


@pytest.fixture
def say(place, monkeypatch):
    """A function that runs a command in that place and returns what it prints."""
    monkeypatch.chdir(place)

    def say(*arguments: object) -> str:
        ended = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert ended.exit_code == 0
        return ended.stdout

    yield say
    logging.getLogger("inarch").handlers = []


# ------------------------------------------------------------------------------------------- diff


def test_diff_shows_what_moved(say):
    printed = say("diff", "base", "tuned")
    assert "tensors that changed   21 of 21" in printed
    assert "model.layers.1" in printed


def test_diff_prints_one_object(say):
    found = json.loads(say("diff", "base", "tuned", "--json"))
    assert len(found["tensors"]) == 21
    assert not found["same_weights"]
    assert json.loads(say("diff", "base", "base", "--json"))["same_weights"]


def test_diff_writes_a_page(say, tmp_path):
    say("diff", "base", "tuned", "--out", tmp_path / "new" / "d.html", "--set", "threads=1")
    assert "What tells two models apart" in (tmp_path / "new" / "d.html").read_text()


def test_diff_plans(say):
    printed = say("diff", "base", "tuned", "--dry-run")
    assert "threads: 0" in printed
    assert "21" in printed


def test_diff_of_what_is_no_model(say, tmp_path):
    with pytest.raises(WeightsError, match=r"there is no|found no|absent"):
        say("diff", "base", tmp_path / "absent")
    with pytest.raises(SettingsError, match="unknown key; did you mean `threads`"):
        say("diff", "base", "tuned", "--set", "thraeds=1")


# ---------------------------------------------------------------------------------------- extract


def test_extract_makes_an_adapter(say, tmp_path):
    printed = say("extract", "tuned", "--base", "base", "--rank", "4", "--out", tmp_path / "ad")
    assert "kept of all squared change" in printed
    assert printed.endswith(f"{tmp_path / 'ad'}\n")
    config = json.loads((tmp_path / "ad/adapter_config.json").read_text())
    assert config["r"] == 4


def test_extract_prints_an_object_per_tensor(say, tmp_path):
    arguments = ("extract", "tuned", "--base", "base", "--out", tmp_path / "ad", "--json")
    rows = [json.loads(line) for line in say(*arguments, "--set", "rank=2").splitlines()]
    assert len(rows) == 21
    assert {row["rank"] for row in rows if row["way"] == "low_rank"} == {2}


def test_extract_plans(say, tmp_path):
    arguments = ("extract", "tuned", "--base", "base", "--out", tmp_path / "ad", "--rank", "8")
    printed = say(*arguments, "--dry-run")
    assert "rank: 8" in printed
    assert not (tmp_path / "ad").exists()


def test_extract_refuses_a_rank_of_nothing(say, tmp_path):
    with pytest.raises(SettingsError, match="rank: found 0, expected greater than 0"):
        say("extract", "tuned", "--base", "base", "--out", tmp_path / "ad", "--rank", "0")


# ----------------------------------------------------------------------------------------- search


def test_search_shows_the_best_and_merges_it(say, tmp_path):
    printed = say("merge", "search", "search.yaml", "--out", tmp_path / "out")
    assert "plain mean" in printed
    assert "is the best of 3" in printed
    assert printed.endswith(f"{tmp_path / 'out' / 'model'}\n")
    assert (tmp_path / "out/model/model.safetensors").exists()
    page = say("report", tmp_path / "out").strip()
    assert "Trials, lower is better" in Path(page).read_text()


def test_search_prints_an_object_per_trial(say, tmp_path):
    arguments = ("merge", "search", "search.yaml", "--out", tmp_path / "out", "--json")
    rows = [json.loads(line) for line in say(*arguments, "--set", "budget=2").splitlines()]
    assert [row["kind"] for row in rows] == ["input", "input", "trial", "trial"]


def test_search_plans(say):
    printed = say("merge", "search", "search.yaml", "--dry-run", "--set", "seed=3")
    assert "seed: 3" in printed
    assert "bits per byte" in printed
    assert not Path("runs").exists()


# ---------------------------------------------------------------------------------------- explain


def test_an_explanation_is_a_map_and_a_page(say, place, tmp_path):
    recipe = {
        "merge_method": "linear",
        "models": [{"model": "base"}, {"model": "tuned"}],
        "parameters": {"weight": 1},
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    printed = say("merge", "recipe.yaml", "--explain", "--out", tmp_path / "page.html")
    assert "tuned: factor on each model" in printed
    assert "0–1" in printed
    assert "0.500" in printed
    assert "Merge explained: recipe" in (tmp_path / "page.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
