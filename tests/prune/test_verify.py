"""Saved models, loaded in a process of their own."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from inarch.errors import WeightsError
from inarch.prune import _verify
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._verify import Reloaded, verify
from tests.prune.architectures import tiny
from tests.prune.test_cut import LONE, ids, masked, saved, steps


def made(folder, format: str, name: str = "llama") -> tuple[torch.Tensor, int]:
    subject = BlockModel.of(tiny(name))
    new = cut(subject, steps(LONE), format)
    saved(new, folder)
    return masked(subject, LONE), new.num_parameters()


def test_plain_loads_with_transformers_alone(tmp_path):
    expected, num = made(tmp_path, "plain", "gemma2")
    found = verify(tmp_path, expected, ids())
    module = "transformers.models.gemma2.modeling_gemma2"
    assert found == Reloaded("Gemma2ForCausalLM", module, num, has_inarch=False)


def test_a_native_one_with_a_weight_changed_is_found(tmp_path):
    expected, _ = made(tmp_path, "native")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] += 2.0
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"logits differ .* by up to \d"):
        verify(tmp_path, expected, ids())


def test_a_folder_that_does_not_load_is_told(tmp_path, monkeypatch):
    expected, _ = made(tmp_path, "plain")
    monkeypatch.setattr(_verify, "_CHILD", "raise ValueError('cut off')")
    with pytest.raises(WeightsError, match="fresh process cannot load it: ValueError: cut off"):
        verify(tmp_path, expected, ids())


def report(**changes: object) -> dict[str, object]:
    whole = {"class_name": "A", "module": "m", "num_parameters": 3, "has_inarch": False}
    return whole | {"wrong_keys": {}, "is_equal": True, "gap": 0.0} | changes


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"wrong_keys": {"missing_keys": ["a.weight"]}}, "missing_keys.*a.weight"),
        ({"wrong_keys": {"unexpected_keys": ["b"]}, "is_equal": False}, "unexpected_keys.*b"),
        ({"is_equal": False, "gap": 0.25}, "by up to 0.25"),
    ],
)
def test_each_fault_has_its_message(tmp_path, monkeypatch, found: dict, reason: str):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    monkeypatch.setattr(_verify, "_run", lambda *_: report(**found))
    with pytest.raises(WeightsError, match=reason):
        verify(tmp_path, torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.long))


@pytest.mark.parametrize(("model_type", "ours"), [("llama", "False"), ("inarch_pruned", "True")])
def test_inarch_is_imported_for_its_own_type_alone(tmp_path, monkeypatch, model_type, ours):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    seen: list[list[str]] = []
    monkeypatch.setattr(_verify, "_run", lambda arguments, _: seen.append(arguments) or report())
    verify(tmp_path, torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.long))
    assert seen[0][-1] == ours


def test_a_process_that_hangs_is_ended(tmp_path):
    expected, _ = made(tmp_path, "plain")
    with pytest.raises(WeightsError, match=r"within 0.05 s"):
        verify(tmp_path, expected, ids(), timeout_s=0.05)
