"""KTO: learn from single answers that were liked or not, against a reference point.

Source:   "KTO: Model Alignment as Prospect Theoretic Optimization", arXiv:2402.01306.
Differs:  the reference point is that of the log-probs handed in. In training it is the mean over
          a micro-batch of all processes, as in TRL.
Shapes:   B = answers in the batch, M = answers after the prompts of others.
"""

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from inarch.align._parts import check_shapes, log_ratio, loss_out
from inarch.errors import DataError
from inarch.records import LabelledLogps, LossOut
from inarch.settings import Settings


class KtoSettings(Settings):
    """How hard answers pull, and which kind counts more."""

    beta: PositiveFloat = 0.1
    """Reward per nat of log-ratio."""
    desirable_weight: NonNegativeFloat = 1.0
    """Weight of the answers that were liked."""
    undesirable_weight: NonNegativeFloat = 1.0
    """Weight of the others. The paper keeps the ratio of the sums of weights, liked to not, between
    1 and 4 / 3."""


def kto(policy: LabelledLogps, reference: LabelledLogps, settings: KtoSettings) -> LossOut:
    r"""Return the sum of w_D sigma(z_0 - r(y)) over liked and w_U sigma(r(y) - z_0) over others.

    r(y) = beta (log pi(y|x) - log pi_ref(y|x)), log-probs summed over the answer, in nats;
    z_0 = beta max(0, mean over M of the log-ratios of mismatched answers), without gradient.

    Metrics: ``kl``, z_0 / beta; ``desirable``, the number of liked answers; ``rewards/`` and
    ``logps/`` of ``desirable`` and ``undesirable``, sums over that kind alone, so that a mean over
    the batch is to be divided by ``desirable``, or by 1 less it.

    Args:
        policy: Log-probs under the model in training, ``[B]`` and ``[M]``, and the labels.
        reference: The same under the frozen model that training began with.
        settings: The method's.

    Raises:
        DataError: Log-probs and labels do not share one shape ``[B]``, or the mismatched ones no
            shape ``[M]`` with M > 0.
    """
    check_shapes(policy=policy, reference=reference)
    sizes = [tuple(record.mismatched_M.shape) for record in (policy, reference)]
    if sizes[0] != sizes[1] or len(sizes[0]) != 1 or not sizes[0][0]:
        raise DataError(
            f"found mismatched_M of shapes {sizes[0]} and {sizes[1]}, expected one [M] with M > 0;"
            " score some answers after the prompts of other rows, under both models"
        )
    reward_B = settings.beta * log_ratio(policy.answer_B, reference.answer_B)
    kl = log_ratio(policy.mismatched_M, reference.mismatched_M).detach().mean().clamp(min=0)
    liked_B = policy.desirable_B.bool()
    gain_B = torch.where(liked_B, 1.0, -1.0).to(reward_B.dtype) * (reward_B - settings.beta * kl)
    weight_B = torch.where(liked_B, settings.desirable_weight, settings.undesirable_weight)
    metrics = {
        "kl": kl.expand(liked_B.shape),
        "desirable": liked_B,
        "rewards/desirable": reward_B.where(liked_B, 0.0),
        "rewards/undesirable": reward_B.where(~liked_B, 0.0),
        "logps/desirable": policy.answer_B.where(liked_B, 0.0),
        "logps/undesirable": policy.answer_B.where(~liked_B, 0.0),
    }
    return loss_out(weight_B * torch.sigmoid(-gain_B), metrics)
