"""Checkpoints as they lie on disk: views of numbers, ties, fingerprints."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from safetensors.torch import save_model

from inarch.errors import WeightsError
from inarch.io.headers import TensorInfo
from inarch.io.weights import Checkpoint


def save(folder: Path, arrays: dict[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_the_module_loads_without_torch():
    code = "import sys, inarch.io.weights, inarch.io.shards; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_format_is_a_read_only_view_of_the_file(tmp_path):
    torch.manual_seed(0)
    tensors = {
        "🌱.bf16": torch.randn(3, 5).bfloat16(),
        "层.f16": torch.randn(7).half(),
        "f32": torch.randn(2, 3),
        "f64": torch.randn(()).double(),
        "fp8": torch.randn(9).to(torch.float8_e5m2),
        "int": torch.tensor([-1, 1 << 40]),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(4, 0),
    }
    save_tensors(tensors, tmp_path / "any name.safetensors")
    with Checkpoint.open(tmp_path / "any name.safetensors", label="mine") as checkpoint:
        assert (checkpoint.label, checkpoint.config) == ("mine", {})
        assert checkpoint.tensors["🌱.bf16"] == TensorInfo("🌱.bf16", "BF16", (3, 5))
        assert checkpoint.tensors["f64"].shape == ()
        for name, tensor in tensors.items():
            raw = checkpoint.raw(name)
            assert raw.shape == (tensor.numel(),)
            assert raw.tobytes() == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            assert not raw.flags.writeable


def test_the_config_beside_a_file_is_read(tmp_path):
    save(tmp_path, {"a": np.float32([1])}, x=1)
    assert Checkpoint.open(tmp_path / "model.safetensors").config == {"x": 1}
    assert Checkpoint.open(tmp_path).config == {"x": 1}
    assert Checkpoint.open(str(tmp_path)).label == str(tmp_path)


def resident() -> int:
    """Bytes of mapped safetensors files that the process holds in memory."""
    total = 0
    file = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            file = line
        elif line.startswith("Rss:") and file.endswith("model.safetensors"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_memory_is_given_back(tmp_path):
    array = np.arange(1 << 20, dtype=np.float32)
    save(tmp_path, {"a": array, "b": array + 1})
    with Checkpoint.open(tmp_path) as checkpoint:
        for name in ("a", "b"):
            checkpoint.will_need(name)
            assert checkpoint.raw(name).sum() > 0
        assert resident() >= 2 * array.nbytes
        checkpoint.forget("a", 0, 1 << 19)
        assert resident() <= 1.6 * array.nbytes
        checkpoint.forget("b", 1 << 19)
        assert array.nbytes / 2 <= resident() <= 1.2 * array.nbytes
        checkpoint.forget("a")
        checkpoint.forget("b", 5)
        assert resident() <= array.nbytes / 8  # pages that the kernel maps beside those asked for
        assert np.array_equal(checkpoint.raw("a"), array)  # and can be read again


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs Linux")
@pytest.mark.parametrize("is_cached", [True, False])
def test_only_what_is_not_in_memory_is_read_ahead(tmp_path, monkeypatch, is_cached):
    save(tmp_path, {"a": np.zeros(5000, np.float32)})
    read, advised = [], []

    def preadv(opened, buffers, at, flags):
        read.append((at, flags))
        if not is_cached:
            raise BlockingIOError
        return 1

    monkeypatch.setattr(os, "preadv", preadv)
    with Checkpoint.open(tmp_path) as checkpoint:
        monkeypatch.setattr(checkpoint, "_advise", lambda *args: advised.append(args))
        checkpoint.will_need("a")
    assert all(flags == os.RWF_NOWAIT for _, flags in read)
    assert advised == ([] if is_cached else [("MADV_WILLNEED", "a", 0, None)])
    assert not is_cached or read[-1][0] - read[0][0] == 4 * 5000 - 1


def test_threads_read_while_others_forget(tmp_path):
    arrays = {f"t{i}": np.full(50_000, i, np.float32) for i in range(8)}
    save(tmp_path, arrays)
    with Checkpoint.open(tmp_path) as checkpoint, ThreadPoolExecutor(8) as pool:

        def read(name: str) -> bool:
            checkpoint.will_need(name)
            same = np.array_equal(checkpoint.raw(name), arrays[name])
            checkpoint.forget(name)
            return same

        assert all(pool.map(read, list(arrays) * 20))


def test_a_view_outlives_its_checkpoint(tmp_path):
    save(tmp_path, {"a": np.float32([1, 2])})
    with Checkpoint.open(tmp_path) as checkpoint:
        view = checkpoint.raw("a")
    assert view.tolist() == [1, 2]


# --------------------------------------------------------------------------------------------- ties

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LM = {"architectures": ["LlamaForCausalLM"]}


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        (LM | {"tie_word_embeddings": True}, [EMBEDDING], {HEAD: EMBEDDING}),
        (LM, [EMBEDDING], {HEAD: EMBEDDING}),
        (LM | {"tie_word_embeddings": False}, [EMBEDDING], {}),
        (LM | {"tie_word_embeddings": True}, [EMBEDDING, HEAD], {}),
        ({"architectures": ["LlamaModel"]}, [EMBEDDING], {}),
        ({"architectures": None}, [EMBEDDING], {}),
        ({}, [EMBEDDING], {}),
        (LM | {"text_config": {"tie_word_embeddings": False}}, [EMBEDDING], {}),
        (LM | {"text_config": 3}, [EMBEDDING], {HEAD: EMBEDDING}),
        ({"architectures": ["GPT2LMHeadModel"]}, ["wte.weight"], {HEAD: "wte.weight"}),
        (
            {"architectures": ["GPT2LMHeadModel"]},
            ["transformer.wte.weight", "transformer.wpe.weight"],
            {HEAD: "transformer.wte.weight"},
        ),
        (
            {"architectures": ["LlavaForConditionalGeneration"]},
            ["language_model.model.embed_tokens.weight"],
            {"language_model.lm_head.weight": "language_model.model.embed_tokens.weight"},
        ),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"]},
            ["model.language_model.embed_tokens.weight"],
            {HEAD: "model.language_model.embed_tokens.weight"},
        ),
        (LM, ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"], {}),
    ],
)
def test_a_head_that_is_not_stored_is_the_embedding(tmp_path, config, names, expected):
    save(tmp_path, {name: np.float32([1]) for name in names}, **config)
    assert Checkpoint.open(tmp_path).aliases == expected


def test_ties_that_the_file_names(tmp_path):
    model = torch.nn.ModuleDict({"x": torch.nn.Linear(3, 3), "y": torch.nn.Linear(3, 3)})
    model["y"].weight = model["x"].weight
    save_model(model, str(tmp_path / "m.safetensors"))
    aliases = Checkpoint.open(tmp_path / "m.safetensors").aliases
    (pair,) = aliases.items()
    assert set(pair) == {"x.weight", "y.weight"}
    assert pair[1] in Checkpoint.open(tmp_path / "m.safetensors").tensors


@pytest.mark.parametrize("metadata", [None, 3, [], {"x": ["a"]}, {"x": None}, {"x": {"a": "a"}}])
def test_metadata_that_is_no_text_is_left_alone(tmp_path, metadata):
    header = json.dumps({"__metadata__": metadata}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert Checkpoint.open(tmp_path / "m.safetensors").aliases == {}


# ------------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_tells_checkpoints_apart(tmp_path):
    array = np.zeros(10_000, np.float32)

    def print_of(name: str, changed: int | None = None, tensor: str = "a", **config: Any) -> str:
        values = array.copy()
        if changed is not None:
            values[changed] = 1
        save(tmp_path / name, {tensor: values, "b": array[:0]}, **config)
        with Checkpoint.open(tmp_path / name) as checkpoint:
            assert checkpoint.fingerprint() == checkpoint.fingerprint()
            return checkpoint.fingerprint()

    same = print_of("one")
    assert len(same) == 32
    assert print_of("two") == same
    # The samples are 1024 numbers each: from 0, from (10000 - 1024) / 2 = 4488, and up to the end.
    changed = [print_of("x", at) for at in (0, 1023, 4488, 5511, 8976, 9999)]
    changed += [print_of("x", tensor="A"), print_of("x", y=1)]
    assert len({same, *changed}) == 9
    assert [print_of("x", at) for at in (1024, 4487, 5512, 8975)] == [same] * 4


def test_a_fingerprint_does_not_depend_on_where_the_folder_is(tmp_path):
    save(tmp_path / "a", {"w": np.float32([1])})
    (tmp_path / "a").rename(tmp_path / "b")
    first = Checkpoint.open(tmp_path / "b", label="x").fingerprint()
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert Checkpoint.open(tmp_path / "c", label="y").fingerprint() == first


def test_a_missing_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"there is no folder .*nowhere; expected one"):
        Checkpoint.open(tmp_path / "nowhere")
