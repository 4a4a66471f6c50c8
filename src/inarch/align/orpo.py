"""ORPO: learn the chosen answer, and raise its odds over the rejected one's, with no reference.

Source:   "ORPO: Monolithic Preference Optimization without Reference Model", arXiv:2403.07691,
          equations 6 and 7.
Differs:  the first term is the mean over the tokens of each chosen answer, so that pairs add up;
          TRL's is over all tokens of the batch, those of prompts among them.
Shapes:   B = pairs in the batch.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor

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

SURE = -1e-7
"""Nats per token above which an answer has probability 1 in float32, and its odds no gradient."""


class OrpoSettings(Settings):
    """How much the odds count beside the chosen answer."""

    beta: PositiveFloat = 0.1
    """Weight of the odds; the paper's lambda."""


def orpo(policy: PairLogps, settings: OrpoSettings) -> LossOut:
    r"""Return the sum of -x(chosen) - beta log sigma(o(chosen) - o(rejected)).

    x(y) = log pi(y|x) / |y|, in nats per token; o(y) = x(y) - log(1 - exp x(y)), the log-odds.

    Metrics: those of `dpo`, with rewards beta x(y); ``nll``, the first term, and ``log_odds``,
    what sigma is taken of.

    Args:
        policy: Log-probs under the model in training, summed over answers, each ``[B]``, and
            lengths.
        settings: The method's.

    Raises:
        DataError: The inputs do not share one shape ``[B]``, or there are no lengths.
    """
    check_shapes(policy=policy)
    logps = Pair(wide(policy.chosen_B), wide(policy.rejected_B))
    means = per_token(logps, lengths_of(policy))
    log_odds_B = _log_odds(means.chosen_B) - _log_odds(means.rejected_B)
    metrics = pair_metrics(means.times(settings.beta), policy)
    metrics |= {"nll": -means.chosen_B, "log_odds": log_odds_B}
    return loss_out(-means.chosen_B + settings.beta * logistic(log_odds_B, 0.0), metrics)


def _log_odds(logp_B: Tensor) -> Tensor:
    # Where expm1 rounds to -1, what is lost is less than the rounding of logp itself.
    logp_B = logp_B.clamp(max=SURE)
    return logp_B - torch.log(-torch.expm1(logp_B))
