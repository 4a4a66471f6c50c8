"""Preference rows as batches: what a row's answers are scored after, and what was known of them.

Shapes: B = rows, K = sequences of a row, A = B K, R = rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inarch.align._layout import PADDED, Layout, Sequences, batch_of
from inarch.align._read import Form
from inarch.align._rows import AnswerRow
from inarch.errors import DataError


class Example(NamedTuple):
    """One row for training."""

    sequences: Sequences
    liked: bool | None
    reference: NDArray[np.float32] | None
    """Stored log-probs under the reference, in nats, ``[K]``."""


class PreferenceData(Sequence[Example]):
    """Rows in the form of a method, by number, with stored log-probs where there are any.

    A labelled row gets a second sequence: the answer of the next row with another prompt, scored
    after this row's, from which KTO's reference point is estimated. It belongs to the row and not
    to the batch, so that it can be stored and a batch may hold a single row.

    Args:
        rows: The tokenised rows.
        form: What the method needs.
        max_tokens: Longest sequence.
        digest: Of the rows, for whom it concerns.
    """

    def __init__(
        self, rows: Sequence[AnswerRow], form: Form, max_tokens: int, digest: str = ""
    ) -> None:
        self._rows, self._form, self._max_tokens = rows, form, max_tokens
        self.digest = digest
        self.reference_RK: NDArray[np.float32] | None = None
        if form == "labelled" and not any(self._differs(0, i) for i in range(1, len(rows))):
            raise DataError(
                f"found {len(rows)} labelled rows with one prompt, expected several: each answer is"
                " also scored after another row's prompt"
            )

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of the longest sequence of each row."""
        return [len(row.prompt) + max(map(len, row.answers)) for row in self._rows]

    def longest(self) -> Sequences:
        """Return a row with the most tokens, its prompt counted once."""
        sizes = [len(row.prompt) + sum(map(len, row.answers)) for row in self._rows]
        return self[int(np.argmax(sizes))].sequences

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
        row = self._rows[index]
        answers = row.answers
        if self._form == "labelled":
            answers = (*answers, self._mismatched(index)[: self._max_tokens - len(row.prompt)])
        stored = None if self.reference_RK is None else self.reference_RK[index]
        return Example(Sequences((row.prompt,) * len(answers), answers), row.liked, stored)

    def _mismatched(self, index: int) -> NDArray[np.int32]:
        other = index
        while True:
            other = (other + 1) % len(self._rows)
            if self._differs(index, other):
                return self._rows[other].answers[0]

    def _differs(self, one: int, other: int) -> bool:
        return not np.array_equal(self._rows[one].prompt, self._rows[other].prompt)


def collator(
    items: Literal["rows", "tokens"], layout: Layout = PADDED
) -> Callable[[Sequence[Example]], dict[str, Tensor]]:
    """Return what makes batches: those of `batch_of`, with labels and stored log-probs.

    Args:
        items: What ``num_items`` counts, by which the trainer divides the loss of a step.
        layout: How answers lie in the rows that the model reads.
    """

    def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
        batch = batch_of([example.sequences for example in examples], layout)
        num_tokens = batch["lengths_A"].sum()
        batch["num_items"] = num_tokens if items == "tokens" else torch.tensor(len(examples))
        if examples[0].liked is not None:
            batch["liked_B"] = torch.tensor([bool(example.liked) for example in examples])
        stored = [e.reference for e in examples if e.reference is not None]
        if stored:
            batch["reference_A"] = torch.from_numpy(np.stack(stored, 1).reshape(-1))
        return batch

    return collate
