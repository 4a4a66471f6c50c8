"""SimPO: raise the chosen answer over the rejected one by a margin, per token, with no reference.

Source:   "SimPO: Simple Preference Optimization with a Reference-Free Reward", arXiv:2405.14734,
          equation 6.
Shapes:   B = pairs in the batch.
"""

from pydantic import Field, NonNegativeFloat, PositiveFloat

from inarch.align._parts import (
    Pair,
    check_shapes,
    lengths_of,
    logistic,
    loss_out,
    pair_metrics,
    per_token,
    wide,
)
from inarch.records import LossOut, PairLogps
from inarch.settings import Settings


class SimpoSettings(Settings):
    """How hard pairs pull, and how far; the defaults are the paper's for Llama-3-8B-Instruct."""

    beta: PositiveFloat = 2.5
    """Reward per nat per token."""
    gamma: NonNegativeFloat = 1.375
    """Margin between the rewards. The authors' code takes gamma / beta, here 0.55."""
    label_smoothing: float = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the pairs that are taken to be the wrong way round."""


def simpo(policy: PairLogps, settings: SimpoSettings) -> LossOut:
    r"""Return the sum of -log sigma(z), with z = r(chosen) - r(rejected) - gamma.

    r(y) = beta / |y| log pi(y|x), in nats per token. With label smoothing eps, of
    -(1 - eps) log sigma(z) - eps log sigma(-z). Metrics are those of `dpo`, with these rewards.

    Args:
        policy: Log-probs under the model in training, summed over answers, each ``[B]``, and
            lengths.
        settings: The method's.

    Raises:
        DataError: The inputs do not share one shape ``[B]``, or there are no lengths.
    """
    check_shapes(policy=policy)
    logps = Pair(wide(policy.chosen_B), wide(policy.rejected_B))
    rewards = per_token(logps, lengths_of(policy)).times(settings.beta)
    z_B = rewards.chosen_B - rewards.rejected_B - settings.gamma
    return loss_out(logistic(z_B, settings.label_smoothing), pair_metrics(rewards, policy))
