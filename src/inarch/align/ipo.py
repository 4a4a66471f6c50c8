"""IPO: bring the gap between the log-ratios of two answers to a fixed size.

Source:   "A General Theoretical Paradigm to Understand Learning from Human Preferences",
          arXiv:2310.12036, equation 17.
Differs:  nothing by default: log-probs are those of whole answers, as in the equation. TRL divides
          them by the tokens, and reports that the authors' results are of that form; that is
          ``normalise: token``.
Shapes:   B = pairs in the batch.
"""

from typing import Literal

from pydantic import PositiveFloat

from inarch.align._parts import lengths_of, log_ratios, loss_out, pair_metrics, per_token
from inarch.records import LossOut, PairLogps
from inarch.settings import Settings


class IpoSettings(Settings):
    """How large the gap is to be."""

    beta: PositiveFloat = 0.1
    """The paper's tau: the gap is drawn to 1 / (2 beta) nats."""
    normalise: Literal["sum", "token"] = "sum"
    """Log-ratios of whole answers, as in the equation and OpenRLHF, or per token, as in TRL."""


def ipo(policy: PairLogps, reference: PairLogps, settings: IpoSettings) -> LossOut:
    r"""Return the sum of (h - 1 / (2 beta))^2, with h = rho(chosen) - rho(rejected).

    rho(y) = log pi(y|x) - log pi_ref(y|x), summed over the answer, in nats; divided by its
    tokens if ``normalise`` is ``token``. Metrics are those of `dpo`, with rewards beta rho(y).

    Args:
        policy: Log-probs under the model in training, summed over answers, each ``[B]``; with
            lengths if ``normalise`` is ``token``.
        reference: Log-probs under the frozen model that training began with, each ``[B]``.
        settings: The method's.

    Raises:
        DataError: The inputs do not share one shape ``[B]``, or lengths are wanted and not there.
    """
    ratios = log_ratios(policy, reference)
    if settings.normalise == "token":
        ratios = per_token(ratios, lengths_of(policy))
    gap_B = ratios.chosen_B - ratios.rejected_B
    loss_B = (gap_B - 1 / (2 * settings.beta)).square()
    return loss_out(loss_B, pair_metrics(ratios.times(settings.beta), policy))
