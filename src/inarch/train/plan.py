"""Which rows in which order, and the learning rate: all that a run can know before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from inarch.train.settings import TrainSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW_STEPS = 50
"""Steps whose rows are sorted together by length: enough to group, few enough to stay random."""


def num_steps(num_rows: int, settings: TrainSettings) -> int:
    """Return the optimiser steps of a run."""
    return settings.max_steps or math.ceil(settings.epochs * num_rows / settings.batch_size)


def row_order(
    num_rows: int, settings: TrainSettings, lengths: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return the rows of all steps, one step after the other, ``[steps * batch_size]``.

    One permutation of the rows follows the other, and steps run across their borders, so that
    every step is full: it is then the same step on any number of processes. The last one goes on
    into a further permutation.

    Args:
        num_rows: Rows of the data.
        settings: Gives steps, batch size and seed.
        lengths: Tokens of each row, to put similar ones into one step; None leaves it to chance.
    """
    size = settings.batch_size
    total = num_steps(num_rows, settings) * size
    random = np.random.default_rng(settings.seed)
    order: list[NDArray[np.int64]] = []
    done = 0
    while done < total:
        rows = random.permutation(num_rows)
        if lengths is not None:
            rows = _group(rows, np.asarray(lengths), -done % size, size, random)
        order.append(rows)
        done += num_rows
    return np.concatenate(order)[:total]


def _group(
    rows: NDArray[np.int64],
    lengths: NDArray[np.int64],
    num_first: int,
    size: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Sort rows by length within windows and shuffle the steps of each.

    The first rows fill up the step that the permutation before began; the last ones begin one.
    """
    num_whole = max(len(rows) - num_first, 0) // size * size
    first, middle, last = np.split(rows, [num_first, num_first + num_whole])
    parts = [first]
    for start in range(0, num_whole, _WINDOW_STEPS * size):
        window = middle[start : start + _WINDOW_STEPS * size]
        steps = window[np.argsort(lengths[window], kind="stable")].reshape(-1, size)
        parts.extend(random.permutation(steps))
    return np.concatenate([*parts, last])


def lr_scale(step: int, total: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step as a share of ``settings.lr``.

    It grows linearly to 1 over the warm-up and then falls to ``min_lr_frac``, which it reaches one
    step after the last.

    Args:
        step: From 0.
        total: Steps of the run.
        settings: Gives schedule, warm-up and floor.
    """
    num_warmup = math.ceil(settings.warmup_frac * total)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    done_frac = min(1.0, (step - num_warmup) / max(1, total - num_warmup))
    left = (
        1.0 - done_frac
        if settings.schedule == "linear"
        else (1 + math.cos(math.pi * done_frac)) / 2
    )
    return settings.min_lr_frac + (1.0 - settings.min_lr_frac) * left
