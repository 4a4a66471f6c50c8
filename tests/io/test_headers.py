"""The header of a safetensors file: what is broken is refused, by name, before it is used."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from inarch.errors import WeightsError
from inarch.io.headers import TensorInfo, make_header, read_header

A = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}


def file_of(header: Any, num_bytes: int = 32) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(num_bytes)


def test_a_file_of_the_safetensors_package(tmp_path):
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "层 🌱": np.arange(3, dtype=np.int64),
        "scalar": np.array(7.0, np.float16),
        "empty": np.zeros((2, 0), np.float64),
    }
    save_file(arrays, tmp_path / "a.safetensors", {"x": "y"})
    header = read_header(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    assert header.metadata == {"x": "y"}
    assert header.num_bytes == len(content)
    assert {tensor.name: tensor.shape for tensor in header.tensors} == {
        name: array.shape for name, array in arrays.items()
    }
    for tensor, start in zip(header.tensors, header.starts, strict=True):
        assert content[start : start + tensor.num_bytes] == arrays[tensor.name].tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it ends after 0 bytes, within its header"),
        (b"\x01\0\0", "it ends after 3 bytes, within its header"),
        (file_of({"a": A, "b": B})[:50], "it ends after 50 bytes, within its header"),
        (b"<!DOCTYPE html><html>", r"its header would be \d{19} bytes long, 100000000 at most"),
        (struct.pack("<Q", 100_000_001) + b"{}", "100000001 bytes long"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS.*`git lfs pull`"),
        (file_of(b"nonsense", 0), "its header is no JSON"),
        (file_of(b"\xff\xfe{}", 0), "its header is no JSON"),
        (file_of(b"[" * 100_000, 0), "its header is no JSON"),
        (file_of(b'{"\\ud800": 1}', 0), "its header is no JSON"),
        (file_of([1], 0), "its header is a list, expected an object"),
        (file_of(b'{"a": {}, "a": {}}', 0), "'a' is there twice"),
        (file_of({"a": 3}), "no description of 'a'"),
        (file_of({"a": A, "b": B}, 31), "cut off: its tensors take 32 bytes, 31 are there"),
        (file_of({"a": A, "b": B}, 40), "take 32 bytes, and 8 more follow"),
        (
            file_of({"a": A, "b": B | {"data_offsets": [20, 28]}}),
            "'b' overlaps .* 20 instead of 24",
        ),
        (
            file_of({"a": A, "b": B | {"data_offsets": [28, 36]}}, 36),
            "'b' leaves a hole .* 28 inst",
        ),
        (file_of({"a": A | {"data_offsets": [8, 32]}}), "'a' leaves a hole .* 8 instead of 0"),
        (file_of({"a": A, "b": B | {"data_offsets": [0, 8]}}, 24), "overlaps the one before it"),
        (file_of({"a": A | {"shape": [2, 4]}}, 24), r"'a' has 24 bytes, and \[2, 4\] .* takes 32"),
        (file_of({"a": A | {"data_offsets": [24, 0]}}, 24), "'a' has -24 bytes"),
        (file_of({"a": A | {"data_offsets": [-24, 0]}}, 24), r"the place \[-24, 0\]"),
        (file_of({"a": A | {"data_offsets": [0, 24.0]}}, 24), r"the place \[0, 24.0\]"),
        (file_of({"a": A | {"data_offsets": [0]}}, 24), r"the place \[0\]"),
        (file_of({"a": A | {"data_offsets": "ab"}}, 24), "the place 'ab'"),
        (file_of({"a": A | {"shape": [-2, -3]}}, 24), r"the shape \[-2, -3\]"),
        (file_of({"a": A | {"shape": [True, 6]}}, 24), r"the shape \[True, 6\]"),
        (file_of({"a": A | {"shape": None}}, 24), "the shape None"),
        (file_of({"a": A | {"shape": [1 << 62, 1 << 62]}}, 24), "'a' has 24 bytes, and"),
        (file_of({"a": A | {"dtype": "F4"}}, 24), "'a' is stored as 'F4', a format that inarch"),
        (file_of({"a": A | {"dtype": ["F32"]}}, 24), r"stored as \['F32'\]"),
        (file_of({"a": {"shape": [6], "data_offsets": [0, 24]}}, 24), "stored as None"),
    ],
)
def test_what_is_broken_is_refused(tmp_path, content, message):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    if "'F4'" not in message:  # which it knows, unlike inarch
        with pytest.raises((SafetensorError, ValueError)):
            safe_open(path, "np")


def test_what_is_odd_but_whole_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of({"__metadata__": {"k": "v"}, "b": B, "a": A}))
    assert [tensor.name for tensor in read_header(path).tensors] == ["a", "b"]
    path.write_bytes(file_of({}, 0))
    assert read_header(path).tensors == ()
    path.write_bytes(file_of({"__metadata__": None}, 0))
    assert read_header(path).metadata == {}


@pytest.mark.parametrize("name", ["absent.safetensors", "."])
def test_what_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(WeightsError, match=r"cannot read .*: (No such file|Is a directory)"):
        read_header(tmp_path / name)


damage: list[Callable[[bytes, int], bytes]] = [
    lambda content, at: content[:at],
    lambda content, at: content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :],
    lambda content, at: content[:at] + content[at + 1 :],
    lambda content, at: content[:at] + b"9" + content[at:],
]


@given(st.sampled_from(damage), st.integers(0, 1 << 20))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory, harm, at):
    content = file_of({"__metadata__": {"format": "pt"}, "a": A, "b": B})
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(harm(content, at % len(content)))
    try:
        header = read_header(path)
    except WeightsError:
        return
    end = max(start + t.num_bytes for start, t in zip(header.starts, header.tensors, strict=True))
    assert end == header.num_bytes == path.stat().st_size


sizes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
infos = st.lists(
    st.tuples(st.text(min_size=1), st.sampled_from(["BF16", "F64", "U8", "F32", "BOOL"]), sizes),
    unique_by=lambda item: item[0],
)


@given(infos)
def test_what_is_written_is_read(tmp_path_factory, drawn):
    tensors = [TensorInfo(*item) for item in drawn if item[0] != "__metadata__"]
    header = make_header(tensors, {"format": "pt"})
    path = tmp_path_factory.getbasetemp() / "made.safetensors"
    path.write_bytes(header.raw + bytes(header.num_bytes - len(header.raw)))
    read = read_header(path)
    assert read.raw == header.raw
    assert len(header.raw) % 8 == 0
    assert read._replace(tensors=()) == header._replace(tensors=())
    assert set(read.tensors) == set(tensors)
    for tensor, start in zip(header.tensors, header.starts, strict=True):
        assert tensor.num_elements == 0 or start % (tensor.num_bytes // tensor.num_elements) == 0
    with safe_open(path, "np") as file:
        assert set(file.keys()) == {tensor.name for tensor in tensors}


def test_names_that_clash_are_refused():
    a = TensorInfo("a", "F32", ())
    with pytest.raises(WeightsError, match="under 'a'"):
        make_header([a, a], {})
    with pytest.raises(WeightsError, match="under '__metadata__'"):
        make_header([TensorInfo("__metadata__", "F32", ())], {})


def test_a_header_that_nobody_could_read_is_refused():
    long = [TensorInfo("x" * 10_000_000 + str(i), "F32", ()) for i in range(10)]
    with pytest.raises(WeightsError, match="room for 100000000"):
        make_header(long, {})
