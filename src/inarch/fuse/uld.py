r"""ULD: the distance between two distributions whose ids were never matched.

Source:   Universal Logit Distillation, arXiv:2402.12030, Eq. 3: both probability vectors are
          sorted, then compared place by place.
Differs:  places are compared at positions where both contexts end at the same byte, not at the
          same token index; the teacher's k most probable are known one by one and the rest as one
          mass, so the sum runs over k places and the rest.

Shapes: N = positions, V = width of the head, k = kept candidates.
"""

import torch
from torch import Tensor


def uld(logits_NV: Tensor, logps_Nk: Tensor, tail_N: Tensor) -> Tensor:
    r"""Return the distance at each position, in [0, 2], ``[N]``.

    .. math:: \sum_{i \le k} |p_{(i)} - q_{(i)}| + |p_{tail} - q_{tail}|

    Args:
        logits_NV: The target's logits, ``[N, V]``.
        logps_Nk: The teacher's log-probs, best first, -inf in empty slots, ``[N, k]``.
        tail_N: Log of the teacher's remaining mass, ``[N]``.
    """
    num_places = min(logps_Nk.shape[1], logits_NV.shape[1])
    probs_NV = logits_NV.float().softmax(dim=-1)
    best_Nk = probs_NV.topk(num_places, dim=-1).values
    teacher_Nk = logps_Nk.exp()
    missing_N = teacher_Nk[:, num_places:].sum(dim=-1)
    by_place_N = (teacher_Nk[:, :num_places] - best_Nk).abs().sum(dim=-1)
    rest_N = torch.exp(tail_N) - (1.0 - best_Nk.sum(dim=-1))
    return by_place_N + missing_N + rest_N.abs()
