"""Checkpoints as they lie on disk: safetensors files, mapped into memory and never copied."""

import json
import mmap
import re
import shlex
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from inarch.errors import WeightsError
from inarch.io.dtypes import Raw, item_size, storage
from inarch.io.headers import Header, TensorInfo, read_header
from inarch.io.hub import find_folder

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_SAMPLE = 4096
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_QUANTISED = re.compile(
    r"\.(weight_scale(_inv)?|weight_packed|input_scale|qweight|qzeros|g_idx|SCB"
    r"|weight\.(absmax|quant_map|nested_absmax|quant_state\..*))$"
)
"""Names beside numbers that mean nothing without them: fp8, GPTQ, AWQ, bitsandbytes, and others."""
_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
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
            files = {found: read_header(found)}
            beside = found.parent / "config.json"
            config = read_json(beside) if beside.is_file() else {}
        else:
            config = _read_config(found)
            files = _read_shards(found, label)
        _refuse_quantised(label, config, files)
        return cls(found, label, config, files)

    def raw(self, name: str) -> Raw:
        """Return a tensor's numbers as stored, ``[N]``, read-only: a view of the file."""
        tensor, file, start = self._places[name]
        if tensor.num_elements == 0:
            return np.empty(0, storage(tensor.dtype))
        return np.frombuffer(self._maps[file], storage(tensor.dtype), tensor.num_elements, start)

    def will_need(self, name: str, start: int = 0, end: int | None = None) -> None:
        """Ask for a tensor's numbers ``[start, end)`` to be read from disk meanwhile."""
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
                middle = max(raw.size - _SAMPLE, 0) // 2
                for sample in (raw[:_SAMPLE], raw[middle : middle + _SAMPLE], raw[-_SAMPLE:]):
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
        self._maps = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        WeightsError: The file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON ({error}); fetch or write this file again") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def _map(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _read_config(folder: Path) -> dict[str, Any]:
    if (folder / "config.json").is_file():
        return read_json(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder} is an adapter, not a model; expected a folder with config.json. Write it "
            "behind its model: model+adapter"
        )
    raise WeightsError(f"{folder} has no config.json; expected the folder of a saved model")


def _read_shards(folder: Path, label: str) -> dict[Path, Header]:
    """Return the files of a folder that hold its weights, with their headers."""
    single = folder / SINGLE
    if single.is_file():
        return {single: read_header(single)}
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX if folder / INDEX in indexes else (indexes[0] if indexes else None)
    if index is not None:
        return _read_indexed(index)
    if len(files) == 1:
        return {files[0]: read_header(files[0])}
    if files:
        raise WeightsError(
            f"{folder} holds {len(files)} safetensors files and no index; expected {SINGLE}, or "
            f"{INDEX} that says which belong to the model; fetch it"
        )
    raise _without_weights(folder, label)


def _read_indexed(index: Path) -> dict[Path, Header]:
    """Return the files that an index names, which hold what it says."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{index} has no weight_map; fetch or write this file again")
    for name, entry in weight_map.items():
        # A symbolic link is fine, the hub's cache is made of them; a path is not.
        if not isinstance(entry, str) or entry != Path(entry).name or entry in ("", ".", ".."):
            raise WeightsError(
                f"{index} places {name!r} in {entry!r}; expected the name of a file beside it, as "
                "an index may not lead out of its folder; do not use this checkpoint"
            )
    files = {}
    where: dict[str, str] = {}
    for entry in sorted(set(weight_map.values())):
        path = index.parent / entry
        if not path.is_file():
            raise WeightsError(f"{index} names {entry}, which is not there; fetch it as well")
        files[path] = read_header(path)
        for tensor in files[path].tensors:
            if tensor.name in where:
                raise WeightsError(
                    f"{index.parent}: both {where[tensor.name]} and {entry} hold {tensor.name!r}; "
                    "expected each tensor once; write the checkpoint again"
                )
            where[tensor.name] = entry
    for name, entry in weight_map.items():
        if where.get(name) != entry:
            found = f"{where[name]} does" if name in where else "no file does"
            raise WeightsError(
                f"{index} says that {entry} holds {name!r}, but {found}; fetch the index and "
                "the files again, from one place"
            )
    return files


def _without_weights(folder: Path, label: str) -> WeightsError:
    """Return the error for a folder without safetensors: how to make them, if there is a way."""
    if not any(file for pattern in _PICKLES for file in folder.glob(pattern)):
        return WeightsError(
            f"{label} holds no weights; expected {SINGLE}, or {INDEX} and its files"
        )
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M; "
        "M.from_pretrained(sys.argv[1], dtype='auto').save_pretrained(sys.argv[2])"
    )
    new = folder.with_name(f"{folder.name}-safetensors")
    command = shlex.join(["python", "-c", code, str(folder), str(new)])
    return WeightsError(
        f"{label} holds its weights as pickles (.bin, .pt), which can run code when read; expected "
        f".safetensors. If you trust it, convert it once with\n{command}\nand copy its tokenizer "
        f"files to {new}"
    )


def _refuse_quantised(label: str, config: Mapping[str, Any], files: Mapping[Path, Header]) -> None:
    quantised = config.get("quantization_config") or config.get("quantization")
    method = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
    names = [tensor.name for header in files.values() for tensor in header.tensors]
    sign = next((name for name in names if _QUANTISED.search(name)), None)
    if quantised or sign:
        why = f"its config says so{f': {method}' if method else ''}" if quantised else f"see {sign}"
        raise WeightsError(
            f"{label} is quantised ({why}), so its numbers are codes that cannot be averaged; "
            "expected BF16, F16 or F32; use the checkpoint that it was made from"
        )


def _find_aliases(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], headers: Any
) -> dict[str, str]:
    """Return tied tensors that are not stored: as the files say, and the head of a causal LM."""
    found = {
        name: kept
        for header in headers
        for name, kept in header.metadata.items()
        if isinstance(kept, str) and kept in tensors and name not in tensors
    }
    text = config.get("text_config")
    tied = config.get("tie_word_embeddings", (text or {}).get("tie_word_embeddings", True))
    embeddings = [name for name in tensors if _EMBEDDINGS.search(name)]
    kinds = "".join(map(str, config.get("architectures") or ()))
    is_lm = "CausalLM" in kinds or "LMHead" in kinds or "ConditionalGeneration" in kinds
    if (
        is_lm
        and tied
        and len(embeddings) == 1
        and not any(name.endswith(_HEAD) for name in tensors)
    ):
        found.setdefault(_HEAD, embeddings[0])
    return found
