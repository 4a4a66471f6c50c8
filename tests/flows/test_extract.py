"""Adapters of what fine-tuning changed: merged back, and refused where there is nothing to make."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inarch.errors import SettingsError, WeightsError
from inarch.flows import diff, extract, merge
from inarch.flows.extract import ExtractSettings
from inarch.merge import MergeConfig
from inarch.settings import validate
from tests.tiny import byte_level, save_model

FULL = ExtractSettings(rank=320)  # no matrix is larger


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with ``base``, and ``tuned`` of which every tensor changed."""
    root = tmp_path_factory.mktemp("extract")
    hf = byte_level()
    weights = load_file(save_model(root / "base", hf) / "model.safetensors")
    save_model(root / "tuned", hf)
    generator = torch.Generator().manual_seed(1)
    changed = {
        name: value + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in weights.items()
    }
    save_file(changed, root / "tuned/model.safetensors", metadata={"format": "pt"})
    return root


def merged_back(models: Path, adapter: Path, out: Path) -> Path:
    """What `inarch merge` makes of the base with the adapter on it."""
    entry = {"model": f"{models / 'base'}+{adapter}"}
    config = validate(MergeConfig, {"merge_method": "passthrough", "models": [entry]}, "test")
    return merge.run(config, out)


def test_a_full_rank_gives_the_tuned_model_back(models, tmp_path):
    report = extract.run(str(models / "tuned"), str(models / "base"), tmp_path / "ad", FULL)
    assert report.kept == pytest.approx(1.0, abs=1e-9)
    back = merged_back(models, tmp_path / "ad", tmp_path / "back")
    found = diff.run(models / "tuned", back)
    assert found["whole"]["relative"] < 1e-6
    assert found["whole"]["largest"] < 1e-6
    assert (found["only_a"], found["only_b"], found["shapes"]) == ([], [], [])


def test_a_low_rank_keeps_what_it_says(models, tmp_path):
    """The squared distance of the merge from the tuned model is what the report says is lost."""
    report = extract.run(
        str(models / "tuned"), str(models / "base"), tmp_path / "ad", ExtractSettings(rank=2)
    )
    back = merged_back(models, tmp_path / "ad", tmp_path / "back")
    lost = {row["tensor"]: row["norm"] ** 2 for row in diff.run(models / "tuned", back)["tensors"]}
    for tensor in report.tensors:
        expected = (1 - tensor.kept) * tensor.change
        assert lost[tensor.name] == pytest.approx(expected, rel=1e-3, abs=1e-9)
    whole = diff.run(models / "base", models / "tuned")["whole"]["norm"] ** 2
    assert 1 - sum(lost.values()) / whole == pytest.approx(report.kept, rel=1e-5)
    assert 0.1 < report.kept < 0.9


def test_a_finished_folder_is_left_and_says_the_same(models, tmp_path, monkeypatch):
    names = (str(models / "tuned"), str(models / "base"), tmp_path / "ad")
    first = extract.run(*names, ExtractSettings(rank=3))
    monkeypatch.setattr(extract, "extract", None)
    assert extract.run(*names, ExtractSettings(rank=3)) == first
    with pytest.raises(SettingsError, match=r"settings.rank: 3 there, 4 now"):
        extract.run(*names, ExtractSettings(rank=4))
    with pytest.raises(SettingsError, match=r"inputs.base"):
        extract.run(str(models / "base"), str(models / "tuned"), names[2], ExtractSettings(rank=3))


def test_of_a_model_with_an_adapter(models, tmp_path):
    """The change that an adapter makes is that adapter again."""
    names = (str(models / "tuned"), str(models / "base"))
    skip = ExtractSettings(rank=2, rest="skip", embeddings="skip")
    extract.run(*names, tmp_path / "first", skip)
    with_it = f"{models / 'base'}+{tmp_path / 'first'}"
    report = extract.run(with_it, names[1], tmp_path / "second", skip)
    assert all(tensor.kept == pytest.approx(1.0, abs=1e-6) for tensor in report.tensors)
    ways = [
        merged_back(models, tmp_path / name, tmp_path / f"of {name}")
        for name in ("first", "second")
    ]
    assert diff.run(*ways)["whole"]["largest"] < 1e-6


def test_one_model_twice(models, tmp_path):
    with pytest.raises(SettingsError, match="twice, expected a model and what was fine-tuned"):
        extract.run(str(models / "base"), str(models / "base"), tmp_path / "ad")


def test_models_that_are_equal_or_unlike(models, tmp_path):
    same = save_model(tmp_path / "same", byte_level())
    with pytest.raises(WeightsError, match="no matrix of"):
        extract.run(str(same), str(models / "base"), tmp_path / "ad")
    other = save_model(tmp_path / "other", byte_level(), kind="gpt_neox")
    with pytest.raises(WeightsError, match="expected a model and what was fine-tuned from it"):
        extract.run(str(other), str(models / "base"), tmp_path / "ad2")
    with pytest.raises(WeightsError, match="absent"):
        extract.run("./absent", str(models / "base"), tmp_path / "ad3")


def test_a_run_that_failed_can_be_made_again(models, tmp_path, monkeypatch):
    names = (str(models / "tuned"), str(models / "base"), tmp_path / "ad")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extract, "extract", fail)
    with pytest.raises(KeyboardInterrupt):
        extract.run(*names, FULL)
    monkeypatch.undo()
    assert extract.run(*names, FULL).kept == pytest.approx(1.0)


def test_a_plan(models):
    plan = extract.plan(str(models / "tuned"), str(models / "base"))
    weights = load_file(models / "base/model.safetensors")
    assert plan["tensors"] == len(weights)
    assert plan["parameters"] == sum(value.numel() for value in weights.values())


def test_what_is_kept_is_in_the_manifest(models, tmp_path):
    report = extract.run(str(models / "tuned"), str(models / "base"), tmp_path / "ad", FULL)
    facts = json.loads((tmp_path / "ad/manifest.json").read_text())["facts"]
    assert facts["tensors"] == [tensor._asdict() for tensor in report.tensors]
