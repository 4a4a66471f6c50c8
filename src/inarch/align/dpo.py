"""DPO: raise the chosen answer over the rejected one, against a reference.

Source:   "Direct Preference Optimization", arXiv:2305.18290, equation 7; label smoothing from
          "A note on DPO with noisy preferences", https://ericmitchell.ai/cdpo.pdf.
Shapes:   B = pairs in the batch.
"""

from pydantic import Field, PositiveFloat

from inarch.align._parts import log_ratios, logistic, loss_out, pair_metrics
from inarch.records import LossOut, PairLogps
from inarch.settings import Settings


class DpoSettings(Settings):
    """How hard pairs pull."""

    beta: PositiveFloat = 0.1
    """Reward per nat of log-ratio."""
    label_smoothing: float = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the pairs that are taken to be the wrong way round."""


def dpo(policy: PairLogps, reference: PairLogps, settings: DpoSettings) -> LossOut:
    r"""Return the sum of -log sigma(z), with z = r(chosen) - r(rejected).

    r(y) = beta (log pi(y|x) - log pi_ref(y|x)), log-probs summed over the answer, in nats. With
    label smoothing eps, of -(1 - eps) log sigma(z) - eps log sigma(-z).

    Metrics: ``rewards/`` ``chosen``, ``rejected``, ``margins`` and ``accuracies``; ``logps/``
    ``chosen`` and ``rejected``.

    Args:
        policy: Log-probs under the model in training, each ``[B]``.
        reference: Log-probs under the frozen model that training began with, each ``[B]``.
        settings: The method's.

    Raises:
        DataError: The inputs do not share one shape ``[B]``.
    """
    rewards = log_ratios(policy, reference).times(settings.beta)
    z_B = rewards.chosen_B - rewards.rejected_B
    return loss_out(logistic(z_B, settings.label_smoothing), pair_metrics(rewards, policy))
