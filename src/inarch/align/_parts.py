"""What the losses share: one shape, log-ratios, the logistic loss, metrics.

Shapes: B = rows of the batch.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from inarch.errors import DataError
from inarch.records import LossOut, PairLengths, PairLogps, TripleLogps


class Pair(NamedTuple):
    """A number for each of two answers, float32 or better, each ``[B]``."""

    chosen_B: Tensor
    rejected_B: Tensor

    def times(self, factor: float) -> "Pair":
        """Return both, multiplied."""
        return Pair(factor * self.chosen_B, factor * self.rejected_B)


def check_shapes(**records: Any) -> None:
    """Hold the log-probs, lengths and labels of some records to one shape ``[B]``.

    Raises:
        DataError: They have several, or another number of dimensions.
    """
    shapes = {name: list(value.shape) for name, value in _tensors(records.items())}
    first = next(iter(shapes.values()))
    if len(first) != 1 or any(shape != first for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(
            f"found {found}; expected one shape [B] for all; give one number per row of the batch,"
            " log-probs summed over the tokens of an answer"
        )


def _tensors(items: Any) -> Iterator[tuple[str, Tensor]]:
    for name, value in items:
        if isinstance(value, Tensor):
            if name.endswith("_B"):
                yield name, value
        elif value is not None:
            yield from _tensors((f"{name}.{key}", x) for key, x in value._asdict().items())


def wide(values: Tensor) -> Tensor:
    """Return the values in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_ratio(policy_B: Tensor, reference_B: Tensor) -> Tensor:
    """Return ``log pi(y|x) - log pi_ref(y|x)``, ``[B]``; no gradient reaches the reference."""
    return wide(policy_B) - wide(reference_B.detach())


def log_ratios(policy: PairLogps, reference: PairLogps) -> Pair:
    """Return the log-ratios of both answers.

    Raises:
        DataError: The records differ in shape.
    """
    check_shapes(policy=policy, reference=reference)
    return Pair(*(log_ratio(p, r) for p, r in zip(policy[:2], reference[:2], strict=True)))


def lengths_of(policy: PairLogps | TripleLogps) -> Any:
    """Return the lengths of a record.

    Raises:
        DataError: It has none.
    """
    if policy.lengths is None:
        raise DataError(
            "found log-probs without lengths, expected the number of tokens of each answer, by"
            " which this loss divides; fill policy.lengths"
        )
    return policy.lengths


def per_token(values: Pair, lengths: PairLengths) -> Pair:
    """Return numbers of answers divided by their lengths; those of empty answers stay."""
    return Pair(*(v / n.clamp(min=1) for v, n in zip(values, lengths, strict=True)))


def logistic(z_B: Tensor, smoothing: float) -> Tensor:
    """Return ``-(1 - eps) log sigma(z) - eps log sigma(-z)``, ``[B]``."""
    loss_B = -functional.logsigmoid(z_B)
    if not smoothing:
        return loss_B
    return (1 - smoothing) * loss_B - smoothing * functional.logsigmoid(-z_B)


def loss_out(loss_B: Tensor, metrics: dict[str, Tensor]) -> LossOut:
    """Return the sums over a batch of a loss and of metrics, each ``[B]``."""
    sums = {name: values_B.detach().to(loss_B.dtype).sum() for name, values_B in metrics.items()}
    return LossOut(loss_B.sum(), sums)


def pair_metrics(rewards: Pair, policy: PairLogps) -> dict[str, Tensor]:
    """Return what is worth logging of pairs, each ``[B]``.

    Args:
        rewards: What the loss compares.
        policy: Log-probs under the model in training.
    """
    return {
        "rewards/chosen": rewards.chosen_B,
        "rewards/rejected": rewards.rejected_B,
        "rewards/margins": rewards.chosen_B - rewards.rejected_B,
        "rewards/accuracies": rewards.chosen_B > rewards.rejected_B,
        "logps/chosen": policy.chosen_B,
        "logps/rejected": policy.rejected_B,
    }
