"""Passthrough: one model's tensor as it is, or scaled.

Source:   mergekit, "passthrough"; layers of several models put together make a "frankenmerge".
"""

from inarch.merge._settings import PerModel, per_model, require
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted_sum
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class PassthroughSettings(Settings):
    """Whether the tensor is scaled."""

    scale: PerModel = (1.0,)
    """Factor on the tensor."""


def passthrough(stack: Stack, settings: PassthroughSettings) -> WeightedRule:
    """Return the rule ``scale theta``; with scale 1 every bit stays. Any base is left aside.

    The coefficient of the rule is the scale.

    Raises:
        SettingsError: There is not exactly one model.
    """
    require(stack, "passthrough", base=False, models=1)
    scale = per_model(settings.scale, 1, "scale")
    return WeightedRule(lambda part: weighted_sum(part.models_KN, scale), scale)
