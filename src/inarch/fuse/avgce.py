"""AvgCE: mix the candidates, the less surprised the heavier.

Source:   FuseLLM, arXiv:2401.10491, "fusion strategies", AvgCE.
Differs:  weights are softmax(-cost / spread) of nats per byte. The released code takes the softmax
          of inverse perplexities, softmax(exp(-cost)), which is almost uniform: costs 1, 2, 3 get
          .397, .314, .289; it is here as ``weighting: released``.

Shapes: K = candidates, P = positions.
"""

import numpy as np

from inarch.fuse._cost import Floats
from inarch.fuse.settings import FuseSettings


def avgce(costs_KP: Floats, settings: FuseSettings) -> Floats:
    """Return the weight of each candidate at each position, ``[K, P]``; columns sum to 1 or 0.

    A candidate that is not comparable, or above ``settings.floor``, weighs nothing.

    Args:
        costs_KP: Nats per byte (or per token), ``[K, P]``; infinite where not comparable.
        settings: ``weighting``, ``spread`` and ``floor`` are read.
    """
    limit = np.inf if settings.floor is None else settings.floor
    believed_KP = np.isfinite(costs_KP) & (costs_KP <= limit)
    safe_KP = np.where(believed_KP, costs_KP, 0.0)
    scores_KP = np.exp(-safe_KP) if settings.weighting == "released" else -safe_KP / settings.spread
    scores_KP = np.where(believed_KP, scores_KP, -np.inf)
    top_P = np.where(believed_KP.any(axis=0), scores_KP.max(axis=0), 0.0)
    weights_KP = np.exp(scores_KP - top_P)
    return weights_KP / np.maximum(weights_KP.sum(axis=0), 1e-300)
