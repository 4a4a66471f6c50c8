import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from inarch.errors import SettingsError, WeightsError
from inarch.io import models
from inarch.io.models import digest_model, head_width, load_model, max_positions, new_model

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    new_model(LLAMA, 31, seed=0).save_pretrained(tmp_path)
    return tmp_path


def test_what_was_saved_is_loaded(saved: Path) -> None:
    model = load_model(saved)
    expected = new_model(LLAMA, 31, seed=0).state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    assert not model.training


def test_weights_that_are_written_anew_are_others(saved: Path) -> None:
    before = digest_model(str(saved))
    assert digest_model(str(saved)) == before
    new_model(LLAMA, 31, seed=1).save_pretrained(saved)
    assert digest_model(str(saved)) != before


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_weights_come_as_stored_or_as_asked(tmp_path: Path, stored: torch.dtype) -> None:
    new_model(LLAMA, 31, seed=0).to(stored).save_pretrained(tmp_path)
    assert load_model(tmp_path).dtype == stored
    assert load_model(tmp_path, dtype=torch.float16).dtype == torch.float16


def test_a_real_model_predicts_what_it_was_trained_on(shared_data: Path) -> None:
    model = load_model(shared_data / "models" / "stories260K")
    assert (head_width(model), max_positions(model.config)) == (512, 512)
    # its README: greedy from "<s>Once upon a time" goes on with ", there was a little girl"
    ids = torch.tensor([[1, 403, 407, 261, 378]])
    assert model(input_ids=ids).logits[0, -1].argmax().item() == 432


# ------------------------------------------------------------------------- checkpoints with a fault


def drop(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def reshape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.zeros(30, 16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def only_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def edit(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | keys))

    return change


OWN_CODE = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (drop, "lm_head.weight is absent.*random"),
        (reshape, r"lm_head.weight has shape \[30, 16\], not \[31, 16\]"),
        (cut, "cannot be read.*fetch"),
        (only_bin, r"\.bin.*save_pretrained"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "JSON"),
        (edit(model_type="weird"), "weird"),
        (edit(model_type="weird", auto_map=OWN_CODE), "custom code"),
        (edit(model_type="vit"), "ViTConfig"),
        (edit(num_attention_heads=3), "multiple of the number of attention heads"),
    ],
)
def test_a_fault_is_named(saved: Path, fault: Callable[[Path], Any], message: str) -> None:
    fault(saved)
    with pytest.raises(WeightsError, match=message):
        load_model(saved)


def test_bin_files_of_the_hub_are_not_read_either(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_bin(saved)
    monkeypatch.setattr(models, "_check_files", lambda folder: None)  # it looks at folders only
    with pytest.raises(WeightsError, match="no file named model"):
        load_model(saved)


def test_no_code_of_a_checkpoint_runs(saved: Path) -> None:
    edit(model_type="weird", auto_map=OWN_CODE)(saved)
    (saved / "own.py").write_text(f"open({str(saved / 'ran')!r}, 'w')")
    with pytest.raises(WeightsError):
        load_model(saved)
    assert not (saved / "ran").exists()


def test_an_absent_folder_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no folder"):
        load_model(tmp_path / "absent")


def test_tensors_without_a_place_are_counted(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(saved / "model.safetensors") | {"mtp.weight": torch.zeros(2)}
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "inarch"):
        load_model(saved)
    assert "1 tensors have no place" in caplog.text
    assert "mtp.weight" in caplog.text


def test_transformers_says_nothing_and_keeps_its_voice(
    saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers_logging.get_verbosity()
    load_model(saved)
    drop(saved)
    with pytest.raises(WeightsError):
        load_model(saved)
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.get_verbosity() == before


# -------------------------------------------------------------------------------------- new models


def test_a_seed_is_a_model_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (new_model(LLAMA, 31, seed=seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_special_tokens_are_only_those_that_are_named() -> None:
    model = new_model(LLAMA | {"eos_token_id": 7}, 31, seed=0)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (None, 7)
    assert model.generation_config.eos_token_id == 7


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model_type: None"),
        ({"model_type": "lama"}, "did you mean 'llama'"),
        (LLAMA | {"hiden_size": 16}, "did you mean 'hidden_size'"),
        (LLAMA | {"hidden_size": 15}, "multiple of the number of attention heads"),
        (LLAMA | {"hidden_size": "wide"}, "hidden_size"),
        ({"model_type": "vit"}, "no vit language model"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        new_model(config, 31, seed=0)


def test_a_key_that_is_read_but_not_listed_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    config = LLAMA | {"model_type": "qwen3_moe", "head_dim": 6, "num_experts": 2}
    model = new_model(config | {"num_key_value_heads": 2, "moe_intermediate_size": 8}, 31, seed=0)
    assert model.model.layers[0].self_attn.q_proj.out_features == 2 * 6
    assert "does not list the key 'head_dim'" in caplog.text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAMA | {"max_position_embeddings": 77}, 77),
        ({"model_type": "gpt2", "n_positions": 55, "n_embd": 8, "n_layer": 1, "n_head": 2}, 55),
        ({"model_type": "mpt", "max_seq_len": 66, "d_model": 8, "n_layers": 1, "n_heads": 2}, 66),
        ({"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1}, None),
    ],
)
def test_positions_and_head_of_any_family(config: dict[str, Any], expected: int | None) -> None:
    model = new_model(config, 31, seed=0)
    assert max_positions(model.config) == expected
    assert head_width(model) == 31
