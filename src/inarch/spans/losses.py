"""What training makes small, from the log-probabilities of every token's tags.

    ce      -log p(y_t)
    focal   -(1 - p(y_t))^2 log p(y_t)
    dice    1 - mean over tags k of 2 sum_t p_t[k] y_t[k] / (sum_t p_t[k] + sum_t y_t[k])

p are probabilities of a softmax or marginals of a chain; the chain's own loss is `Crf.nll`.

Source:   2021.semeval-1.112, whose released code has dice and focal loss and trains with ce.
Differs:  there, dice takes a sigmoid of each of the two scores of a softmax.
Shapes:   N = tokens, K = tags.
"""

from typing import Literal

import torch
from torch import Tensor

Loss = Literal["ce", "crf", "dice", "focal"]
_GAMMA = 2.0


def token_loss(name: Loss, logps_NK: Tensor, tags_N: Tensor) -> Tensor:
    """Return the sum of a loss over tokens, shape ``[]``; dice's value counts once per token.

    Args:
        name: ce, dice or focal.
        logps_NK: Log-probabilities of the tags of real tokens.
        tags_N: The right tags.
    """
    if name == "dice":
        return len(tags_N) * _dice(logps_NK.exp(), tags_N)
    logps_N = logps_NK.gather(1, tags_N[:, None])[:, 0]
    if name == "focal":
        return -((-logps_N.expm1()).clamp(min=0) ** _GAMMA * logps_N).sum()
    return -logps_N.sum()


def _dice(probs_NK: Tensor, tags_N: Tensor) -> Tensor:
    gold_NK = torch.nn.functional.one_hot(tags_N, probs_NK.shape[1]).to(probs_NK.dtype)
    both_K = (probs_NK * gold_NK).sum(0)
    either_K = probs_NK.sum(0) + gold_NK.sum(0)
    # A tag that neither text nor model has is right; the share of one of both is tiny.
    return 1 - ((2 * both_K + 1e-6) / (either_K + 1e-6)).mean()
