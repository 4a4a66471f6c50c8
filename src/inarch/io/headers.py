"""The header of a safetensors file: read with suspicion, and written.

A file is 8 bytes with the length of the header, the header as JSON, and the numbers of all
tensors one after the other. What is read here may come from anywhere: everything is checked
before a byte of a tensor is touched.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from inarch.errors import WeightsError
from inarch.io.dtypes import item_size

MAX_HEADER_BYTES = 100_000_000
"""What the safetensors package accepts."""

_ALIGN = 8
_METADATA = "__metadata__"


class TensorInfo(NamedTuple):
    """A tensor without its numbers."""

    name: str
    dtype: str
    """In the spelling of safetensors: ``"BF16"``."""
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Return how many numbers it holds: 1 for a scalar, 0 where a side is empty."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Return the size of its numbers in the file."""
        return self.num_elements * item_size(self.dtype)


class Header(NamedTuple):
    """What a safetensors file says about itself."""

    tensors: tuple[TensorInfo, ...]
    """In the order of their numbers in the file."""
    starts: tuple[int, ...]
    """Byte of the file at which the numbers of each tensor begin."""
    num_bytes: int
    """Size of the whole file."""
    metadata: Mapping[str, Any]
    """Free text of whoever wrote the file."""
    raw: bytes
    """The beginning of the file, up to the first number."""


def make_header(tensors: Sequence[TensorInfo], metadata: Mapping[str, str]) -> Header:
    """Return the header of a file with these tensors.

    Larger formats come first, so that every number lies at a multiple of its size.

    Raises:
        WeightsError: Two tensors share a name, a name is reserved, or there are too many.
    """
    ordered = sorted(tensors, key=lambda tensor: -item_size(tensor.dtype))
    content: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    offsets, end = [], 0
    for tensor in ordered:
        if tensor.name in content or tensor.name == _METADATA:
            raise WeightsError(f"cannot write two tensors, or metadata, under {tensor.name!r}")
        offsets.append(end)
        end += tensor.num_bytes
        content[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offsets[-1], end],
        }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGN)
    if len(text) > MAX_HEADER_BYTES:
        raise WeightsError(
            f"the names of {len(ordered)} tensors take {len(text)} bytes, and a safetensors file "
            f"has room for {MAX_HEADER_BYTES}; expected fewer tensors per file: write smaller ones"
        )
    raw = len(text).to_bytes(8, "little") + text
    starts = tuple(len(raw) + offset for offset in offsets)
    return Header(tuple(ordered), starts, len(raw) + end, metadata, raw)


def read_header(path: Path) -> Header:
    """Return the header of a file, which holds exactly what it says.

    Raises:
        WeightsError: The file cannot be read, is no safetensors, is cut off, or its header speaks
            of formats, shapes or places that do not fit.
    """
    try:
        with path.open("rb") as file:
            raw, num_bytes = _read_raw(path, file)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    try:
        content = json.loads(raw[8:], object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _broken(path, f"its header is a {type(content).__name__}, expected an object")
    metadata = content.pop(_METADATA, {})
    placed = sorted(
        (_read_entry(path, name, entry) for name, entry in content.items()),
        key=lambda item: item[1:],
    )
    _check_places(path, placed, num_bytes - len(raw))
    return Header(
        tuple(tensor for tensor, _, _ in placed),
        tuple(len(raw) + start for _, start, _ in placed),
        num_bytes,
        metadata if isinstance(metadata, dict) else {},
        raw,
    )


def _read_raw(path: Path, file: BinaryIO) -> tuple[bytes, int]:
    """Return the beginning of a file up to the first number, and the size of the file."""
    num_bytes = file.seek(0, 2)
    file.seek(0)
    first = file.read(8)
    if first == b"version ":
        raise WeightsError(
            f"{path} is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder"
        )
    length = int.from_bytes(first, "little")
    if num_bytes >= 8 and length > MAX_HEADER_BYTES:
        raise _broken(path, f"its header would be {length} bytes long, {MAX_HEADER_BYTES} at most")
    if num_bytes < 8 + length:
        raise _broken(path, f"it ends after {num_bytes} bytes, within its header")
    return first + file.read(length), num_bytes


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, which must not have a key twice, nor one that has no UTF-8."""
    content = dict(pairs)
    "".join(content).encode()
    if len(content) < len(pairs):
        twin = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twin!r} is there twice")
    return content


def _read_entry(path: Path, name: str, entry: Any) -> tuple[TensorInfo, int, int]:
    """Return a tensor and where its numbers begin and end, counted from the first number."""
    if not isinstance(entry, dict):
        raise _broken(path, f"its header has no description of {name!r}")
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise _broken(path, f"{name!r} has the shape {shape!r} and the place {offsets!r}")
    try:
        tensor = TensorInfo(name, dtype, tuple(shape))
        expected = tensor.num_bytes
    except (WeightsError, TypeError):
        raise WeightsError(
            f"{path}: {name!r} is stored as {dtype!r}, a format that inarch does not know; "
            "expected BF16, F16, F32 or their kin; load the model and save it in one of these"
        ) from None
    start, end = offsets
    if end - start != expected:
        raise _broken(
            path,
            f"{name!r} has {end - start} bytes, and {list(shape)} in {dtype} takes {expected}",
        )
    return tensor, start, end


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_places(path: Path, placed: list[tuple[TensorInfo, int, int]], num_bytes: int) -> None:
    """Check that tensors lie one after the other, and fill the file."""
    reached = 0
    for tensor, start, end in placed:
        if start != reached:
            what = "overlaps the one before it" if start < reached else "leaves a hole before it"
            raise _broken(path, f"{tensor.name!r} {what}, at byte {start} instead of {reached}")
        reached = end
    if reached > num_bytes:
        raise _broken(
            path, f"it is cut off: its tensors take {reached} bytes, {num_bytes} are there"
        )
    if reached < num_bytes:
        raise _broken(
            path, f"its tensors take {reached} bytes, and {num_bytes - reached} more follow them"
        )


def _broken(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} is no whole safetensors file: {what}; fetch or write this file again"
    )
