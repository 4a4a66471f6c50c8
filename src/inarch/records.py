"""What passes between areas: plain records of numpy arrays and tensors.

Positions.  Position ``t`` of a row is the state *after* token ``t``; its distribution predicts
token ``t + 1``.  Everything in this package that is "at position t" speaks about the next token.

Shared stream.  Two models can only be compared at places that exist for both, so positions carry
byte coordinates in a stream that does not depend on a tokenizer or a chat template: the UTF-8
bytes of the text, or of the assistants' contents of a chat, one after the other.  Segment ``s`` of
``n_s`` bytes owns the coordinates ``base_s - 1 ... base_s + n_s + 1``:

    ``base_s - 1``         before a space that only this tokenizer or template puts in front
    ``base_s + b``         ``b`` content bytes have been read
    ``base_s + n_s``       all of the content has been read; the end-of-turn token comes next
    ``base_s + n_s + 1``   after the end-of-turn token

with ``base_0 = 0`` and ``base_{s+1} = base_s + n_s + 3``.  A plain text is one segment.

Shapes: T = tokens of a row, P = supervised positions of a row, M = positions that are spoken for,
k = kept candidates per position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

NO_BOUNDARY = -2
"""Coordinate of a position where the context does not end at a byte of the shared stream."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: str
    content: str


class Document(NamedTuple):
    """One row of a corpus after cutting: a text or a chat, never both."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no record needs
    """Row of the corpus after cutting, from 0."""
    text: str | None
    messages: tuple[Message, ...] | None
    domain: str
    """Free label that reports group by; ``""`` where the corpus names none."""
    digest: bytes
    """16 bytes of BLAKE2b over the content."""
    ends_here: bool
    """The text ends with this row, so an end-of-text token follows. False for a cut text."""


class TokenRow(NamedTuple):
    """One document as the tokens of one model."""

    ids: NDArray[np.int32]
    """Token ids, ``[T]``."""
    ends: NDArray[np.int32]
    """Coordinate at which the context ends after token t, or NO_BOUNDARY, ``[T]``."""
    supervised: NDArray[np.bool_]
    """Position t predicts a token that the model is to learn, ``[T]``; the last is False."""
    exact: bool
    """The tokens spell the bytes; otherwise ``ends`` come from an alignment over characters."""


class Beliefs(NamedTuple):
    """What a model says at the P supervised positions of one document."""

    ends: NDArray[np.int32]
    """Coordinate at which each context ends, or NO_BOUNDARY, ``[P]``."""
    next_ends: NDArray[np.int32]
    """Coordinate at which the actual next token ends, or NO_BOUNDARY, ``[P]``."""
    next_ids: NDArray[np.int32]
    """The actual next token, in the model's own vocabulary, ``[P]``."""
    next_logps: NDArray[np.float32]
    """Its log-prob at temperature 1, in nats, ``[P]``."""
    ids: NDArray[np.int32]
    """Most probable tokens, in the model's own vocabulary, best first, ``[P, k]``."""
    logps: NDArray[np.float32]
    """Their log-probs, in nats, ``[P, k]``."""
    tail: NDArray[np.float32]
    """Log of the mass of all other tokens, in nats, ``[P]``."""
    exact: bool = True
    """The model's tokens spell the document's bytes; see ``TokenRow.exact``."""


class Aligned(NamedTuple):
    """A source's distributions, carried over to positions and ids of the target."""

    positions: NDArray[np.int32]
    """Positions of the target's row, increasing, ``[M]``."""
    ids: NDArray[np.int32]
    """Token ids of the target, -1 in empty slots, ``[M, k]``."""
    logps: NDArray[np.float32]
    """Log-probs, -inf in empty slots, ``[M, k]``."""
    tail: NDArray[np.float32]
    """Log of the mass that has no id, ``[M]``; -inf where there is none."""


class LossOut(NamedTuple):
    """A differentiable loss, and numbers worth logging.

    Both are *sums* over the items of the batch (supervised tokens, pairs, ...), so that the
    trainer can divide by the items of the whole optimiser step and be exact under accumulation.
    """

    loss: Tensor
    """Sum over the batch's items, shape ``[]``."""
    metrics: dict[str, Tensor]
    """Detached sums over the batch's items, shape ``[]``, still on their device."""


class PairLengths(NamedTuple):
    """Scored tokens of two answers, int64, each ``[B]``."""

    chosen_B: Tensor
    rejected_B: Tensor


class TripleLengths(NamedTuple):
    """Scored tokens of three answers, int64, each ``[B]``."""

    source_B: Tensor
    target_B: Tensor
    rejected_B: Tensor


class PairLogps(NamedTuple):
    """Log-probs of two answers under one model, summed over their tokens, in nats, each ``[B]``."""

    chosen_B: Tensor
    rejected_B: Tensor
    lengths: PairLengths | None = None
    """Read from the policy's, by methods that divide by them."""


class TripleLogps(NamedTuple):
    """Log-probs of three answers under one model, summed over their tokens, in nats, each ``[B]``.

    The best answer of the sources, the best and the worst of the target's own.
    """

    source_B: Tensor
    target_B: Tensor
    rejected_B: Tensor
    lengths: TripleLengths | None = None
    """Read from the policy's, by methods that divide by them."""


class AnswerLogps(NamedTuple):
    """Log-probs of one answer per row, summed over its tokens, in nats, ``[B]``."""

    answer_B: Tensor


class LabelledLogps(NamedTuple):
    """Log-probs of answers that were liked or not, summed over their tokens, in nats."""

    answer_B: Tensor
    """Each answer after its own prompt, ``[B]``."""
    mismatched_M: Tensor
    """Answers after the prompts of others, ``[M]``; may be those of all processes."""
    desirable_B: Tensor
    """Bool: the answer was liked, ``[B]``. Read from the policy's."""


Coverage = Literal["boundary", "prefix"]
