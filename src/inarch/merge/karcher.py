"""Karcher mean: the point on the sphere whose arcs to all models balance.

Source:   Karcher, Riemannian center of mass and mollifier smoothing, 1977; for models
          arXiv:2603.04972.

Shapes: K = models.
"""

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeInt

from inarch.merge._gram import MODELS, Matrix, whole_gram
from inarch.merge._sphere import cosines, direction, per_length, step
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted_sum
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class KarcherSettings(Settings):
    """When the iteration ends."""

    max_iter: NonNegativeInt = 10
    """Most steps; with none, the result has the direction of the mean of the directions."""
    tol: FiniteFloat = Field(default=1e-5, ge=0.0)
    """A step shorter than this, in radians, is not made."""


def karcher(stack: Stack, settings: KarcherSettings) -> WeightedRule:
    """Return the rule ``r u``: the mean length r times the mean direction u.

    Any base is left aside. u starts at the direction of the mean of ``theta_k / |theta_k|``, or at
    the first model's where they cancel out, and follows ``u <- exp_u(mean_k log_u(theta_k /
    |theta_k|))``. A model without length has no say in u, and counts in r.

    All points lie in the span of the models: the iteration runs on K weights, not on tensors. They
    are the coefficients of the rule.
    """
    factors = tuple(map(float, _factors(whole_gram(stack, MODELS), settings)))
    return WeightedRule(lambda part: weighted_sum(part.models_KN, factors), factors)


def _factors(products_KK: Matrix, settings: KarcherSettings) -> Matrix:
    """Return what each model is multiplied by, ``[K]``."""
    lengths_K = np.sqrt(np.diag(products_KK))
    directed_K = lengths_K > 0
    shares_K = directed_K / max(directed_K.sum(), 1)
    cosines_KK = cosines(products_KK, lengths_K)
    point_K = direction(shares_K, cosines_KK)
    if point_K is None:
        point_K = np.eye(len(lengths_K))[directed_K.argmax()]
    for _ in range(settings.max_iter):
        moved_K, length = step(point_K, shares_K, cosines_KK)
        if length < settings.tol:
            break
        point_K = moved_K
    return per_length(point_K, lengths_K) * lengths_K.mean()
