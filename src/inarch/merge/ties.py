"""TIES: trim each model's small changes, elect a sign, merge those that agree.

Source:   TIES-Merging, arXiv:2306.01708, algorithm 1.
Differs:  with a weight and a density per model, as in mergekit; the paper has one density, and
          weights of 1. At least one change is kept of each model with a density above 0.
"""

import math

from inarch.merge._combine import combine_bands, within_bands
from inarch.merge._settings import per_model, require
from inarch.merge._sparse import BandSettings, bands, elected, norm_scales
from inarch.merge._stack import Rule, Stack


class TiesSettings(BandSettings):
    """How much of each model's change is kept, and how it counts."""

    normalize: bool = True
    """Divide each element by the sum of the weights that agree."""


def ties(stack: Stack, settings: TiesSettings) -> Rule:
    """Return the rule ``base + lambda c``.

    Of the changes ``d_k = theta_k - base`` the ``int(density_k n)`` largest of a tensor's n stay.
    Of each element the sign of ``sum_k w_k d_k`` is elected, plus where that is 0, and c is the sum
    of the ``w_k d_k`` of that sign, divided by the sum of their ``w_k`` if ``normalize`` (not where
    that is 0).

    Raises:
        SettingsError: There is no base, or weights or densities do not fit the models.
    """
    require(stack, "ties", base=True)
    how = elected(stack, settings)
    densities = per_model(settings.density, stack.num_models, "density")
    size = math.prod(stack.shape)
    keep = [max(int(density * size), min(1, math.ceil(density))) for density in densities]
    kept = bands(stack, keep, skip=[0] * len(keep))
    scales = (1.0,) * len(keep)
    if settings.rescale:
        scales = norm_scales(stack, lambda part: within_bands(part, kept, scales))
    return lambda part: combine_bands(part, kept, scales, how)
