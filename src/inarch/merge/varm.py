"""VaRM: weigh each model by how much it has changed.

Source:   FuseChat, arXiv:2402.16107, equation 7; its ablation for the units other than ``matrix``.
Differs:  a model without any change has weight 0, as the formula says; the released code then
          weighs all alike. That code also compares the models with each other where the formula
          compares with the base.

Shapes: K = models, N = elements of a part.
"""

from typing import Literal, Self

from pydantic import model_validator

from inarch.errors import SettingsError
from inarch.merge._settings import PerModel, per_model, require
from inarch.merge._stack import Array, Part, Rule, Stack, namespace
from inarch.merge._sums import weighted_move
from inarch.merge._weighted import WeightedRule, add_parts, shares, sums_of_squares
from inarch.settings import Settings


class VarmSettings(Settings):
    """What shares one coefficient."""

    unit: Literal["model", "layer", "matrix", "element"] = "matrix"
    """What has one coefficient per model: all tensors, those of a layer, a tensor, an element."""
    coefficients: PerModel | None = None
    """The weight of each model, for the units ``model`` and ``layer``, which no single tensor
    knows: the ``shares`` of the ``squared_change`` of all tensors of the unit. A merge of
    checkpoints finds them itself."""

    @model_validator(mode="after")
    def _only_wide_units_take_coefficients(self) -> Self:
        if self.coefficients is not None and self.unit in ("matrix", "element"):
            raise ValueError(
                f"coefficients have no effect with unit: {self.unit}, which computes its own"
            )
        return self


def varm(stack: Stack, settings: VarmSettings) -> Rule:
    """Return the rule ``base + sum_k W_k d_k`` with ``d_k = theta_k - base``.

    ``W_k = mean(d_k^2) / sum_j mean(d_j^2)`` over the unit; where nothing changed, the base stays.
    The coefficients of the rule are the ``W_k``; those of the unit ``element`` are not kept.

    Raises:
        SettingsError: There is no base, or the unit is ``model`` or ``layer`` and no coefficients
            are given.
    """
    require(stack, "varm", base=True)
    if settings.unit == "element":
        return _by_element
    if settings.unit == "matrix":
        weights = shares(squared_change(stack))
    elif settings.coefficients is None:
        raise SettingsError(
            f"varm with unit: {settings.unit} found no coefficients, which no single tensor knows; "
            "give coefficients: the shares of squared_change, added up over the unit's tensors"
        )
    else:
        weights = per_model(settings.coefficients, stack.num_models, "coefficients")

    return WeightedRule(lambda part: weighted_move(part.base_N, part.models_KN, weights), weights)


def squared_change(stack: Stack) -> tuple[float, ...]:
    """Return ``sum (theta_k - base)^2`` over the tensor for each model, ``[K]``, in float64."""
    return add_parts(stack.map(lambda part: sums_of_squares(part.deltas())), stack.num_models)


def _by_element(part: Part) -> Array:
    """Return the base plus ``sum d_k^3 / sum d_k^2`` of each element."""
    deltas_KN = part.deltas()
    whole_N = sum(delta_N * delta_N for delta_N in deltas_KN)
    whole_N = namespace(whole_N).where(whole_N == 0, 1.0, whole_N)
    return part.base_N + sum(delta_N * (delta_N * delta_N / whole_N) for delta_N in deltas_KN)
