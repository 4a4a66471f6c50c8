"""The loss of a fused target: lambda CE + (1 - lambda) D(P, Q), over supervised tokens.

Source:   FuseLLM, arXiv:2401.10491, the overall training objective.
Differs:  sums over tokens, so that the trainer's mean is over the whole optimiser step; sparse, the
          teacher's distribution is never spread over the vocabulary.

Shapes: B = rows, T = padded length, D = hidden width, N = supervised positions of the batch,
n = positions of a chunk of the head, V = width of the head, k = ids per position, J = byte chunks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inarch.data import pad
from inarch.fuse._blend import NOBODY, Lesson
from inarch.fuse.chunk import chunk
from inarch.fuse.settings import FuseSettings
from inarch.fuse.uld import uld
from inarch.numerics import Head, chunked_sum, divergence, logps_at, run_with_head, token_logps
from inarch.records import LossOut, TokenRow

Batch = Mapping[str, Tensor]


class Example(NamedTuple):
    """One document as the target reads it, and what it is taught there."""

    row: TokenRow
    lesson: Lesson | None
    """None: the labels alone (plain language modelling)."""


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Return a batch, padded right; everything per position is flat over supervised positions."""
    padded = pad([example.row for example in examples])
    batch: dict[str, Any] = {
        "input_ids": padded.ids_BT,
        "attention_mask": padded.mask_BT,
        "flat_N": padded.flat_N,
        "labels_N": padded.next_N,
        "num_items": np.array(len(padded.flat_N)),
    }
    lessons = [e.lesson for e in examples if e.lesson is not None]
    if lessons:
        batch |= _taught(lessons)
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def _taught(lessons: Sequence[Lesson]) -> dict[str, Any]:
    offsets = np.cumsum([0, *(len(x.chunk_logps) for x in lessons)])
    chunks = [
        np.where(x.chunk == NOBODY, NOBODY, x.chunk + offset)
        for x, offset in zip(lessons, offsets, strict=False)
    ]
    return {
        "ids_Nk": np.concatenate([x.ids for x in lessons]).astype(np.int64),
        "logps_Nk": np.concatenate([x.logps for x in lessons]).astype(np.float32),
        "tail_N": np.concatenate([x.tail for x in lessons]).astype(np.float32),
        "spoken_N": np.concatenate([x.winner for x in lessons]) != NOBODY,
        "chunk_N": np.concatenate(chunks).astype(np.int64),
        "chunk_logps_J": np.concatenate([x.chunk_logps for x in lessons]),
    }


def plain_loss(model: Any, batch: Batch, progress: float) -> LossOut:
    """Return the sum of -log q(next token) over the supervised tokens of a batch."""
    labels_N = batch["labels_N"]

    def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
        return -token_logps(logits_nV, labels_N[part]).sum()[None]

    sums = _at_head(model, batch, per_chunk)
    return LossOut(sums[0], {"clm": sums[0].detach()})


def fused_loss(settings: FuseSettings) -> Callable[[Any, Batch, float], LossOut]:
    """Return the loss of a model on a batch of `collate`; see the module for the formula.

    Its metrics are sums over supervised tokens: ``clm`` and ``fused``, the two terms, in nats, and
    ``spoken``, the number of positions where a candidate speaks.

    Args:
        settings: ``objective``, ``lambda``, ``tail`` and ``unmatched`` are read.
    """
    if settings.objective == "chunk":
        return lambda model, batch, progress: _chunk_loss(model, batch, settings)

    def loss(model: Any, batch: Batch, progress: float) -> LossOut:
        def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
            return _terms(
                logits_nV, {n: v[part] for n, v in batch.items() if n in _PER_POSITION}, settings
            )

        return _summed(_at_head(model, batch, per_chunk))

    return loss


_PER_POSITION = ("labels_N", "ids_Nk", "logps_Nk", "tail_N", "spoken_N")


def _at_head(model: Any, batch: Batch, per_chunk: Callable[[Tensor, slice], Tensor]) -> Tensor:
    def at_head(hidden_BTD: Tensor, head: Head) -> Tensor:
        return chunked_sum(hidden_BTD.flatten(0, 1)[batch["flat_N"]], head, per_chunk)

    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return run_with_head(model, inputs, at_head)


def _terms(logits_nV: Tensor, part: Batch, settings: FuseSettings) -> Tensor:
    """Return the sums of loss, CE, fused term and spoken positions."""
    student = logps_at(logits_nV, part["ids_Nk"], part["labels_N"])
    clm_n = -student.next_logps_N
    if settings.objective == "uld":
        fused_n = uld(logits_nV, part["logps_Nk"], part["tail_N"])
    else:
        fused_n = divergence(
            student.logps_Nk,
            student.tail_N,
            part["logps_Nk"],
            part["tail_N"],
            kind=settings.objective,  # type: ignore[arg-type]  # uld and chunk went elsewhere
            tail_policy=settings.tail,
        )
    return _mixed(clm_n, fused_n, part["spoken_N"], settings)


def _mixed(clm_n: Tensor, fused_n: Tensor, spoken_n: Tensor, settings: FuseSettings) -> Tensor:
    silent_n = clm_n if settings.unmatched == "label" else torch.zeros_like(clm_n)
    fused_n = torch.where(spoken_n, fused_n, silent_n)
    loss = settings.lambda_ * clm_n.sum() + (1.0 - settings.lambda_) * fused_n.sum()
    return torch.stack([loss, clm_n.sum(), fused_n.sum(), spoken_n.sum().to(loss.dtype)])


def _summed(sums: Tensor) -> LossOut:
    names = ("clm", "fused", "spoken")
    return LossOut(sums[0], {n: s.detach() for n, s in zip(names, sums[1:], strict=True)})


def _chunk_loss(model: Any, batch: Batch, settings: FuseSettings) -> LossOut:
    """Return the loss of whole byte chunks, which do not respect the chunks of the head.

    The head runs twice: first for the log-probs of the labels, whose gradients of the loss are
    taken on their own; then with those gradients as the labels' weights.
    """
    labels_N = batch["labels_N"]

    def at_head(hidden_BTD: Tensor, head: Head) -> Tensor:
        hidden_ND = hidden_BTD.flatten(0, 1)[batch["flat_N"]]
        found: list[Tensor] = []

        def note(logits_nV: Tensor, part: slice) -> Tensor:
            found.append(token_logps(logits_nV, labels_N[part]))
            return logits_nV.new_zeros(1)

        with torch.no_grad():
            chunked_sum(hidden_ND, head, note)
        with torch.enable_grad():
            logps_N = torch.cat(found).requires_grad_()
            fused_N = chunk(logps_N, batch["chunk_N"], batch["chunk_logps_J"])
            sums = _mixed(-logps_N, fused_N, batch["chunk_N"] >= 0, settings)
            (slope_N,) = torch.autograd.grad(sums[0], logps_N)

        def weigh(logits_nV: Tensor, part: slice) -> Tensor:
            return (slope_N[part] * token_logps(logits_nV, labels_N[part])).sum()[None]

        sums = sums.detach()
        surrogate = chunked_sum(hidden_ND, head, weigh)[0] if torch.is_grad_enabled() else sums[0]
        return torch.cat([(surrogate - surrogate.detach() + sums[0])[None], sums[1:]])

    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return _summed(run_with_head(model, inputs, at_head))
