"""SFT: learn the answers, and nothing else.

Source:   the negative log-likelihood; the first stage of WRPO (arXiv:2412.03187), and the policy's
          of SEFT (arXiv:2406.10813).
Differs:  WRPO's released first stage also learns the prompts; here answers alone are scored.
Shapes:   B = answers in the batch.
"""

from inarch.align._parts import check_shapes, loss_out, wide
from inarch.records import AnswerLogps, LossOut
from inarch.settings import Settings


class SftSettings(Settings):
    """Nothing to set."""


def sft(policy: AnswerLogps, settings: SftSettings) -> LossOut:
    r"""Return the sum of -log pi(y|x), in nats.

    It is a sum over *tokens*: divided by the scored tokens of a step, it is their mean.

    Metrics: ``nll``, the same.

    Args:
        policy: Log-probs under the model in training, summed over answers, ``[B]``.
        settings: The method's.

    Raises:
        DataError: The log-probs have no shape ``[B]``.
    """
    check_shapes(policy=policy)
    nll_B = -wide(policy.answer_B)
    return loss_out(nll_B, {"nll": nll_B})
