"""LN-DPO: DPO with log-ratios per token, so that no answer wins by its length.

Source:   "Tulu 3", arXiv:2411.15124, length-normalized DPO; FuseChat-3.0, arXiv:2503.04222.
Shapes:   B = pairs in the batch.
"""

from pydantic import Field, PositiveFloat

from inarch.align._parts import (
    lengths_of,
    log_ratios,
    logistic,
    loss_out,
    pair_metrics,
    per_token,
)
from inarch.records import LossOut, PairLogps
from inarch.settings import Settings


class LnDpoSettings(Settings):
    """How hard pairs pull; the defaults are FuseChat-3.0's for Llama-3.1-8B."""

    beta: PositiveFloat = 10.0
    """Reward per nat of log-ratio per token."""
    label_smoothing: float = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the pairs that are taken to be the wrong way round."""


def ln_dpo(policy: PairLogps, reference: PairLogps, settings: LnDpoSettings) -> LossOut:
    r"""Return the sum of -log sigma(z), with z = r(chosen) - r(rejected).

    r(y) = beta / |y| (log pi(y|x) - log pi_ref(y|x)), in nats per token. With label smoothing eps,
    of -(1 - eps) log sigma(z) - eps log sigma(-z). Metrics are those of `dpo`, with these rewards.

    Args:
        policy: Log-probs under the model in training, summed over answers, each ``[B]``, and
            lengths.
        reference: Log-probs under the frozen model that training began with, each ``[B]``.
        settings: The method's.

    Raises:
        DataError: The inputs do not share one shape ``[B]``, or there are no lengths.
    """
    ratios = log_ratios(policy, reference)
    rewards = per_token(ratios, lengths_of(policy)).times(settings.beta)
    z_B = rewards.chosen_B - rewards.rejected_B
    return loss_out(logistic(z_B, settings.label_smoothing), pair_metrics(rewards, policy))
