"""What every loss over pairs promises."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from inarch.errors import DataError
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import random_pairs

Loss = Callable[[PairLogps, PairLogps], LossOut]
NAMES = {
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
}


def rows(record: Any, index: Any) -> Any:
    """Some rows of a record."""
    return type(record)(
        *(x if x is None else x[index] if torch.is_tensor(x) else rows(x, index) for x in record)
    )


def assert_pair_promises(loss: Loss, *, reference: bool) -> None:
    policy, frozen = random_pairs()
    whole = loss(policy, frozen)
    assert whole.metrics.keys() >= NAMES
    assert not any(value.requires_grad for value in whole.metrics.values())
    _adds_up(loss, policy, frozen, whole)
    _knows_its_sides(loss, policy, frozen, whole)
    _computes_in_float32(loss, policy, frozen)
    _refuses_other_shapes(loss, policy, frozen)
    if reference:
        _looks_at_the_reference(loss, policy, frozen, whole)


def _adds_up(loss: Loss, policy: PairLogps, frozen: PairLogps, whole: LossOut) -> None:
    parts = [loss(rows(policy, part), rows(frozen, part)) for part in ([5, 0], [1, 6, 2], [4, 3])]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    for name, value in whole.metrics.items():
        assert sum(part.metrics[name] for part in parts).item() == pytest.approx(value.item())
    logps = [side.sum().item() for side in policy[:2]]
    named = [whole.metrics[name].item() for name in ("logps/chosen", "logps/rejected")]
    assert named == pytest.approx(logps)
    rewards = [whole.metrics[f"rewards/{side}"].item() for side in ("chosen", "rejected")]
    assert whole.metrics["rewards/margins"].item() == pytest.approx(rewards[0] - rewards[1])


def _knows_its_sides(loss: Loss, policy: PairLogps, frozen: PairLogps, whole: LossOut) -> None:
    swapped = loss(_swap(policy), _swap(frozen))
    for name in ("rewards", "logps"):
        there, back = (x.metrics for x in (whole, swapped))
        assert there[f"{name}/chosen"] == back[f"{name}/rejected"]
    assert swapped.metrics["rewards/margins"] == -whole.metrics["rewards/margins"]
    right = [x.metrics["rewards/accuracies"].item() for x in (whole, swapped)]
    assert sum(right) == 7  # no ties
    assert abs(swapped.loss.item() - whole.loss.item()) > 1e-3


def _swap(pairs: PairLogps) -> PairLogps:
    lengths = pairs.lengths and PairLengths(*reversed(pairs.lengths))
    return PairLogps(pairs.rejected_B, pairs.chosen_B, lengths)


def _computes_in_float32(loss: Loss, policy: PairLogps, frozen: PairLogps) -> None:
    def cast(pairs: PairLogps, dtype: torch.dtype) -> PairLogps:
        sides = (side.detach().to(torch.bfloat16).to(dtype) for side in pairs[:2])
        return PairLogps(*sides, pairs.lengths)

    low = loss(cast(policy, torch.bfloat16), cast(frozen, torch.bfloat16))
    high = loss(cast(policy, torch.float64), cast(frozen, torch.float64))
    assert (low.loss.dtype, high.loss.dtype) == (torch.float32, torch.float64)
    assert low.loss.item() == pytest.approx(high.loss.item(), rel=1e-5)


def _refuses_other_shapes(loss: Loss, policy: PairLogps, frozen: PairLogps) -> None:
    for field in ("chosen_B", "rejected_B"):
        values = getattr(policy, field)
        for wrong in (values[:-1], values[:, None], values.sum()):
            with pytest.raises(DataError, match=rf"policy.{field} \[.*expected one shape \[B\]"):
                loss(policy._replace(**{field: wrong}), frozen)
    with pytest.raises(DataError, match=r"policy.chosen_B \[7, 1\]"):
        loss(rows(policy, (slice(None), None)), rows(frozen, (slice(None), None)))


def _looks_at_the_reference(
    loss: Loss, policy: PairLogps, frozen: PairLogps, whole: LossOut
) -> None:
    # A constant that policy and reference share says nothing.
    shift = torch.tensor([3.0, -1, 0, 2, 5, -4, 1], dtype=torch.float64)
    moved = [pairs._replace(chosen_B=pairs.chosen_B + shift) for pairs in (policy, frozen)]
    torch.testing.assert_close(loss(*moved).loss, whole.loss)
    # The reference is frozen even where it is not.
    frozen = PairLogps(*(side.clone().requires_grad_() for side in frozen[:2]))
    loss(policy, frozen).loss.backward()
    assert frozen.chosen_B.grad is None
    assert frozen.rejected_B.grad is None
    with pytest.raises(DataError, match=r"reference\.chosen_B"):
        loss(policy, frozen._replace(chosen_B=frozen.chosen_B[:-1]))


def assert_needs_lengths(loss: Loss) -> None:
    policy, frozen = random_pairs()
    with pytest.raises(DataError, match=r"without lengths.*fill policy\.lengths"):
        loss(policy._replace(lengths=None), frozen)
    short = PairLengths(policy.lengths.chosen_B, policy.lengths.rejected_B[:-1])
    with pytest.raises(DataError, match=r"policy\.lengths\.rejected_B \[6\]"):
        loss(policy._replace(lengths=short), frozen)


def assert_gradients(loss: Loss, closed_form: Callable[[int], tuple[Any, Any]]) -> None:
    """Hold autograd to a closed form, which is given a seed of `random_pairs`."""
    for seed in range(3):
        policy, frozen = random_pairs(seed)
        loss(policy, frozen).loss.backward()
        for side, expected in zip(policy[:2], closed_form(seed), strict=True):
            assert side.grad.numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)
