"""Checkpoints written piece by piece: every number in its place, whole or absent, gone on with."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from inarch.io.dtypes import storage
from inarch.io.headers import TensorInfo
from inarch.io.shards import PART, CheckpointWriter
from inarch.io.weights import Checkpoint

TENSORS = (
    TensorInfo("model.embed_tokens.weight", "BF16", (50, 16)),
    TensorInfo("层.🌱.weight", "F32", (7, 3)),
    TensorInfo("scalar", "F64", ()),
    TensorInfo("empty", "F16", (0, 4)),
    TensorInfo("mask", "BOOL", (5,)),
    TensorInfo("ids", "I64", (3,)),
    TensorInfo("small", "F8_E4M3", (9,)),
)


def content(tensor: TensorInfo, seed: int = 0) -> np.ndarray:
    """Raw numbers of a tensor, different from those of another seed."""
    noise = np.random.default_rng([seed, *tensor.name.encode()]).bytes(tensor.num_bytes)
    raw = np.frombuffer(noise, np.uint8)
    return (raw & 1 if tensor.dtype == "BOOL" else raw).view(storage(tensor.dtype))


def write_all(writer: CheckpointWriter, tensors=TENSORS, seed: int = 0) -> None:
    for tensor in tensors:
        writer.write(tensor.name, 0, content(tensor, seed))
        writer.finish(tensor.name)


def assert_holds(folder, tensors=TENSORS, seed: int = 0) -> None:
    """The folder is a whole checkpoint of these tensors, for us and for the safetensors package."""
    with Checkpoint.open(folder) as checkpoint:
        assert checkpoint.tensors == {tensor.name: tensor for tensor in tensors}
        for tensor in tensors:
            assert checkpoint.raw(tensor.name).tobytes() == content(tensor, seed).tobytes()
    read = {}
    for file in folder.glob("*.safetensors"):
        read |= load_file(file)
    assert read.keys() == {tensor.name for tensor in tensors}
    for tensor in tensors:
        assert tuple(read[tensor.name].shape) == tensor.shape
        flat = read[tensor.name].reshape(-1).view(torch.uint8).numpy()
        assert flat.tobytes() == content(tensor, seed).tobytes()
    assert not (folder / PART).exists()


@pytest.fixture
def folder(tmp_path):
    """A folder whose name is no plain ASCII, with a config."""
    path = tmp_path / "合并 🌱"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def test_one_file(folder):
    with CheckpointWriter(folder, TENSORS) as writer:
        write_all(writer)
    assert_holds(folder)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]


def test_several_files_and_their_index(folder):
    # Bytes: 1600, 84, 8, 0, 5, 24, 9. Up to 100 each: the first alone, 84 + 8 + 0 + 5, 24 + 9.
    with CheckpointWriter(folder, TENSORS, max_shard_bytes=100) as writer:
        write_all(writer)
    assert_holds(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    # 800 + 21 + 1 + 0 + 5 + 3 + 9 numbers
    assert index["metadata"] == {"total_parameters": 839, "total_size": 1730}
    where = [index["weight_map"][tensor.name] for tensor in TENSORS]
    assert where == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 2, 2, 2, 3, 3)]


def test_eight_threads_write_parts(folder):
    tensor = TensorInfo("w", "BF16", (1000, 97))
    raw = content(tensor)
    starts = np.random.default_rng(0).permutation(np.arange(0, raw.size, 61)).tolist()
    with CheckpointWriter(folder, [tensor, *TENSORS]) as writer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: writer.write("w", start, raw[start : start + 61]), starts))
        writer.finish("w")
        write_all(writer)
    assert_holds(folder, (tensor, *TENSORS))


def test_an_interrupted_run_is_gone_on_with(folder):
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(folder, TENSORS) as writer:
        write_all(writer, TENSORS[:3])
        writer.write(TENSORS[5].name, 0, content(TENSORS[5])[:2])
        raise KeyboardInterrupt
    assert not (folder / "model.safetensors").exists()
    with CheckpointWriter(folder, TENSORS) as writer:
        assert writer.done == {tensor.name for tensor in TENSORS[:3]}
        write_all(writer, TENSORS[3:])
    assert_holds(folder)
