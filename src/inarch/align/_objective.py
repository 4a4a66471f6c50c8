"""The loss of a preference method as the trainer wants it, and the check of its first step.

Shapes: B = rows, K = answers of a row, A = B K sequences, all first answers first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from inarch.align._layout import Batch
from inarch.align._logps import answer_logps
from inarch.align._method import AlignMethod
from inarch.align._reference import Reference
from inarch.errors import WeightsError
from inarch.records import (
    AnswerLogps,
    LabelledLogps,
    LossOut,
    PairLengths,
    PairLogps,
    TripleLengths,
    TripleLogps,
)

START_TOLERANCE = 1e-4
"""Nats per row by which the first loss may be off, relative to losses above 1."""
ROUGH_TOLERANCE = 1e-2
"""The same where matrix products have few bits and other batches round differently."""


def preference_loss(
    method: AlignMethod,
    settings: Any,
    reference: Reference | None,
    *,
    tolerance: float = START_TOLERANCE,
    in_step: bool = False,
) -> Callable[[Any, Batch, float], LossOut]:
    """Return the loss of a model on a batch, given the share of training done.

    The first step is checked: there the model is its own reference, so that the loss is known, ln 2
    for WRPO and DPO.

    Args:
        method: The method.
        settings: Its settings.
        reference: Gives the log-probs under the reference; None for a method that needs none.
        tolerance: By how much the first loss may be off, in nats per row.
        in_step: Every process of a launch calls the loss as often as the others: what KTO compares
            with is then the mean over all of them.

    Raises:
        WeightsError: By the loss that is returned, at the first step, if it begins elsewhere.
    """

    def loss(model: Any, batch: Batch, progress: float) -> LossOut:
        policy = record(method, answer_logps(model, batch), batch)
        if reference is None:
            return method.loss(policy, None, settings, progress=progress)
        before = record(method, reference(model, batch), batch)
        if method.data == "labelled":
            policy, before = _one_point(policy, before, in_step)
        out = method.loss(policy, before, settings, progress=progress)
        if progress == 0:
            start = method.loss(before, before, settings, progress=progress)
            num_rows = len(batch["lengths_A"]) // num_answers(method)
            check_start(
                float(out.loss.detach()) / num_rows, float(start.loss) / num_rows, tolerance
            )
        return out

    return loss


def _one_point(
    policy: LabelledLogps, before: LabelledLogps, in_step: bool
) -> tuple[LabelledLogps, LabelledLogps]:
    """Return records whose mismatched answers are one: the mean log-ratio, and 0 before."""
    ratios_M = (policy.mismatched_M - before.mismatched_M).detach()
    sums = torch.stack([ratios_M.sum(), ratios_M.new_tensor(float(len(ratios_M)))])
    if in_step and dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    mean_1 = sums[:1] / sums[1]
    return policy._replace(mismatched_M=mean_1), before._replace(mismatched_M=mean_1 * 0)


def num_answers(method: AlignMethod) -> int:
    """Return the sequences of a row, K."""
    return {"triples": 3, "pairs": 2, "labelled": 2, "answers": 1}[method.data]


def record(method: AlignMethod, logps_A: Tensor, batch: Batch) -> Any:
    """Return log-probs, ``[A]``, as the record that a method takes."""
    num = num_answers(method)
    logps, lengths = logps_A.view(num, -1).unbind(), batch["lengths_A"].view(num, -1).unbind()
    if method.data == "triples":
        return TripleLogps(logps[0], logps[1], logps[2], TripleLengths(*lengths))
    if method.data == "pairs":
        return PairLogps(logps[0], logps[1], PairLengths(*lengths))
    if method.data == "labelled":
        return LabelledLogps(logps[0], logps[1], batch["liked_B"])
    return AnswerLogps(logps[0])


def check_start(found: float, expected: float, tolerance: float) -> None:
    """Stop a run whose first loss is not that of a model that is its own reference.

    Args:
        found: Loss of the first step, in nats per row.
        expected: That of a model and itself.
        tolerance: In nats per row, relative where more than 1 is expected.

    Raises:
        WeightsError: They differ.
    """
    if abs(found - expected) <= tolerance * max(1.0, expected):
        return
    name = "ln 2 = " if math.isclose(expected, math.log(2), rel_tol=1e-5) else ""
    raise WeightsError(
        f"the loss of the first step is {found:.6f}, expected {name}{expected:.6f}: the model in"
        " training and its reference do not agree before the first update. The reference is to be"
        " the model that training begins with: look for stored log-probs of something else, for"
        " dropout, and for weights that changed in between"
    )
