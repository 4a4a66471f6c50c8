"""DARE: drop changes at random, rescale the others, add up.

Source:   Language Models are Super Mario, arXiv:2311.03099, equations 2 and 3.
Differs:  nothing. mergekit 0.1.5 divides by the share of the summed magnitude that was kept and not
          by the probability to be kept; the two differ by the luck of the draw.
"""

from inarch.merge._combine import Combination, Draw, combine_drawn
from inarch.merge._random import key, limit
from inarch.merge._settings import per_model, require
from inarch.merge._sparse import DrawSettings, summed
from inarch.merge._stack import Rule, Stack


class DareLinearSettings(DrawSettings):
    """How much of each model's change is kept, and how it counts."""


def dare_linear(stack: Stack, settings: DareLinearSettings) -> Rule:
    """Return the rule ``base + lambda sum_k w_k d'_k``, w divided by its sum if ``normalize``.

    Each change ``d_k = theta_k - base`` is kept with probability ``density_k``, on its own, and
    then divided by it if ``rescale``, which makes ``d'_k``; the others become 0.

    Raises:
        SettingsError: There is no base, weights or densities do not fit the models, or weights that
            are to be normalised sum to zero.
    """
    require(stack, "dare_linear", base=True)
    return dare(stack, settings, summed(stack, settings))


def dare(stack: Stack, settings: DrawSettings, how: Combination) -> Rule:
    """Return the rule that combines the changes which both DAREs keep."""
    densities = per_model(settings.density, stack.num_models, "density")
    draws = [
        Draw(key(settings.seed, stack.name, model), limit(density))
        for model, density in enumerate(densities)
    ]
    scales = tuple(
        1 / density if settings.rescale and density > 0 else 1.0 for density in densities
    )
    return lambda part: combine_drawn(part, draws, scales, how)
