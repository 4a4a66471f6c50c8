"""How the answers of a batch lie in the rows that a model reads: padded, packed, or shared.

``padded``  every answer behind a prompt of its own, one per row, as every model takes it
``packed``  the same, several to a row, none of which sees another
``shared``  a prompt once, and all its answers behind it, each of which sees the prompt and itself

Positions begin at 0 with every prompt, and every answer goes on from the end of its prompt. The
last token of an answer is left out: nothing is predicted from it.

Shapes: B = rows of the data, K = answers of one, A = B K answers, answer by answer (all first
answers, then all second ones, ...), N = scored tokens, in the order of the answers, S = tokens of a
unit, R = rows of the batch, W = their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heapreplace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inarch.align._rows import Ids

Batch = Mapping[str, Tensor]
Kind = Literal["padded", "packed", "shared"]
Ints = NDArray[np.int64]


class Layout(NamedTuple):
    """How answers lie in rows: whichever of ``kinds`` costs a batch least."""

    kinds: tuple[Kind, ...] = ("padded",)
    hidden: int = 1024
    """Width of the model, from which follows what wide rows cost."""
    one_row: bool = False
    """Answers that may share a row all share one, as for attention that costs no more there."""
    widest: int | None = None
    """Tokens of the widest row that several answers may share."""


PADDED = Layout()


class Sequences(NamedTuple):
    """The answers of one row, each behind the prompt that it is scored after."""

    prompts: tuple[Ids, ...]
    answers: tuple[Ids, ...]


class _Unit(NamedTuple):
    """A prompt and answers to it: what sees nothing else."""

    numbers: tuple[int, ...]
    """Which of the A answers these are."""
    ids_S: Ints
    positions_S: Ints
    branches_S: Ints
    """0 is the prompt, 1 its first answer, and so on."""
    speakers: tuple[Ints, ...]
    """For each answer, the places from which its tokens are predicted."""


def batch_of(rows: Sequence[Sequences], layout: Layout = PADDED) -> dict[str, Tensor]:
    """Return what `answer_logps` takes: rows of K answers each, filled up with id 0."""
    labels = [row.answers[k] for k in range(len(rows[0].answers)) for row in rows]
    kind, groups = _cheapest(rows, layout)
    units = _units(rows, kind == "shared")
    lengths = [len(unit.ids_S) for unit in units]
    width = max(sum(lengths[number] for number in group) for group in groups)
    ids_RW = np.zeros((len(groups), width), np.int64)
    positions_RW, branches_RW = np.zeros_like(ids_RW), np.zeros_like(ids_RW)
    units_RW = np.full_like(ids_RW, -1)
    flat: list[Ints] = [np.zeros(0, np.int64)] * len(labels)
    for r, group in enumerate(groups):
        start = 0
        for number in group:
            unit, place = units[number], slice(start, start + lengths[number])
            ids_RW[r, place], positions_RW[r, place] = unit.ids_S, unit.positions_S
            branches_RW[r, place], units_RW[r, place] = unit.branches_S, number
            for a, speakers in zip(unit.numbers, unit.speakers, strict=True):
                flat[a] = r * width + start + speakers
            start = place.stop
    lengths_A = np.array([len(answer) for answer in labels])
    made = {
        "input_ids": ids_RW,
        "flat_N": np.concatenate(flat),
        "labels_N": np.concatenate(labels).astype(np.int64),
        "answer_N": np.repeat(np.arange(len(labels)), lengths_A),
        "lengths_A": lengths_A,
    }
    if kind == "padded":
        made["attention_mask"] = (units_RW >= 0).astype(np.int64)
    else:
        made |= {"position_ids": positions_RW, "units_RW": units_RW, "branches_RW": branches_RW}
    return {name: torch.from_numpy(value) for name, value in made.items()}


def _units(rows: Sequence[Sequences], shared: bool) -> list[_Unit]:
    num_rows, num_answers = len(rows), len(rows[0].answers)
    if shared:
        return [
            _unit(row.prompts[0], row.answers, tuple(range(b, num_rows * num_answers, num_rows)))
            for b, row in enumerate(rows)
        ]
    return [
        _unit(row.prompts[k], row.answers[k : k + 1], (k * num_rows + b,))
        for k in range(num_answers)
        for b, row in enumerate(rows)
    ]


def _unit(prompt: Ids, answers: Sequence[Ids], numbers: tuple[int, ...]) -> _Unit:
    parts = [prompt, *(answer[:-1] for answer in answers)]
    lengths = [len(part) for part in parts]
    ends = np.cumsum(lengths)
    begins = [0] + [lengths[0]] * len(answers)
    return _Unit(
        numbers,
        np.concatenate(parts).astype(np.int64),
        np.concatenate([b + np.arange(n) for b, n in zip(begins, lengths, strict=True)]),
        np.repeat(np.arange(len(parts)), lengths),
        # Position t predicts token t + 1, so the last token of the prompt speaks first.
        tuple(np.append(lengths[0] - 1, np.arange(*ends[k : k + 2])) for k in range(len(answers))),
    )


def _cheapest(rows: Sequence[Sequences], layout: Layout) -> tuple[Kind, list[list[int]]]:
    """Return a kind, and which of its units go into which row, so that the batch costs least."""
    found: list[tuple[int, Kind, list[list[int]]]] = []
    for kind in layout.kinds:
        lengths = _lengths(rows, kind)
        branches = kind == "shared" and len(rows[0].answers) > 1
        for groups in _groupings(lengths, kind, layout.one_row):
            sizes = [[lengths[unit] for unit in group] for group in groups]
            if layout.widest is None or max(map(sum, sizes)) <= max(layout.widest, *lengths):
                found.append((_cost(sizes, branches, layout), kind, groups))
    _, kind, groups = min(found, key=lambda each: each[0])  # the first of equals
    return kind, groups


def _lengths(rows: Sequence[Sequences], kind: Kind) -> list[int]:
    """Return the tokens of the units, in the order of `_units`."""
    if kind == "shared":
        return [len(row.prompts[0]) + sum(len(a) - 1 for a in row.answers) for row in rows]
    num_answers = len(rows[0].answers)
    return [len(r.prompts[k]) + len(r.answers[k]) - 1 for k in range(num_answers) for r in rows]


def _groupings(lengths: Sequence[int], kind: Kind, one_row: bool) -> list[list[list[int]]]:
    """Return ways to put units into rows; of many, some numbers of rows."""
    if kind == "padded":
        return [[[number] for number in range(len(lengths))]]
    if one_row:
        return [[list(range(len(lengths)))]]
    least = -(-sum(lengths) // max(lengths))
    tried = {least >> shift for shift in range(least.bit_length())}
    tried |= {least - 1, least + 1, len(lengths)}
    return [_spread(lengths, num_rows) for num_rows in sorted(tried - {0})]


def _cost(groups: list[list[int]], branches: bool, layout: Layout) -> int:
    """Return the operations of a layer, over 4 hidden, for rows of units of some lengths.

    A token takes 24 hidden^2 for products with weights and 4 width hidden for attention, where a
    mask is read as a whole; of rows of one unit each, without branches and padding, half of it.
    """
    loads = [sum(group) for group in groups]
    width, num_rows = max(loads), len(loads)
    if layout.one_row:
        return num_rows * width * 6 * layout.hidden
    masked = branches or min(loads) < width or any(len(group) > 1 for group in groups)
    return num_rows * width * (6 * layout.hidden + (width if masked else width // 2))


def _spread(lengths: Sequence[int], num_rows: int) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(num_rows)]
    loads = [(0, r) for r in range(num_rows)]
    heapify(loads)
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        load, r = loads[0]
        groups[r].append(number)
        heapreplace(loads, (load + lengths[number], r))
    return [group for group in groups if group]
