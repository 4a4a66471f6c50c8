"""MinCE: believe the candidate that is least surprised by the text.

Source:   FuseLLM, arXiv:2401.10491, "fusion strategies", MinCE; FuseChat, arXiv:2402.16107.
Differs:  costs are nats per byte over the same bytes in float64; the released code compares nats
          per own token in bfloat16, which favours fine tokenizers and ties below 0.008 nats.

Shapes: K = candidates, P = positions.
"""

import numpy as np

from inarch.fuse._cost import Floats
from inarch.fuse.settings import FuseSettings

TIE = 1e-6
"""Costs this close are one; the first candidate has it. Below the rounding of float32 sums."""


def mince(costs_KP: Floats, settings: FuseSettings) -> Floats:
    """Return the weight of each candidate at each position, one-hot or zero, ``[K, P]``.

    ``k* = argmin_k cost_k``; of candidates within ``TIE`` of the least, the first. All weights of
    a position are zero where no cost is finite or the least is above ``settings.floor``.

    Args:
        costs_KP: Nats per byte (or per token), ``[K, P]``; infinite where not comparable.
        settings: ``floor`` is read.
    """
    least_P = costs_KP.min(axis=0)
    winner_P = np.argmax(costs_KP <= least_P + TIE, axis=0)
    limit = np.inf if settings.floor is None else settings.floor
    believed_P = np.isfinite(least_P) & (least_P <= limit)
    return (np.arange(len(costs_KP))[:, None] == winner_P) * believed_P.astype(np.float64)
