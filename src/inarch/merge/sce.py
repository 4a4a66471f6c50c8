"""SCE: select what varies between the models, weigh by change, erase the weaker sign.

Source:   FuseChat, arXiv:2408.07990, algorithm 1, equations 5-9.
Differs:  three variants, because the published formula, the code it was published with and mergekit
          disagree; ``paper`` is the formula. The share tau is of the elements in which the models
          differ at all, as in both codes; where they differ in none, nothing is deselected.

Shapes: K = models, N = elements of a part.
"""

import math
from typing import Literal

import numpy as np

from inarch.merge import _loops
from inarch.merge._combine import Combination, combine
from inarch.merge._select import KEEP_ALL, Cut, cuts
from inarch.merge._settings import require
from inarch.merge._stack import Array, Part, Stack, namespace
from inarch.merge._weighted import WeightedRule, add_parts, shares, sums_of_squares
from inarch.settings import Settings, UnitFloat

LEAST_CHANGE = 1e-6
"""In mergekit: summed mean squares below this give uniform coefficients, and coefficients that
agree count as at least this when divided by."""


class SceSettings(Settings):
    """How many elements are selected, and whose SCE this is."""

    select_topk: UnitFloat = 1.0
    """Share of the elements in which the models differ that is kept: the most varying ones."""
    variant: Literal["paper", "fuseai", "mergekit"] = "paper"
    """The formula of the paper, the code released with it, or mergekit's."""
    normalize: bool | None = None
    """Divide by the coefficients of the models that agree; by default as the variant does:
    ``paper`` does not, the other two do."""
    int8_mask: bool = False
    """Accepted, as recipes for mergekit have it; it changes nothing."""


def sce(stack: Stack, settings: SceSettings) -> WeightedRule:
    r"""Return the rule ``base + sum_k eta_k d'_k``.

    Select: of each element the variance of the changes ``d_k = theta_k - base`` over the models;
    outside the ``int(tau n)`` most varying ones all changes become 0, where n counts the elements
    with a variance of at least 2^-133. Calculate: ``eta_k = sum d_k^2 / sum_j sum d_j^2`` over the
    tensor. Erase: of each element only changes with the sign of ``sum_k d_k`` stay (plus where the
    sum is 0), which makes ``d'_k``.

    ``fuseai`` selects for ``eta`` alone and divides by the ``eta`` that agree. ``mergekit`` divides
    too; it returns the base where nothing varies and tau < 1, as with a single model, and weighs
    all models alike where their mean squares add up to less than 1e-6.

    The coefficients of the rule are the ``eta``.

    Raises:
        SettingsError: There is no base.
    """
    require(stack, "sce", base=True)
    cut = _cut(stack, settings)
    eta = _coefficients(stack, settings, cut)
    how = Combination(
        weights=eta,
        votes="plain",
        normalize=settings.variant != "paper" if settings.normalize is None else settings.normalize,
        least=LEAST_CHANGE if settings.variant == "mergekit" else 0.0,
    )
    final_cut = KEEP_ALL if settings.variant == "fuseai" else cut

    def rule(part: Part) -> Array:
        return combine(_selected(part, final_cut), part.base_N, how)

    return WeightedRule(rule, eta)


def _cut(stack: Stack, settings: SceSettings) -> Cut:
    """Return what the share tau keeps of the variances."""
    if settings.select_topk == 1.0:
        return KEEP_ALL

    def count(varying: list[int]) -> list[list[int]]:
        if varying == [0] and settings.variant != "mergekit":
            return [[math.prod(stack.shape)]]
        # in float32, as mergekit multiplies: 0.29 of 100 is 29, and not 28.999
        return [[int(np.float32(settings.select_topk) * np.float32(varying[0]))]]

    ((cut,),) = cuts(stack, lambda part: spread(part.models_KN)[None], count, num_rows=1)
    return cut


def _coefficients(stack: Stack, settings: SceSettings, cut: Cut) -> tuple[float, ...]:
    """Return the share of each model in the summed squares of the selected changes."""
    sums = stack.map(lambda part: sums_of_squares(_selected(part, cut)))
    squares = add_parts(sums, stack.num_models)
    least = LEAST_CHANGE * math.prod(stack.shape) if settings.variant == "mergekit" else 0.0
    return shares(squares, least)


def _selected(part: Part, cut: Cut) -> Array:
    """Return the changes, zero where the cut does not keep the variance, ``[K, N]``."""
    if cut == KEEP_ALL:
        return part.deltas()
    floor = cut.floor(part.start)
    is_numpy = isinstance(part.models_KN, np.ndarray)
    if floor is not None and is_numpy and _loops.varying is not None:
        _loops.varying(part.models_KN, part.base_N, np.uint32(floor))
        return part.models_KN
    keep_N = cut.keep(spread(part.models_KN), part.start)
    deltas_KN = part.deltas()
    deltas_KN *= keep_N
    return deltas_KN


def spread(models_KN: Array) -> Array:
    """Return, of each element, the summed squared distance to the models' mean, ``[N]``.

    That is K times the variance of the models, or of their changes. Distances are taken from the
    first model, so that models that agree have exactly 0.
    """
    if isinstance(models_KN, np.ndarray) and _loops.spread is not None:
        spread_N = np.empty(models_KN.shape[1], np.float32)
        _loops.spread(models_KN, spread_N)
        return spread_N
    return _spread_plain(models_KN)


def _spread_plain(models_KN: Array) -> Array:
    first_N = models_KN[0]
    mean_N = namespace(first_N).zeros_like(first_N)
    for model_N in models_KN[1:]:
        mean_N += model_N - first_N
    mean_N /= len(models_KN)
    spread_N = mean_N * mean_N
    for model_N in models_KN[1:]:
        distance_N = (model_N - first_N) - mean_N
        spread_N += distance_N * distance_N
    return spread_N
