"""Task arithmetic: add the weighted changes of all models to the base.

Source:   Editing Models with Task Arithmetic, arXiv:2212.04089.
Differs:  weights that are to be normalised and sum to zero are refused; mergekit then takes them as
          they are.
"""

from pydantic import Field, FiniteFloat

from inarch.merge._settings import PerModel, of_sum_one, per_model, require
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted_move
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class TaskArithmeticSettings(Settings):
    """How much of each change."""

    weight: PerModel
    """Of each model's change; may be negative."""
    lambda_: FiniteFloat = Field(default=1.0, alias="lambda")
    """Factor on the sum of the changes."""
    normalize: bool = False
    """Divide the weights by their sum."""
    int8_mask: bool = False
    """Accepted, as recipes for mergekit have it; it changes nothing."""


def task_arithmetic(stack: Stack, settings: TaskArithmeticSettings) -> WeightedRule:
    """Return the rule ``base + lambda sum_k w_k (theta_k - base)``.

    w is divided by its sum if ``normalize``. The coefficients of the rule are ``lambda w``.

    Raises:
        SettingsError: There is no base, the number of weights is not that of the models, or weights
            that are to be normalised sum to zero.
    """
    require(stack, "task_arithmetic", base=True)
    weights = per_model(settings.weight, stack.num_models, "weight")
    if settings.normalize:
        weights = of_sum_one(weights)
    factors = tuple(settings.lambda_ * weight for weight in weights)
    return WeightedRule(lambda part: weighted_move(part.base_N, part.models_KN, factors), factors)
