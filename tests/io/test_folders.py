"""Which files are a model's weights: as transformers finds them, and what is refused."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from inarch.errors import WeightsError
from inarch.io.folders import INDEX, SINGLE
from inarch.io.models import new_model
from inarch.io.weights import Checkpoint

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two files and their index, in a folder whose name is no plain ASCII."""
    path = tmp_path / "模型 🌱"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": np.float32([1, 2]), "层.b": np.float32([[3]])}, path / ONE)
    save_file({"c": np.float16([4])}, path / TWO)
    write_index(path, {"a": ONE, "层.b": ONE, "c": TWO})
    return path


def write_index(folder: Path, weight_map: Any, name: str = INDEX) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def values(path: Path) -> dict[str, list[float]]:
    with Checkpoint.open(path) as checkpoint:
        return {name: checkpoint.raw(name).tolist() for name in checkpoint.tensors}


def test_several_files_with_an_index(folder):
    assert values(folder) == {"a": [1, 2], "层.b": [3], "c": [4]}


def test_an_index_of_another_name(folder):
    (folder / INDEX).rename(folder / "weights.safetensors.index.json")
    assert values(folder) == {"a": [1, 2], "层.b": [3], "c": [4]}


def test_an_index_leaves_other_files_out(folder):
    save_file({"a": np.float32([9])}, folder / "consolidated.safetensors")
    assert values(folder)["a"] == [1, 2]


def test_a_single_file_goes_before_an_index(folder):
    save_file({"a": np.float32([9])}, folder / SINGLE)
    assert values(folder) == {"a": [9]}


def test_one_file_of_any_name(folder):
    for name in (INDEX, ONE):
        (folder / name).unlink()
    assert values(folder / TWO) == {"c": [4]}
    with pytest.raises(WeightsError, match=f"holds {TWO} and no {INDEX} that says"):
        Checkpoint.open(folder)
    for name in ("model-00001-of-00001.safetensors", "weights of mine.safetensors"):
        (folder / TWO).rename(folder / name)
        assert values(folder) == {"c": [4]}
        (folder / name).rename(folder / TWO)


def test_links_into_the_cache_of_the_hub(folder):
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for name in (ONE, TWO):
        (folder / name).rename(blobs / name[::-1])
        (folder / name).symlink_to(Path("..") / "blobs" / name[::-1])
    assert values(folder) == {"a": [1, 2], "层.b": [3], "c": [4]}


def test_a_tensor_that_the_index_does_not_list_is_there_all_the_same(folder):
    write_index(folder, {"a": ONE, "c": TWO})
    assert values(folder) == {"a": [1, 2], "层.b": [3], "c": [4]}


# ---------------------------------------------------------------------------------------- refused


def index_of(weight_map: Any) -> Callable[[Path], None]:
    return lambda folder: write_index(folder, weight_map)


def text_in(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def cut(folder: Path) -> None:
    (folder / TWO).write_bytes((folder / TWO).read_bytes()[:-1])


def twin(folder: Path) -> None:
    save_file({"a": np.float32([1, 2]), "c": np.float16([4])}, folder / TWO)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (index_of({"a": "../x.safetensors"}), r"'a' in '\.\./x.*an index may not lead out"),
        (index_of({"a": "/etc/passwd"}), "'a' in '/etc/passwd', expected the name of a file"),
        (index_of({"a": "sub/../../x"}), "may not lead out of its folder"),
        (index_of({"a": "./" + ONE}), "may not lead out of its folder"),
        (index_of({"a": ".."}), "may not lead out of its folder"),
        (index_of({"a": "."}), "may not lead out of its folder"),
        (index_of({"a": ""}), "may not lead out of its folder"),
        (index_of({"a": None}), "may not lead out of its folder"),
        (index_of({"a": "x\0y"}), "which is not there"),
        (index_of({}), "has no weight_map"),
        (index_of([ONE]), "has no weight_map"),
        (text_in(INDEX, "{}"), "has no weight_map"),
        (text_in(INDEX, "[]"), "holds a list, expected an object"),
        (text_in(INDEX, '{"weight_map'), "is no JSON"),
        (text_in(INDEX, "[" * 100_000), "is no JSON"),
        (without(TWO), f"names {TWO}, which is not there; fetch it as well"),
        (cut, f"{TWO} is no whole safetensors file: it is cut off"),
        (twin, f"both {ONE} and {TWO} hold 'a', expected each tensor once"),
        (index_of({"a": TWO, "c": TWO, "层.b": ONE}), f"{TWO} holds 'a', but {ONE} does; fetch"),
        (index_of({"a": ONE, "c": TWO, "d": TWO}), f"{TWO} holds 'd', but no file does"),
        (without(INDEX), f"holds {ONE} and no {INDEX}"),
        (without(INDEX, ONE, TWO), f"holds no weights, expected {SINGLE}, or {INDEX}"),
        (without("config.json"), r"has no config\.json; expected the folder of a saved model"),
        (text_in("config.json", "{"), r"config\.json is no JSON"),
        (text_in("config.json", "3"), r"config\.json holds a int"),
    ],
)
def test_a_broken_folder_is_refused(folder, harm, message):
    harm(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        Checkpoint.open(folder)
    assert str(folder) in str(caught.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        Checkpoint.open(tmp_path)


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"a": np.float32([1])}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match=r"is an adapter, .*: model\+"):
        Checkpoint.open(tmp_path)
    assert values(tmp_path / "adapter_model.safetensors") == {"a": [1]}


