"""Checkpoints as they lie on disk: safetensors files, mapped into memory and never copied."""

import json
import mmap
import os
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from inarch.io.dtypes import Raw, item_size, storage
from inarch.io.folders import CONFIG, find_weights, read_config, read_json, refuse_codes
from inarch.io.headers import Header, TensorInfo, read_header
from inarch.io.hub import find_folder

_SAMPLE_BYTES = 4096
_EMBEDDING = re.compile(
    r"(?P<outside>([^.]+\.)*?)((model|transformer)\.(.*\.)?)?(embed_tokens|wte|word_embeddings)\.weight"
)
"""The embedding of a causal LM, which its head may share; `outside` is before both names."""
_HEAD = "lm_head.weight"


class Checkpoint:
    """A folder of weights, or one file: what it holds, and views of its numbers.

    May be read from several threads at once.
    """

    def __init__(
        self, path: Path, label: str, config: Mapping[str, Any], files: Mapping[Path, Header]
    ) -> None:
        """Map the files; use `open` instead."""
        self.path = path
        """The folder, or the file."""
        self.label = label
        """What the user calls it; errors name it."""
        self.config = config
        """What ``config.json`` says; empty beside a single file without one."""
        self._files = files
        self._maps = {file: _map(file) for file in files}
        self._opened = {file: os.open(file, os.O_RDONLY) for file in files}
        self._places = {
            tensor.name: (tensor, file, start)
            for file, header in files.items()
            for tensor, start in zip(header.tensors, header.starts, strict=True)
        }
        self.tensors: Mapping[str, TensorInfo] = {
            name: tensor for name, (tensor, _, _) in self._places.items()
        }
        """All tensors by name, in the order of the files."""
        self.aliases: Mapping[str, str] = _find_aliases(config, self.tensors, files.values())
        """Tied tensors that are not stored, and the tensor that stands for each."""

    @classmethod
    def open(cls, path: str | Path, label: str | None = None) -> Self:
        """Return the checkpoint of a folder, a safetensors file, or an id on the hub.

        Args:
            path: An id may end in ``@revision``; it is fetched unless it is there.
            label: What errors call it; by default, the path.

        Raises:
            WeightsError: It is not there, is broken, holds no safetensors, or is quantised.
        """
        found = find_folder(path)
        label = str(path) if label is None else label
        if found.is_file():
            beside = found.parent / CONFIG
            config = read_json(beside) if beside.is_file() else {}
            files = {found: read_header(found)}
        else:
            config = read_config(found)
            refuse_codes(label, config, ())
            files = find_weights(found)
        refuse_codes(label, config, (each for file in files.values() for each in file.tensors))
        return cls(found, label, config, files)

    def raw(self, name: str) -> Raw:
        """Return a tensor's numbers as stored, ``[N]``, read-only: a view of the file."""
        tensor, file, start = self._places[name]
        return np.frombuffer(self._maps[file], storage(tensor.dtype), tensor.num_elements, start)

    def will_need(self, name: str, start: int = 0, end: int | None = None) -> None:
        """Ask for a tensor's numbers ``[start, end)`` to be read from disk meanwhile.

        Nothing is asked where they seem to be in memory: the system would look at every page.
        """
        tensor, file, place = self._places[name]
        size = item_size(tensor.dtype)
        last = place + size * (tensor.num_elements if end is None else end) - 1
        if not _is_cached(self._opened[file], place + size * start, last):
            self._advise("MADV_WILLNEED", name, start, end)

    def forget(self, name: str, start: int = 0, end: int | None = None) -> None:
        """Give the memory of a tensor's numbers ``[start, end)`` back; they may be read again."""
        self._advise("MADV_DONTNEED", name, start, end)

    def _advise(self, advice: str, name: str, start: int, end: int | None) -> None:
        tensor, file, place = self._places[name]
        size = item_size(tensor.dtype)
        last = place + size * (tensor.num_elements if end is None else end)
        first = (place + size * start) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and hasattr(mmap, advice):
            self._maps[file].madvise(getattr(mmap, advice), first, last - first)

    def fingerprint(self) -> str:
        """Return a digest of the config, all headers and samples of every tensor, 32 hex digits.

        Cheap, as only 12 KB of each tensor are read: it tells checkpoints apart, and does not
        guard against one that was made to look like another.
        """
        total = blake2b(json.dumps(self.config, sort_keys=True).encode(), digest_size=16)
        for file in sorted(self._files):
            header = self._files[file]
            total.update(f"{file.name}\0{header.num_bytes}\0".encode() + header.raw)
            for tensor in header.tensors:
                raw = self.raw(tensor.name).view(np.uint8)
                middle = max(raw.size - _SAMPLE_BYTES, 0) // 2
                for sample in (
                    raw[:_SAMPLE_BYTES],
                    raw[middle : middle + _SAMPLE_BYTES],
                    raw[-_SAMPLE_BYTES:],
                ):
                    total.update(sample.data)
                self.forget(tensor.name)
        return total.hexdigest()

    def close(self) -> None:
        """Unmap the files, or let go of them where views are still about."""
        for mapped in self._maps.values():
            try:
                mapped.close()
            except BufferError:  # goes with the last view
                continue
        for opened in self._opened.values():
            os.close(opened)
        self._maps, self._opened = {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_cached(opened: int, first: int, last: int) -> bool:
    """Return whether the first, middle and last byte of a stretch can be read without waiting."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        places = (first, (first + last) // 2, last)
        return all(os.preadv(opened, [bytearray(1)], at, os.RWF_NOWAIT) == 1 for at in places)
    except OSError:
        return False


def _map(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _find_aliases(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], headers: Iterable[Header]
) -> dict[str, str]:
    """Return tied tensors that are not stored: as the files say, and the head of a causal LM.

    A head that is neither stored nor said to be untied is tied: otherwise no model could be had.
    """
    aliases = {
        name: kept
        for header in headers
        for name, kept in header.metadata.items()
        if isinstance(kept, str) and kept in tensors and name not in tensors
    }
    inner = config.get("text_config")
    tied = (inner if isinstance(inner, dict) else {}) | dict(config)
    kinds = str(config.get("architectures"))
    has_head = any(kind in kinds for kind in ("CausalLM", "LMHead", "ConditionalGeneration"))
    embeddings = [found for name in tensors if (found := _EMBEDDING.fullmatch(name))]
    if has_head and tied.get("tie_word_embeddings", True) and len(embeddings) == 1:
        head = embeddings[0]["outside"] + _HEAD
        if not any(name.endswith(_HEAD) for name in tensors):
            aliases.setdefault(head, embeddings[0].string)
    return aliases
