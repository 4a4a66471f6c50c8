"""Multi-SLERP: the weighted mean of any number of models on the sphere, in one step.

Source:   mergekit, "multislerp"; goddard.blog/posts/multislerp-wow-what-a-cool-idea.
Differs:  ``sphere`` measures the way to each model along the arc, so that two models give SLERP;
          mergekit measures it in the tangent plane, where the weighted mean of all ways is zero:
          its result, ``variant: mergekit``, is the straight mean of the directions.

Shapes: K = models.
"""

from typing import Literal

import numpy as np
from pydantic import Field, FiniteFloat

from inarch.merge._gram import DELTAS, Matrix, whole_gram
from inarch.merge._settings import PerModel, of_sum_one, per_model
from inarch.merge._sphere import cosines, direction, per_length, step
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class MultislerpSettings(Settings):
    """How much of each model, and whose formula."""

    weight: PerModel
    """Of each model."""
    normalize_weights: bool = True
    """Divide the weights by their sum."""
    eps: FiniteFloat = Field(default=1e-8, ge=0.0)
    """A model, or a change, that is no longer than this has no direction."""
    variant: Literal["sphere", "mergekit"] = "sphere"
    """Arcs on the sphere, or what mergekit computes."""


def multislerp(stack: Stack, settings: MultislerpSettings) -> WeightedRule:
    """Return the rule ``r u``: a mean length r times a mean direction u.

    ``r = sum_k w_k |theta_k|``. For u start at ``p``, the direction of ``sum_k w_k theta_k /
    |theta_k|``; variant ``mergekit`` stays there, ``sphere`` goes on to ``exp_p(sum_k w_k
    log_p(theta_k / |theta_k|))``, for which the weights are divided by their sum in any case. With
    a base, theta are the changes and the base is added. Models without a direction have no say in
    u; where the directions cancel out, the rule is linear.

    The coefficients of the rule are the factors on the models, or on their changes.

    Raises:
        SettingsError: The number of weights is not that of the models, or weights that are to be
            normalised sum to zero.
    """
    weights = per_model(settings.weight, stack.num_models, "weight")
    if settings.normalize_weights:
        weights = of_sum_one(weights)
    factors_K = _factors(whole_gram(stack, DELTAS), np.array(weights), settings)
    factors = tuple(map(float, factors_K))
    return WeightedRule(lambda part: weighted(part, factors), factors)


def _factors(products_KK: Matrix, weights_K: Matrix, settings: MultislerpSettings) -> Matrix:
    """Return what each vector is multiplied by, ``[K]``."""
    lengths_K = np.sqrt(np.diag(products_KK))
    directed_K = np.where(lengths_K > settings.eps, lengths_K, 0.0)
    shares_K = weights_K * (directed_K > 0)
    if settings.variant == "sphere" and shares_K.sum() != 0:
        shares_K = shares_K / shares_K.sum()
    cosines_KK = cosines(products_KK, directed_K)
    point_K = direction(shares_K, cosines_KK)
    if point_K is None:
        return weights_K
    if settings.variant == "sphere":
        point_K, _ = step(point_K, shares_K, cosines_KK)
    return per_length(point_K, directed_K) * (weights_K * lengths_K).sum()