@pytest.mark.parametrize(
    ("config", "name", "reason"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "w", r"config\.json says so: gptq"),
        ({"quantization_config": {"bits": 4}}, "w", r"config\.json says so\)"),
        ({"quantization": {"group_size": 64}}, "w", r"config\.json says so\)"),
        ({}, "l.0.qweight", "it holds l.0.qweight"),
        ({}, "l.0.weight_scale", "it holds l.0.weight_scale"),
        ({}, "l.0.weight_scale_inv", "it holds l.0.weight_scale_inv"),
        ({}, "l.0.weight.absmax", "it holds l.0.weight.absmax"),
        ({}, "l.0.weight.quant_state.bitsandbytes__nf4", "it holds l.0.weight.quant_state"),
        ({}, "l.0.SCB", "it holds l.0.SCB"),
        ({}, "experts.down_proj_scales", "it holds experts.down_proj_scales"),
    ],
)
def test_a_quantised_checkpoint_is_refused(tmp_path, config, name, reason):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": np.float32([1]), name: np.uint8([1])}, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=f"mine is quantised .{reason}.*it was made from"):
        Checkpoint.open(tmp_path, label="mine")


def test_what_only_sounds_quantised_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"quantization_config": null}')
    save_file({"blocks.scales_net.weight": np.float32([1])}, tmp_path / SINGLE)
    assert values(tmp_path) == {"blocks.scales_net.weight": [1]}


# ---------------------------------------------------------------------------------------- pickles

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "tie_word_embeddings": True,
}


def run_the_command_in(error: WeightsError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command that the message gives, as a shell would split it."""
    python, option, code, *arguments = shlex.split(str(error).splitlines()[-1])
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    exec(code, {})


def test_a_bin_is_refused_and_the_command_converts_it(tmp_path, monkeypatch):
    model = new_model(LLAMA, 31, seed=0).to(torch.bfloat16)
    folder = tmp_path / "it's 旧 🌱"
    model.save_pretrained(folder)
    (folder / SINGLE).unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"as pytorch_model\.bin, a pickle") as caught:
        Checkpoint.open(folder)
    run_the_command_in(caught.value, monkeypatch)
    converted = folder.with_name(folder.name + "-safetensors")
    with Checkpoint.open(converted) as checkpoint:
        assert checkpoint.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
        assert all(tensor.dtype == "BF16" for tensor in checkpoint.tensors.values())
    loaded = AutoModelForCausalLM.from_pretrained(converted, dtype="auto").state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in model.state_dict().items())


def test_another_pickle_is_refused_and_the_command_converts_it(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": shared, "b": shared.T, "c": shared}, tmp_path / "consolidated.00.pth")
    with pytest.raises(WeightsError, match=r"as consolidated\.00\.pth, a pickle") as caught:
        Checkpoint.open(tmp_path)
    run_the_command_in(caught.value, monkeypatch)
    straight = [0, 1, 2, 3, 4, 5]
    assert values(tmp_path) == {"a": straight, "b": [0, 3, 1, 4, 2, 5], "c": straight}


@pytest.mark.parametrize("name", ["model.pt", "last.ckpt", "pytorch_model-00001-of-00002.bin"])
def test_pickles_are_never_opened(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"c__builtin__\neval\n(S'1/0'\ntR.")
    with pytest.raises(WeightsError, match=f"as {name}, a pickle, which can run code"):
        Checkpoint.open(tmp_path)
