r"""Chunk: the likelihood of the same bytes under both models; no vocabulary is matched.

Source:   Approximate Likelihood Matching, arXiv:2503.20083: chunks of bytes between the token
          boundaries that two tokenizations share, binarised f-divergence of their likelihoods.
Differs:  the divergence is KL of the two outcomes "this chunk" and "anything else" at temperature
          1; a chunk weighs as many tokens as the target spends on it, so that the mean over tokens
          is comparable with the other objectives.

Shapes: N = positions, J = chunks.
"""

import torch
from torch import Tensor

_CERTAIN = -1e-6
"""Likelihoods are taken to be below 1 by this much, in nats, so that log(1 - q) stays finite."""


def chunk(label_logps_N: Tensor, chunk_N: Tensor, chunk_logps_J: Tensor) -> Tensor:
    r"""Return the divergence at each position, its chunk's shared evenly over it, ``[N]``.

    With p and q the teacher's and the target's probability of a chunk,

    .. math:: - p \log q - (1 - p) \log (1 - q)

    per token of the chunk; 0 at positions of no chunk.

    Args:
        label_logps_N: The target's log-probs of the actual next tokens, ``[N]``.
        chunk_N: Number of the chunk of each position, -1 where there is none, ``[N]``.
        chunk_logps_J: The teacher's log-prob of each chunk, ``[J]``.
    """
    inside_N = chunk_N >= 0
    if not inside_N.any():
        return torch.zeros_like(label_logps_N)
    index_N = chunk_N.clamp(min=0)
    logps_J = torch.zeros_like(chunk_logps_J).index_add(
        0, index_N, label_logps_N.masked_fill(~inside_N, 0.0)
    )
    q_J = logps_J.clamp(max=_CERTAIN)
    p_J = chunk_logps_J.exp()
    divergence_J = -p_J * q_J - (1.0 - p_J) * torch.log(-torch.expm1(q_J))
    return divergence_J[index_N].masked_fill(~inside_N, 0.0)
