"""Checkpoints written piece by piece: every number in its place, whole or absent, gone on with."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import byte_level, save_model
from transformers import AutoModelForCausalLM

from inarch.errors import DataError, WeightsError
from inarch.io import shards
from inarch.io.dtypes import storage
from inarch.io.headers import TensorInfo, read_header
from inarch.io.shards import PART, CheckpointWriter
from inarch.io.sidecar import copy_side_files
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
    assert read_header(folder / "model.safetensors").metadata == {"format": "pt"}


def test_several_files_and_their_index(folder):
    # Bytes: 1600, 84, 8, 0, 5, 24, 9. Up to 97 each: the first alone, 84 + 8 + 0 + 5, 24 + 9.
    with CheckpointWriter(folder, TENSORS, max_shard_bytes=97) as writer:
        write_all(writer)
    assert_holds(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    # 800 + 21 + 1 + 0 + 5 + 3 + 9 numbers
    assert index["metadata"] == {"total_parameters": 839, "total_size": 1730}
    assert list(index["weight_map"]) == sorted(tensor.name for tensor in TENSORS)
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


def test_a_system_that_writes_less_than_it_is_given(folder, monkeypatch):
    pwrite = os.pwrite
    with CheckpointWriter(folder, TENSORS) as writer:
        monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:7], at))
        write_all(writer)
    assert_holds(folder)


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


def test_a_killed_process_is_gone_on_with(folder):
    child = os.fork()
    if child == 0:
        try:
            writer = CheckpointWriter(folder, TENSORS, max_shard_bytes=100)
            write_all(writer, TENSORS[:2])
            writer.write("ids", 0, content(TENSORS[5]))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert os.listdir(folder / PART)
    with CheckpointWriter(folder, TENSORS, max_shard_bytes=100) as writer:
        assert writer.done == {TENSORS[0].name, TENSORS[1].name}
        write_all(writer, TENSORS[2:])
    assert_holds(folder)


def interrupt(folder, **how) -> None:
    """Write two tensors, then stop."""
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(folder, TENSORS, **how) as writer:
        write_all(writer, TENSORS[:2], seed=1)
        raise KeyboardInterrupt


def cut_journal(folder, monkeypatch) -> None:
    journal = folder / PART / "journal"
    journal.write_bytes(journal.read_bytes()[:-3])


def lose_power(folder, monkeypatch) -> None:
    (folder / "boot").write_text("another")
    monkeypatch.setattr(shards, "_BOOT", folder / "boot")


def cut_file(folder, monkeypatch) -> None:
    os.truncate(folder / PART / "model.safetensors", 100)


def lose_file(folder, monkeypatch) -> None:
    (folder / PART / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("harm", "num_done"),
    [(cut_journal, 1), (lose_power, 0), (cut_file, 0), (lose_file, 0)],
)
def test_what_may_not_be_whole_is_written_anew(folder, monkeypatch, harm, num_done):
    interrupt(folder)
    harm(folder, monkeypatch)
    with CheckpointWriter(folder, TENSORS) as writer:
        assert len(writer.done) == num_done
        write_all(writer, TENSORS[num_done:])
    monkeypatch.undo()
    with Checkpoint.open(folder) as checkpoint:
        for tensor in TENSORS[num_done:]:
            assert checkpoint.raw(tensor.name).tobytes() == content(tensor).tobytes()


def test_nothing_is_trusted_where_a_loss_of_power_cannot_be_told(folder, monkeypatch):
    monkeypatch.setattr(shards, "_BOOT", folder / "absent")
    interrupt(folder)
    writer = CheckpointWriter(folder, TENSORS)
    assert writer.done == frozenset()
    writer.abandon()


def test_a_new_beginning_leaves_nothing_of_the_old_one(folder):
    interrupt(folder)
    interrupt(folder, max_shard_bytes=100, key="other")
    expected = {f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)} | {"journal"}
    assert set(os.listdir(folder / PART)) == expected
    writer = CheckpointWriter(folder, TENSORS, max_shard_bytes=100, key="other")
    assert len(writer.done) == 2
    writer.abandon()


def test_a_cut_journal_goes_on_in_good_order(folder, monkeypatch):
    interrupt(folder)
    cut_journal(folder, monkeypatch)
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(folder, TENSORS) as writer:
        write_all(writer, TENSORS[1:4])
        raise KeyboardInterrupt
    writer = CheckpointWriter(folder, TENSORS)
    assert writer.done == {tensor.name for tensor in TENSORS[:4]}
    writer.abandon()


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "other weights"},
        {"metadata": {"format": "pt", "x": "y"}},
        {"max_shard_bytes": 100},
        {"tensors": TENSORS[::-1]},
        {"tensors": (*TENSORS[:-1], TensorInfo("small", "F8_E5M2", (9,)))},
        {"tensors": (*TENSORS[:-1], TensorInfo("small", "F8_E4M3", (3, 3)))},
    ],
)
def test_a_run_of_something_else_starts_anew(folder, changed):
    interrupt(folder)
    with CheckpointWriter(folder, **{"tensors": TENSORS, **changed}) as writer:
        assert writer.done == frozenset()
        write_all(writer, changed.get("tensors", TENSORS))
    assert_holds(folder, changed.get("tensors", TENSORS))


@pytest.mark.parametrize("moves", range(4))
@pytest.mark.parametrize("older", [None, 100, 200, 5000])
def test_a_kill_while_files_move_leaves_no_mixture(folder, monkeypatch, older, moves):
    """`moves` files are in place when the kill comes; the fourth move is that of the index."""
    if older:
        with CheckpointWriter(folder, TENSORS, max_shard_bytes=older) as writer:
            write_all(writer, seed=1)
    replace, moved = Path.replace, []

    def limited(path: Path, target: Path) -> Path:
        if len(moved) == moves:
            raise KeyboardInterrupt
        moved.append(path)
        return replace(path, target)

    with pytest.raises(KeyboardInterrupt):
        with CheckpointWriter(folder, TENSORS, max_shard_bytes=100) as writer:
            write_all(writer)
            monkeypatch.setattr(Path, "replace", limited)
    monkeypatch.undo()
    with pytest.raises(
        WeightsError, match=r"holds (no weights|.* and no model\.safetensors\.index)"
    ):
        Checkpoint.open(folder)
    with CheckpointWriter(folder, TENSORS, max_shard_bytes=100) as writer:
        assert len(writer.done) == len(TENSORS)
    assert_holds(folder)


@pytest.mark.parametrize("sizes", [(100, 5000), (5000, 100), (100, 200), (200, 100), (100, 100)])
def test_an_older_checkpoint_is_replaced(folder, sizes):
    (folder / "tokenizer.json").write_text("kept")
    for seed, size in enumerate(sizes):
        with CheckpointWriter(folder, TENSORS, max_shard_bytes=size) as writer:
            assert not writer.done
            write_all(writer, seed=seed)
        assert_holds(folder, seed=seed)
    named = {"tokenizer.json", "config.json"} | set(os.listdir(folder))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        assert set(json.loads(index.read_text())["weight_map"].values()) | {index.name} <= named
    else:
        assert named == {"tokenizer.json", "config.json", "model.safetensors"}


def test_a_killed_run_leaves_the_older_checkpoint(folder):
    with CheckpointWriter(folder, TENSORS) as writer:
        write_all(writer)
    interrupt(folder)
    with Checkpoint.open(folder) as checkpoint:
        assert checkpoint.raw("ids").tobytes() == content(TENSORS[5]).tobytes()


def test_transformers_loads_what_was_written(tmp_path):
    source = save_model(tmp_path / "source", byte_level())
    with Checkpoint.open(source) as checkpoint:
        tensors = list(checkpoint.tensors.values())
        with CheckpointWriter(tmp_path / "out", tensors, max_shard_bytes=10_000) as writer:
            for tensor in tensors:
                writer.write(tensor.name, 0, checkpoint.raw(tensor.name))
                writer.finish(tensor.name)
    copy_side_files(source, tmp_path / "out")
    expected = AutoModelForCausalLM.from_pretrained(source).state_dict()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())
    saved = tmp_path / "saved"
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(saved, max_shard_size=10_000)
    index = "model.safetensors.index.json"
    assert (tmp_path / "out" / index).read_bytes() == (saved / index).read_bytes()


# ------------------------------------------------------------------------------------- bad places


def test_a_disk_that_is_too_small_is_found_at_the_beginning(folder):
    code = """if True:
        import resource, sys
        from inarch.errors import DataError
        from inarch.io.headers import TensorInfo, read_header
        from inarch.io.shards import CheckpointWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            CheckpointWriter(sys.argv[1], [TensorInfo("w", "F32", (1 << 14,))])
        except DataError as error:
            print(error)
    """
    ended = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert f"disk full while writing {folder}" in ended.stdout, ended.stderr
    assert os.listdir(folder) == ["config.json"]


def fail(number: int):
    def failing(*_):
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize("call", ["write", "finish"])
def test_a_disk_that_fills_up_meanwhile_loses_nothing(folder, monkeypatch, call):
    with pytest.raises(DataError, match=r"disk full while writing .*it goes on where it stopped"):
        with CheckpointWriter(folder, TENSORS) as writer:
            write_all(writer, TENSORS[:2])
            if call == "write":
                monkeypatch.setattr(os, "pwrite", fail(errno.ENOSPC))
            else:
                monkeypatch.setattr(writer, "_journal", FullJournal(writer._journal))
            write_all(writer, TENSORS[2:])
    monkeypatch.undo()
    assert not (folder / "model.safetensors").exists()
    with CheckpointWriter(folder, TENSORS) as writer:
        assert len(writer.done) == 2
        write_all(writer, TENSORS[2:])
    assert_holds(folder)


class FullJournal:
    """A journal on a disk without room."""

    def __init__(self, journal) -> None:
        self.close = journal.close
        self.write = fail(errno.ENOSPC)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, None])
def test_a_file_system_that_promises_no_room(folder, monkeypatch, number):
    if number:
        monkeypatch.setattr(os, "posix_fallocate", fail(number))
    else:
        monkeypatch.delattr(os, "posix_fallocate")
    with CheckpointWriter(folder, TENSORS) as writer:
        write_all(writer)
    assert_holds(folder)
    (folder / "model.safetensors").unlink()
    more = 2 * shutil.disk_usage(folder).free
    with pytest.raises(DataError, match="disk full"):
        CheckpointWriter(folder, [TensorInfo("w", "U8", (more,))])
    assert os.listdir(folder) == ["config.json"]


def test_another_error_stays_what_it_is(folder, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        CheckpointWriter(folder, TENSORS)


@pytest.mark.parametrize("path", ["config.json", "config.json/out"])
def test_a_file_in_the_way(folder, path):
    with pytest.raises(DataError, match=r"cannot make the folder .*give --out another place"):
        CheckpointWriter(folder / path, TENSORS)


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_cannot_be_written(folder, monkeypatch, call):
    if call == "open":
        (folder / PART).mkdir()
    monkeypatch.setattr(Path, call, lambda *_, **__: fail(errno.EROFS)())
    with pytest.raises(DataError, match=r"cannot (make|write).*Read-only.*another place"):
        CheckpointWriter(folder, TENSORS)


def test_two_runs_into_one_folder(folder):
    with CheckpointWriter(folder, TENSORS) as writer:
        code = f"from inarch.io.shards import *; CheckpointWriter({str(folder)!r}, [])"
        code = code.replace("[]", "[TensorInfo('w', 'F32', ())]")
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process writes a checkpoint into" in ended.stderr
        write_all(writer)
    assert_holds(folder)


def test_what_does_not_fit_is_a_bug(folder):
    with CheckpointWriter(folder, TENSORS) as writer:
        for name, start, raw in (
            ("mask", 1, np.zeros(5, np.bool_)),
            ("mask", -1, np.zeros(5, np.bool_)),
            ("ids", 0, np.zeros(3, np.int32)),
        ):
            with pytest.raises(ValueError, match=f"do not fit.*{name}"):
                writer.write(name, start, raw)
        writer.write("ids", 0, np.zeros(2, np.int64))
        with pytest.raises(ValueError, match="ids: 16 bytes are written, not 24"):
            writer.finish("ids")
        with pytest.raises(ValueError, match="7 tensors are not finished, such as empty"):
            writer.close()
        writer.abandon()
    assert not (folder / "model.safetensors").exists()


def test_no_tensors_and_twins_are_refused(folder):
    with pytest.raises(WeightsError, match="no tensors"):
        CheckpointWriter(folder, [])
    with pytest.raises(WeightsError, match="two tensors under 'ids'"):
        CheckpointWriter(folder, [*TENSORS, TENSORS[5]], max_shard_bytes=1)
    assert os.listdir(folder) == ["config.json"]
