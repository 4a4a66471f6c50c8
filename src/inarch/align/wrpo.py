"""WRPO: prefer a blend of a source's and the target's best answer over the target's worst.

Source:   "Weighted-Reward Preference Optimization for Implicit Model Fusion", arXiv:2412.03187.
Differs:  alpha follows the share of training done, handed in by the caller, where the released code
          counts steps of the epochs and overlooks ``max_steps``; the accuracy of the target's
          answer is per row, where the released code compares all rows with all. Dividing by lengths
          is an option, after LN-DPO of FuseChat-3.0.
Shapes:   B = triples in the batch.
"""

from typing import NamedTuple

from pydantic import Field, PositiveFloat
from torch import Tensor

from inarch.align._parts import check_shapes, lengths_of, log_ratio, logistic, loss_out
from inarch.records import LossOut, TripleLogps
from inarch.settings import Settings, UnitFloat


class WrpoSettings(Settings):
    """How much the source's answer counts; the defaults are the published run's."""

    beta: PositiveFloat = 0.01
    """Reward per nat of log-ratio."""
    alpha: UnitFloat = 0.1
    """Weight of the source's answer at the end of training."""
    ramp: bool = True
    """Grow alpha linearly from 0; otherwise it is constant."""
    label_smoothing: float = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the triples that are taken to be the wrong way round."""
    length_norm: bool = False
    """Divide each log-ratio by the tokens of its answer; wants a beta of the order of 10."""


class _Rewards(NamedTuple):
    source_B: Tensor
    target_B: Tensor
    rejected_B: Tensor


def wrpo(
    policy: TripleLogps, reference: TripleLogps, settings: WrpoSettings, *, progress: float
) -> LossOut:
    r"""Return the sum of -log sigma(alpha r(source) + (1 - alpha) r(target) - r(rejected)).

    r(y) = beta (log pi(y|x) - log pi_ref(y|x)), log-probs summed over the answer, in nats;
    divided by its tokens if ``length_norm``. With label smoothing eps, of
    -(1 - eps) log sigma(z) - eps log sigma(-z).

    Metrics: ``alpha``; ``rewards/`` of the blend (``chosen``), ``source_chosen``,
    ``target_chosen`` and ``rejected``, and ``margins``; ``accuracies`` of the blend, of the
    source's answer (``source_accuracies``) and of the target's (``pivot_accuracies``), each
    against the rejected one of its row; ``logps/`` of the same four.

    Args:
        policy: Log-probs under the model in training, each ``[B]``; with lengths if
            ``length_norm``.
        reference: Log-probs under the frozen model that training began with, each ``[B]``.
        settings: The method's.
        progress: Share of training done, in [0, 1]; 1 for the loss that evaluations compare.

    Raises:
        DataError: The inputs do not share one shape ``[B]``, or lengths are wanted and not there.
    """
    check_shapes(policy=policy, reference=reference)
    alpha = alpha_at(progress, settings)
    rewards = _rewards(policy, reference, settings)
    chosen_B = alpha * rewards.source_B + (1 - alpha) * rewards.target_B
    z_B = chosen_B - rewards.rejected_B
    metrics = {
        "alpha": z_B.new_full(z_B.shape, alpha),
        "rewards/chosen": chosen_B,
        "rewards/source_chosen": rewards.source_B,
        "rewards/target_chosen": rewards.target_B,
        "rewards/rejected": rewards.rejected_B,
        "rewards/margins": z_B,
        "rewards/accuracies": chosen_B > rewards.rejected_B,
        "rewards/source_accuracies": rewards.source_B > rewards.rejected_B,
        "rewards/pivot_accuracies": rewards.target_B > rewards.rejected_B,
        "logps/chosen": alpha * policy.source_B + (1 - alpha) * policy.target_B,
        "logps/source_chosen": policy.source_B,
        "logps/target_chosen": policy.target_B,
        "logps/rejected": policy.rejected_B,
    }
    return loss_out(logistic(z_B, settings.label_smoothing), metrics)


def alpha_at(progress: float, settings: WrpoSettings) -> float:
    """Return the weight of the source's answer when a share of the training is done, in [0, 1].

    The first step has progress 0, and the last of N steps (N - 1) / N.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"found progress {progress}, expected a share in [0, 1]")
    return settings.alpha * (progress if settings.ramp else 1.0)


def _rewards(policy: TripleLogps, reference: TripleLogps, settings: WrpoSettings) -> _Rewards:
    ratios = [log_ratio(p, r) for p, r in zip(policy[:3], reference[:3], strict=True)]
    if settings.length_norm:
        tokens = lengths_of(policy)
        ratios = [ratio / num.clamp(min=1) for ratio, num in zip(ratios, tokens, strict=True)]
    return _Rewards(*(settings.beta * ratio for ratio in ratios))
