"""Model Stock: go from the base towards the mean of the models as far as their changes agree.

Source:   Model Stock, arXiv:2403.19522, the ratio for N models.

Shapes: K = models, N = elements of a part, V = rows of a part, I = elements of a row, P = pairs of
models, each with itself and those behind it.
"""

import numpy as np

from inarch.errors import SettingsError
from inarch.merge._gram import DELTAS, row_products, whole_gram
from inarch.merge._settings import require
from inarch.merge._sphere import cosines
from inarch.merge._stack import Array, Part, Rule, Stack, namespace
from inarch.merge._sums import weighted_move
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings

LEAST_SPREAD = 1e-6
"""``1 + (K - 1) cos`` is zero where the changes cancel out; below this, their mean is rounding."""


class ModelStockSettings(Settings):
    """What has a ratio of its own."""

    filter_wise: bool = False
    """Each row of a matrix, instead of each tensor."""


def model_stock(stack: Stack, settings: ModelStockSettings) -> Rule:
    """Return the rule ``base + t mean_k(theta_k - base)``, ``t = K cos / (1 + (K - 1) cos)``.

    cos is the mean cosine between the changes of two models; that of a model without change is 0.
    t is 1 where all changes agree, 0 where they are orthogonal, and negative where they point
    apart; 0 also where they cancel out. Vectors and scalars have one ratio in any case. The
    coefficients of the rule are ``t / K``, where the tensor has one t.

    Raises:
        SettingsError: There is no base, or fewer than two models.
    """
    require(stack, "model_stock", base=True)
    num = stack.num_models
    if num < 2:
        raise SettingsError("model_stock compares the changes of two models or more, not of 1")
    if settings.filter_wise and len(stack.shape) > 1:
        return lambda part: _by_row(part, stack.shape[-1])
    products_KK = whole_gram(stack, DELTAS)
    cosines_KK = cosines(products_KK, np.sqrt(np.diag(products_KK)))
    share = float(_ratio(np.asarray(cosines_KK[np.triu_indices(num, 1)].mean()), num)) / num
    factors = (share,) * num
    return WeightedRule(lambda part: weighted_move(part.base_N, part.models_KN, factors), factors)


def _by_row(part: Part, length: int) -> Array:
    """Return the merged stretch with a ratio for each vector along the last dimension."""
    deltas_KN = part.deltas()
    xp, num = namespace(deltas_KN), len(deltas_KN)
    products_PV = row_products(deltas_KN, length)
    one_P, two_P = np.triu_indices(num)
    lengths_KV = xp.sqrt(products_PV[one_P == two_P])
    cos_V = 0.0
    for product_V, one, two in zip(products_PV, one_P, two_P, strict=True):
        if one != two:
            area_V = lengths_KV[one] * lengths_KV[two]
            cos_V = cos_V + product_V / xp.where(area_V > 0, area_V, 1.0)
    share_V = _ratio(cos_V / (num * (num - 1) / 2), num) / num
    sum_VI = deltas_KN.sum(0).reshape(-1, length)
    moved_VI = sum_VI * xp.asarray(share_V, dtype=xp.float32)[:, None]
    return part.base_N + moved_VI.reshape(-1)


def _ratio(cos: Array, num: int) -> Array:
    """Return how far to go for a mean cosine, or an array of them, between `num` changes."""
    xp = namespace(cos)
    spread = 1 + (num - 1) * cos
    apart = spread < LEAST_SPREAD
    return xp.where(apart, 0.0, num * cos / xp.where(apart, 1.0, spread))
