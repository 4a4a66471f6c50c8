"""Writes an adapter as PEFT saves it: ``adapter_config.json`` and ``adapter_model.safetensors``.

Shapes: R, C = rows and columns of a weight as it is stored, r = rank.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from inarch.errors import WeightsError
from inarch.io.dtypes import Floats, Raw, narrow, storage
from inarch.io.files import make_folder, write_atomic
from inarch.io.headers import TensorInfo, make_header
from inarch.merge._adapters import CONFIG, PREFIX, WEIGHTS
from inarch.merge._jobs import Source
from inarch.merge._low_rank import LowRank

Kind = Literal["linear", "turned", "table"]
"""How a module holds its weight: ``[out, in]``, ``[in, out]`` (Conv1D of GPT-2), or as the rows of
an embedding."""


class _Piece(NamedTuple):
    """A tensor of the file."""

    info: TensorInfo
    raw: Raw


def write_adapter(
    out: Path,
    base: str,
    updates: Mapping[str, tuple[Kind, LowRank]],
    whole: Mapping[str, Source],
    tied: Mapping[str, str],
    dtype: str,
) -> None:
    """Write the folder of an adapter, whose scale is 1 everywhere.

    Args:
        out: The folder.
        base: The model that the adapter is for, as its config names it.
        updates: By the weight that each is added to, under the name that it has in a loaded model.
        whole: Tensors that replace those of the model.
        tied: Heads that are not stored, and the weight that stands for each: both get one update.
        dtype: The format of the factors, ``"BF16"``.

    Raises:
        WeightsError: The format cannot hold the factors.
        DataError: The folder cannot be written, or the disk is full.
    """
    heads = {head: ("linear", updates[kept][1]) for head, kept in tied.items() if kept in updates}
    whole = {**whole, **{head: whole[kept] for head, kept in tied.items() if kept in whole}}
    modules = {_module(name): made for name, made in {**updates, **heads}.items()}
    pieces = []
    for module, (kind, made) in modules.items():
        a, b = "lora_A.weight", "lora_B.weight"
        left, right = made.left, made.right
        if kind != "linear":
            left, right = right.T, left.T
        if kind == "table":
            a, b = "lora_embedding_A", "lora_embedding_B"
        pieces.append(_narrowed(f"{PREFIX}{module}.{a}", right, dtype))
        pieces.append(_narrowed(f"{PREFIX}{module}.{b}", left, dtype))
    saved, biases = set(), False
    for name, source in whole.items():
        module = _module(name)
        is_bias = name.endswith(".bias") and f"{module}.weight" not in whole
        biases |= is_bias
        saved |= set() if is_bias else {module}
        key = f"{module}.base_layer.bias" if is_bias and module in modules else name
        pieces.append(_whole(PREFIX + key, source))
    make_folder(out)
    _write_tensors(out / WEIGHTS, pieces)
    config = _config(base, {module: len(made.right) for module, (_, made) in modules.items()})
    config["fan_in_fan_out"] = any(kind == "turned" for kind, _ in modules.values())
    config["modules_to_save"] = sorted(saved) or None
    config["bias"] = "all" if biases else "none"
    config["ensure_weight_tying"] = bool(heads)
    with write_atomic(out / CONFIG) as temp:
        temp.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _config(base: str, ranks: Mapping[str, int]) -> dict[str, Any]:
    """Return what ``adapter_config.json`` says of updates of these ranks, by module."""
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {module: own for module, own in ranks.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _narrowed(name: str, values: Floats, dtype: str) -> _Piece:
    raw = np.empty(values.size, storage(dtype))
    if not narrow(np.ascontiguousarray(values).reshape(-1), dtype, raw):
        raise WeightsError(
            f"{name}: {dtype} cannot hold the factors of this change; set `dtype: float32`"
        )
    return _Piece(TensorInfo(name, dtype, values.shape), raw)


def _whole(name: str, source: Source) -> _Piece:
    raw = source.raw()
    if raw is None:
        values = np.empty(source.shape, np.float32)
        source.fill(0, values.reshape(-1))
        return _narrowed(name, values, source.dtype)
    return _Piece(TensorInfo(name, source.dtype, source.shape), raw)


def _write_tensors(path: Path, pieces: Iterable[_Piece]) -> None:
    raws = {piece.info.name: piece for piece in pieces}
    header = make_header([piece.info for piece in raws.values()], {"format": "pt"})
    with write_atomic(path) as temp, temp.open("wb") as file:
        file.write(header.raw)
        for info in header.tensors:
            file.write(np.ascontiguousarray(raws[info.name].raw).data)
