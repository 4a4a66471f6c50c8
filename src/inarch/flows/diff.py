"""The flow behind ``inarch diff``: what tells two checkpoints apart, tensor by tensor.

Tensors are compared part by part from mapped files, so memory does not grow with the models. Tied
tensors that only one of the two stores are compared with what stands for them in the other.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import NonNegativeInt

from inarch.flows._cores import num_cores
from inarch.flows._diff.change import Change, measure, total
from inarch.flows._diff.sidecars import compare_side_files
from inarch.io.dtypes import is_float, widen
from inarch.io.headers import TensorInfo
from inarch.io.progress import track
from inarch.io.weights import Checkpoint
from inarch.merge._names import is_behind, is_head, place
from inarch.merge._stack import spans
from inarch.settings import Settings


class DiffSettings(Settings):
    """What a comparison costs, and not what it finds."""

    threads: NonNegativeInt = 0
    """Parts that are compared at once; 0: one per core."""


_DEFAULTS = DiffSettings()


def run(a: str | Path, b: str | Path, settings: DiffSettings = _DEFAULTS) -> dict[str, Any]:
    """Return what tells two checkpoints apart, ready for JSON.

    ``tensors`` has one row per tensor that both have in one shape, in the order of `a`, with
    ``norm`` (of b - a), ``relative`` (to the norm of a), ``cosine``, ``largest`` (of ``|b - a|``),
    ``changed_frac`` (the share of elements that are not equal) and ``nonfinite`` (elements that are
    NaN or infinite in one of them; they are in no sum). ``layers`` has the same of each layer and
    of each tensor outside of layers, ``whole`` of all together. Then come ``only_a``, ``only_b``,
    ``shapes``, and what differs in ``files`` and ``tokens`` beside the weights.

    Args:
        a: Folder, safetensors file, or id on the hub.
        b: The other.
        settings: Threads.

    Raises:
        WeightsError: One of them is absent, broken, or holds no weights.
    """
    with Checkpoint.open(a) as first, Checkpoint.open(b) as second:
        pair = _Pair(first, second)
        found, rows = {}, []
        with (
            ThreadPoolExecutor(settings.threads or num_cores()) as pool,
            track("comparing", len(pair.shared), "tensors") as advance,
        ):
            for name in pair.shared:
                compared = _compare(pair, name, pool)
                rows.append(_row(pair, name, compared))
                if compared.change is not None:
                    found[name] = compared.change
                advance(1)
        return {
            "a": str(a),
            "b": str(b),
            "same_weights": _is_same(pair, rows),
            "whole": _numbers(total(found.values())),
            "layers": [
                {"layer": layer, **_numbers(total(changes))}
                for layer, changes in _by_layer(found).items()
            ],
            "tensors": rows,
            "only_a": pair.only_a,
            "only_b": pair.only_b,
            "shapes": pair.shapes,
            **compare_side_files(_folder(first), _folder(second)),
        }


def plan(a: str | Path, b: str | Path) -> dict[str, object]:
    """Return what comparing two checkpoints takes."""
    with Checkpoint.open(a) as first, Checkpoint.open(b) as second:
        sizes = [sum(t.num_bytes for t in each.tensors.values()) for each in (first, second)]
        pair = _Pair(first, second)
        return {
            "a": a,
            "b": b,
            "tensors to compare": len(pair.shared),
            "GB to read": sum(sizes) / 1e9,
        }


class _Pair:
    """Two checkpoints, and which of their tensors can be compared."""

    def __init__(self, first: Checkpoint, second: Checkpoint) -> None:
        self.first, self.second = first, second
        names = {**first.tensors, **first.aliases}
        others = {**second.tensors, **second.aliases}
        # A tensor that is tied in both is compared as what it is tied to.
        tied = first.aliases.keys() & second.aliases.keys()
        both = [name for name in names if name in others and name not in tied]
        self.only_a = [name for name in names if name not in others]
        self.only_b = [name for name in others if name not in names]
        infos = {name: (_info(first, name), _info(second, name)) for name in both}
        self.shared = [name for name, (one, other) in infos.items() if one.shape == other.shape]
        self.shapes = [
            {"tensor": name, "a": list(one.shape), "b": list(other.shape)}
            for name, (one, other) in infos.items()
            if one.shape != other.shape
        ]


class _Compared(NamedTuple):
    """A tensor of both."""

    change: Change | None
    """None for numbers that are no floats: sums of them mean nothing."""
    changed: int
    nonfinite: int


def _stored(checkpoint: Checkpoint, name: str) -> str:
    """Return the tensor itself, or the one that stands for it."""
    return name if name in checkpoint.tensors else checkpoint.aliases[name]


def _info(checkpoint: Checkpoint, name: str) -> TensorInfo:
    return checkpoint.tensors[_stored(checkpoint, name)]


def _compare(pair: _Pair, name: str, pool: ThreadPoolExecutor) -> _Compared:
    """Return how a tensor changed."""
    sides = [(each, _stored(each, name)) for each in (pair.first, pair.second)]
    raws = [each.raw(stored) for each, stored in sides]
    dtypes = [each.tensors[stored].dtype for each, stored in sides]
    if not all(map(is_float, dtypes)):
        same_kind = raws[0].dtype == raws[1].dtype
        return _Compared(None, int((raws[0] != raws[1]).sum()) if same_kind else len(raws[0]), 0)
    for each, stored in sides:
        each.will_need(stored)

    def compare(span: tuple[int, int]) -> tuple[Change, int, int]:
        first, second = (raw[slice(*span)] for raw in raws)
        return _compare_part((first, dtypes[0]), (second, dtypes[1]))

    parts = list(pool.map(compare, spans(_info(pair.first, name).shape)))
    for each, stored in sides:
        each.forget(stored)
    changes = [change for change, _, _ in parts]
    changed = sum(change.changed + more for change, more, _ in parts)
    return _Compared(total(changes), changed, sum(n for _, _, n in parts))


_rooms = threading.local()


def _compare_part(a: tuple[Any, str], b: tuple[Any, str]) -> tuple[Change, int, int]:
    """Return the change of the finite elements, how many others changed, and how many there are.

    Args:
        a: Numbers as stored, and their format.
        b: The other side's.
    """
    a_N, is_finite = _numbers_of(*a, 0)
    b_N, is_finite_too = _numbers_of(*b, 1)
    if is_finite and is_finite_too:
        return measure(a_N, b_N), 0, 0
    odd_N = ~(np.isfinite(a_N) & np.isfinite(b_N))
    same_N = (a_N == b_N) | (np.isnan(a_N) & np.isnan(b_N))
    a_N, b_N = np.where(odd_N, 0, a_N), np.where(odd_N, 0, b_N)
    return measure(a_N, b_N), int((odd_N & ~same_N).sum()), int(odd_N.sum())


def _numbers_of(raw: Any, dtype: str, side: int) -> tuple[Any, bool]:
    """Return stored numbers in float32, or float64 where they are that, and whether all are finite.

    They are valid until this thread calls again for the same side.
    """
    if dtype == "F64":
        return raw, bool(np.isfinite(raw).all())
    room = getattr(_rooms, f"side{side}", None)
    if room is None or len(room) < len(raw):
        room = np.empty(len(raw), np.float32)
        setattr(_rooms, f"side{side}", room)
    return room[: len(raw)], widen(raw, dtype, room[: len(raw)])


def _row(pair: _Pair, name: str, compared: _Compared) -> dict[str, Any]:
    one, other = _info(pair.first, name), _info(pair.second, name)
    numbers = _numbers(compared.change) if compared.change else dict.fromkeys(_FIELDS)
    return {
        "tensor": name,
        "shape": list(one.shape),
        "dtype_a": one.dtype,
        "dtype_b": other.dtype,
        **numbers,
        "changed_frac": compared.changed / (one.num_elements or 1),
        "nonfinite": compared.nonfinite,
    }


_FIELDS = ("norm", "relative", "cosine", "largest", "changed_frac")


def _numbers(change: Change) -> dict[str, float | None]:
    return {field: getattr(change, field) for field in _FIELDS}


def _is_same(pair: _Pair, rows: list[dict[str, Any]]) -> bool:
    apart = pair.only_a or pair.only_b or pair.shapes
    return not apart and all(row["changed_frac"] == 0 for row in rows)


def _by_layer(found: Mapping[str, Change]) -> dict[str, list[Change]]:
    """Return the changes of each layer and of each tensor in none, from input to head."""
    layers: dict[str, list[Change]] = {}
    for name in sorted(found, key=_depth):
        at = place(name)
        layer = name if at.stack is None else f"{at.stack}.{at.layer}"
        layers.setdefault(layer, []).append(found[name])
    return layers


def _depth(name: str) -> tuple[int, bool, str, int]:
    """Return what sorts tensors from input to head."""
    at = place(name)
    outside = 2 if is_behind(name) else 0
    return outside if at.stack is None else 1, is_head(name), at.stack or "", at.layer


def _folder(checkpoint: Checkpoint) -> Path | None:
    """Return where the files beside the weights are; a single file has none."""
    return checkpoint.path if checkpoint.path.is_dir() else None
