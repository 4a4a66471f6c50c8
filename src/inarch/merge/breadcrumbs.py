"""Model Breadcrumbs: add up changes without the smallest and the very largest.

Source:   Model Breadcrumbs, arXiv:2312.06795.
Differs:  told by the share that is kept and the share of the largest that is dropped, as in
          mergekit; the paper gives two quantiles for each layer. Weights may differ by model.
"""

import math

from inarch.merge._combine import Combination, combine_bands, within_bands
from inarch.merge._settings import per_model, require
from inarch.merge._sparse import BandSettings, Shares, bands, norm_scales, summed
from inarch.merge._stack import Rule, Stack


class BreadcrumbsSettings(BandSettings):
    """Which changes of each model are kept, and how they count."""

    gamma: Shares = (0.01,)
    """Share of each model's changes that is dropped as too large."""


def breadcrumbs(stack: Stack, settings: BreadcrumbsSettings) -> Rule:
    """Return the rule ``base + lambda sum_k w_k d'_k``, w divided by its sum if ``normalize``.

    Of the changes ``d_k = theta_k - base`` of a tensor's n elements, the ``int(gamma_k n)`` largest
    are dropped, or as many as are left, and of the others the ``int(density_k n)`` largest are
    kept, which makes ``d'_k``.

    Raises:
        SettingsError: There is no base; weights, densities or gammas do not fit the models; or
            weights that are to be normalised sum to zero.
    """
    require(stack, "breadcrumbs", base=True)
    return crumbs(stack, settings, summed(stack, settings))


def crumbs(stack: Stack, settings: BreadcrumbsSettings, how: Combination) -> Rule:
    """Return the rule that combines the changes which both breadcrumbs keep."""
    densities = per_model(settings.density, stack.num_models, "density")
    gammas = per_model(settings.gamma, stack.num_models, "gamma")
    size = math.prod(stack.shape)
    keep = [int(density * size) for density in densities]
    skip = [min(int(g * size), size - num) for g, num in zip(gammas, keep, strict=True)]
    kept = bands(stack, keep, skip)
    scales = (1.0,) * len(keep)
    if settings.rescale:
        scales = norm_scales(stack, lambda part: within_bands(part, kept, scales))
    return lambda part: combine_bands(part, kept, scales, how)
