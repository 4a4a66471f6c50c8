"""Log-probs of continuations under a model, summed, at the least work that is exact.

Rows of like length run together, filled up on the right, where a causal model does not look; so no
number depends on the batch but for rounding. Answers to one prompt run behind one copy of it, if
the model passes the trial of `inarch.align`. No logits exist but of a few scored positions.

Shapes: K = continuations of a row, A = of a batch, N = their tokens, R = rows that the model reads,
W = their width, n = positions of a chunk, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from inarch.align._layout import PADDED, Batch, Layout, Sequences, batch_of
from inarch.align._masks import model_inputs
from inarch.align._trial import layout_for
from inarch.errors import WeightsError
from inarch.io.files import append_metrics, read_metrics
from inarch.numerics import Head, run_with_head
from inarch.numerics.onednn import with_onednn

TRIAL_ROWS = 16
"""Forwards of a longest row that the trial of a layout takes, about."""
LEAST = 0.875
"""Of the longest row of a batch: what a shorter one is filled up by is work for nothing."""
CHUNK_LOGITS = 2**22
"""Logits of a chunk: 16 MiB of float32, which stay in a processor's cache."""
CHUNK_ROWS = 64
"""Of a chunk at least; with fewer, the product with the head is slower."""


_NO_NUMBER = (
    "found NaN where the model gives log-probs, expected numbers; its weights hold NaN, or {} is"
    " too narrow for what it computes: set dtype=float32 or bf16"
)


def summed_logps(
    model: Any,
    rows: Sequence[Sequences],
    batch_tokens: int,
    advance: Callable[[int], None] = lambda number: None,
    journal: Path | None = None,
) -> list[NDArray[np.float64]]:
    """Return for each row the log-probs of its continuations, in nats, ``[K]``.

    Args:
        model: A causal LM in evaluation mode, on its device.
        rows: Prompts of one token or more, and continuations of one token or more.
        batch_tokens: Tokens that run together, padding included; a longer row runs alone.
        advance: Called with the number of rows just finished.
        journal: File of what earlier runs over the same rows found, and where this one keeps what
            it finds, so that a killed one is gone on with.

    Raises:
        WeightsError: The model gives no number.
    """
    layout = _layout(model, rows)
    sums = _kept(journal)
    with with_onednn(model):
        for numbers in _batches(rows, layout, batch_tokens):
            if not sums.keys() >= set(numbers):
                found_BK = _score(model, [rows[number] for number in numbers], layout)
                if np.isnan(found_BK).any():
                    raise WeightsError(_NO_NUMBER.format(model.dtype))
                sums |= zip(numbers, found_BK, strict=True)
                if journal is not None:
                    append_metrics(journal, {"rows": numbers, "logps": found_BK.tolist()})
            advance(len(numbers))
    return [sums[number] for number in range(len(rows))]


def _kept(journal: Path | None) -> dict[int, NDArray[np.float64]]:
    """Return what a journal holds, by row."""
    if journal is None or not journal.exists():
        return {}
    return {
        number: np.array(logps_K)
        for line in read_metrics(journal)
        for number, logps_K in zip(line["rows"], line["logps"], strict=True)
    }


def _layout(model: Any, rows: Sequence[Sequences]) -> Layout:
    """Return a layout that shares prompts, where that saves more than its trial takes."""
    several = [row for row in rows if len(row.answers) > 1]
    saved = sum(_padded(row) - _shared(row) for row in several)
    longest = max(several, key=_padded, default=None)
    if longest is None or saved < TRIAL_ROWS * _padded(longest):
        return PADDED
    return layout_for("auto", model, [longest])


def _batches(rows: Sequence[Sequences], layout: Layout, batch_tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of rows that run together: equally many continuations, like lengths."""
    size = _shared if "shared" in layout.kinds else _padded
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].answers), size(rows[i]), -i))
    batch: list[int] = []
    for number in reversed(order):  # the longest first, which tells at once if memory is short
        first = batch[0] if batch else number
        width = size(rows[first])
        fits = (len(batch) + 1) * width <= batch_tokens and size(rows[number]) >= LEAST * width
        if batch and not (fits and len(rows[first].answers) == len(rows[number].answers)):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _padded(row: Sequences) -> int:
    """Return the tokens of a row in which each continuation has a copy of the prompt."""
    longest = max(len(p) + len(a) - 1 for p, a in zip(row.prompts, row.answers, strict=True))
    return longest * len(row.answers)


def _shared(row: Sequences) -> int:
    return len(row.prompts[0]) + sum(len(answer) - 1 for answer in row.answers)


@torch.no_grad()
def _score(model: Any, rows: Sequence[Sequences], layout: Layout) -> NDArray[np.float64]:
    """Return the sums of a batch, ``[B, K]``."""
    batch = {name: value.to(model.device) for name, value in batch_of(rows, layout).items()}
    labels_N = batch["labels_N"]

    def at_head(hidden_RWD: Tensor, head: Head) -> Tensor:
        hidden_ND = hidden_RWD.flatten(0, 1)[batch["flat_N"]]
        size = max(CHUNK_ROWS, CHUNK_LOGITS // head.width)
        losses = [
            cross_entropy(head.logits(hidden_nD), labels_n, reduction="none")
            for hidden_nD, labels_n in zip(hidden_ND.split(size), labels_N.split(size), strict=True)
        ]
        return -torch.cat(losses)

    logps_N = run_with_head(model, _inputs(model, batch), at_head)
    sums_A = np.zeros(len(batch["lengths_A"]))
    np.add.at(sums_A, batch["answer_N"].cpu().numpy(), logps_N.cpu().double().numpy())
    return sums_A.reshape(-1, len(rows)).T


def _inputs(model: Any, batch: Batch) -> dict[str, Any]:
    """Return what the model reads; without a mask where only what stands behind is padding."""
    if "units_RW" in batch:
        return model_inputs(model, batch)
    return {"input_ids": batch["input_ids"]}
