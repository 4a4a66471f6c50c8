"""NuSLERP: SLERP between two weighted models, or between their changes against a base.

Source:   mergekit, "nuslerp".
Differs:  weights that sum to zero are refused; mergekit then goes half way. The arc is taken
          however small its angle is.

Shapes: N = elements of a part, V = vectors between which an arc is taken, I = elements of one.
"""

from typing import Any, Self

from pydantic import model_validator

from inarch.merge._gram import DELTAS, row_products, total, whole_gram
from inarch.merge._settings import PerModel, of_sum_one, per_model, require
from inarch.merge._sphere import arc_weights
from inarch.merge._stack import Array, Part, Rule, Stack, namespace, row_length
from inarch.merge._sums import weighted
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class NuslerpSettings(Settings):
    """How much of each model, and what is one vector."""

    weight: PerModel
    """Of the two models: the second one's share is how far to go."""
    nuslerp_flatten: bool = True
    """The whole tensor is one vector."""
    nuslerp_row_wise: bool = False
    """Without ``nuslerp_flatten``: each vector runs along the first dimension of the stored tensor,
    one per column; otherwise along the last one, one per row."""

    @model_validator(mode="after")
    def _row_wise_needs_vectors(self) -> Self:
        if self.nuslerp_row_wise and self.nuslerp_flatten:
            raise ValueError("nuslerp_row_wise has no effect with nuslerp_flatten: true")
        return self


def nuslerp(stack: Stack, settings: NuslerpSettings) -> Rule:
    """Return the rule of SLERP from the first model to the second, by ``t = w_2 / (w_1 + w_2)``.

    With a base the arc runs between the changes, and the base is added. Vectors and scalars are one
    vector whatever the settings. Where the whole tensor is one, the factors on the models are the
    coefficients of the rule.

    Raises:
        SettingsError: There are not two models, or their weights sum to zero.
    """
    require(stack, "nuslerp", base=False, models=2)
    _, t = of_sum_one(per_model(settings.weight, 2, "weight"))
    if settings.nuslerp_flatten or len(stack.shape) < 2:
        return _whole(stack, t)
    return _by_column(stack, t) if settings.nuslerp_row_wise else _by_row(stack.shape[-1], t)


def _whole(stack: Stack, t: float) -> WeightedRule:
    products = whole_gram(stack, DELTAS)
    first, second = map(float, arc_weights(products[[0, 0, 1], [0, 1, 1]], t))
    factors = (first, second)
    return WeightedRule(lambda part: weighted(part, factors), factors)


def _by_row(length: int, t: float) -> Rule:
    """Return the rule for vectors along the last dimension, which parts hold whole."""

    def rule(part: Part) -> Array:
        pair_2N = _vectors(part)
        weights_2V = arc_weights(row_products(pair_2N, length), t)
        pair_2VI = pair_2N.reshape(2, -1, length)
        return _mix(part, pair_2VI, [weight_V[:, None] for weight_V in weights_2V])

    return rule


def _by_column(stack: Stack, t: float) -> Rule:
    """Return the rule for vectors along the first dimension, which runs through all parts."""
    num_columns = row_length(stack.shape)

    def measure(part: Part) -> Array:
        pair_2VI = _vectors(part).reshape(2, -1, num_columns)
        xp = namespace(pair_2VI)
        one, two = xp.asarray(pair_2VI, dtype=xp.float64)
        return xp.stack([(one * one).sum(0), (one * two).sum(0), (two * two).sum(0)])

    weights_2V = arc_weights(total(stack, measure), t)
    return lambda part: _mix(part, _vectors(part).reshape(2, -1, num_columns), weights_2V)


def _vectors(part: Part) -> Array:
    """Return the models, or their changes, ``[2, N]``."""
    return part.models_KN if part.base_N is None else part.deltas()


def _mix(part: Part, pair_2VI: Array, weights: Any) -> Array:
    """Return the weighted sum of two models, or of their changes on the base, ``[N]``."""
    xp = namespace(pair_2VI)
    one, two = (xp.asarray(weight, dtype=xp.float32) for weight in weights)
    mixed_N = (pair_2VI[0] * one + pair_2VI[1] * two).reshape(-1)
    return mixed_N if part.base_N is None else part.base_N + mixed_N
