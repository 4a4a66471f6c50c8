"""A number per tensor as a map: layers down, matrices across, what is in no layer above and below.

Used by the pages of `inarch merge` and `inarch diff`, and by what they print.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_Values = tuple[float | None, ...]
_Row = tuple[str, _Values | float]


class LayerMap(NamedTuple):
    """Numbers by layer and matrix."""

    columns: tuple[str, ...]
    """Matrices of a layer, named as briefly as tells them apart."""
    rows: tuple[_Row, ...]
    """Each layer with its numbers, None where it has no such matrix; a tensor that is in no layer
    with its one number."""

    @property
    def numbers(self) -> list[float]:
        """Return all numbers."""
        rows = (values if isinstance(values, tuple) else (values,) for _, values in self.rows)
        return [value for values in rows for value in values if value is not None]


_ORDER = (
    r"attn|attention",
    r"mlp|ffn|feed_forward|moe|expert",
    r"\bq_|query|qkv|c_attn",
    r"\bk_|key",
    r"\bv_|value",
    r"\bo_|out|dense$|attn\.c_proj",
    r"gate|w1",
    r"up|w3|c_fc|h_to_4h",
    r"down|w2|4h_to_h|mlp\.c_proj",
)
"""Patterns in the order in which a layer uses its matrices: who fits an earlier one is first."""
_NORM, _FIRST_NORM = re.compile("norm|ln_"), re.compile(r"input|ln_1|attn_norm")


class Coefficients(NamedTuple):
    """How much of each model is in each tensor of a merge."""

    what: str
    """What the numbers are, in a sentence's end."""
    maps: Mapping[str, LayerMap]
    """By the name of the model."""


def layer_map(numbers: Mapping[str, float]) -> LayerMap:
    """Return numbers by tensor as a map; in a cell of several tensors, such as experts, their mean.

    Layers that follow each other with the same numbers are one row.
    """
    from inarch.merge._names import is_behind, is_head, place  # loads all merge methods: a second

    places = {name: place(name) for name in numbers}
    cells: dict[tuple[str, int], dict[str, list[float]]] = {}
    for name, number in numbers.items():
        at = places[name]
        if at.stack is not None:
            column = _without_numbers(at.rest)
            cells.setdefault((at.stack, at.layer), {}).setdefault(column, []).append(number)
    columns = sorted(dict.fromkeys(column for row in cells.values() for column in row), key=_rank)
    stacks = list(dict.fromkeys(stack for stack, _ in cells))
    layers: list[_Row] = []
    for name, stack in zip(_shortest(stacks) if len(stacks) > 1 else [""], stacks, strict=False):
        of_stack = {layer: row for (other, layer), row in cells.items() if other == stack}
        means = {
            layer: tuple(statistics.fmean(row[c]) if c in row else None for c in columns)
            for layer, row in sorted(of_stack.items())
        }
        layers += _folded(name, means)
    outside = [name for name in numbers if places[name].stack is None]
    named = dict(zip(outside, _shortest([_stem(name) for name in outside]), strict=True))
    front, back = (
        [
            (named[name], numbers[name])
            for name in sorted(outside, key=is_head)
            if is_behind(name) == behind
        ]
        for behind in (False, True)
    )
    return LayerMap(tuple(_shortest(columns)), (*front, *layers, *back))


def coefficients_of(rows: Sequence[Mapping[str, Any]]) -> Coefficients:
    """Return how much of each model went into each tensor.

    That is the coefficient that the method notes, or the weight in the recipe where its shares vary
    within a tensor. Tensors of methods that know neither are left out.

    Args:
        rows: As ``tensors.jsonl`` of a merged folder has them.
    """
    found: dict[str, dict[str, float]] = {}
    kinds = set()
    for row in rows:
        kind, values = _shares(row)
        if values is None:
            continue
        kinds.add(kind)
        for label, value in zip(row["models"], values, strict=True):
            found.setdefault(label, {})[row["tensor"]] = value
    names = dict(zip(found, _shortest(list(found), "/"), strict=True))
    maps = {names[label]: layer_map(numbers) for label, numbers in found.items()}
    return Coefficients(" and ".join(sorted(kinds)), maps)


def kind_of(name: str) -> str:
    """Return a tensor's name without its layer and its expert: what is the same in all layers."""
    from inarch.merge._names import place

    return _without_numbers(place(name).rest)


def _without_numbers(rest: str) -> str:
    return _stem(re.sub(r"\.\d+(?=\.)", "", rest))


def brief(column: str) -> str:
    """Return the name of a matrix without what all such names have, as words that may wrap."""
    for long, short in (("_proj", ""), ("layernorm", "norm"), ("attention", "attn")):
        column = column.replace(long, short)
    return column.replace("_", " ").replace(".", " ")


def _shares(row: Mapping[str, Any]) -> tuple[str, Sequence[float] | None]:
    """Return what is known about the shares of the models in a tensor, and its kind."""
    if row.get("coefficients") is not None:
        return "factor on each model", row["coefficients"]
    weight = (row.get("parameters") or {}).get("weight")
    if weight is None:
        return "", None
    num = len(row["models"])
    return "weight in the recipe", weight if len(weight) == num else [*weight] * num


def _folded(stack: str, layers: Mapping[int, _Values]) -> list[_Row]:
    """Return a row per run of layers that follow each other with the same numbers."""
    runs: list[list[int]] = []
    for layer, values in layers.items():
        follows = runs and runs[-1][-1] == layer - 1 and layers[layer - 1] == values
        runs = [*runs[:-1], [*runs[-1], layer]] if follows else [*runs, [layer]]
    names = (f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return [(f"{stack} {n}".strip(), layers[run[0]]) for n, run in zip(names, runs, strict=True)]


def _rank(column: str) -> tuple[bool, list[bool], bool]:
    """Return what sorts matrices: norms behind the others, a bias behind its matrix."""
    if _NORM.search(column):
        return True, [_FIRST_NORM.search(column) is None], False
    unfit = [re.search(pattern, column) is None for pattern in _ORDER]
    return False, unfit, column.endswith("bias")


def _stem(name: str) -> str:
    """Return a tensor's name without what is the same in all of them."""
    return name.removesuffix(".weight")


def _shortest(names: Sequence[str], separator: str = ".") -> list[str]:
    """Return for each name as few of its last parts as no other name ends with."""
    split = [name.strip(separator).split(separator) for name in names]
    made = []
    for parts in split:
        least = 2 if parts[-1] == "bias" else 1
        count = next(
            (n for n in range(least, len(parts)) if sum(p[-n:] == parts[-n:] for p in split) == 1),
            len(parts),
        )
        made.append(separator.join(parts[-count:]))
    return made
