"""Linear: the weighted mean of the models.

Source:   Model Soups, arXiv:2203.05482.
Differs:  weights that sum to zero are refused, where dividing by them gives infinities.
"""

from inarch.merge._settings import PerModel, of_sum_one, per_model
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted_sum
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class LinearSettings(Settings):
    """How much of each model."""

    weight: PerModel
    """Of each model; may be negative."""
    normalize: bool = True
    """Divide the weights by their sum."""


def linear(stack: Stack, settings: LinearSettings) -> WeightedRule:
    """Return the rule ``sum_k w_k theta_k``, with ``w / sum(w)`` for w if ``normalize``.

    Any base is left aside. The coefficients of the rule are the w.

    Raises:
        SettingsError: The number of weights is not that of the models, or weights that are to be
            normalised sum to zero.
    """
    weights = per_model(settings.weight, stack.num_models, "weight")
    if settings.normalize:
        weights = of_sum_one(weights)
    return WeightedRule(lambda part: weighted_sum(part.models_KN, weights), weights)
