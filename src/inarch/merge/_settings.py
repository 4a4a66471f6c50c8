"""Parameters that have one value per model, and what a method asks of a stack."""

from math import fsum

from pydantic import FiniteFloat

from inarch.errors import SettingsError
from inarch.merge._stack import Stack

PerModel = tuple[FiniteFloat, ...]
"""One value per model, in the user's order; a tuple of one value stands for all models."""

LEAST_SUM = 1e-9
"""Weights whose sum is below this share of their absolute sum cancel each other."""


def per_model(values: PerModel, num_models: int, name: str) -> PerModel:
    """Return one value for each model.

    Args:
        values: As in the settings.
        num_models: Models of the stack, without the base.
        name: The parameter, for the error.

    Raises:
        SettingsError: There are neither `num_models` values nor one.
    """
    if len(values) == num_models:
        return values
    if len(values) == 1:
        return values * num_models
    raise SettingsError(
        f"{name} has {len(values)} values for {num_models} models; "
        "give one for each model, or one for all"
    )


def of_sum_one(weights: PerModel) -> PerModel:
    """Return the weights divided by their sum.

    Raises:
        SettingsError: They sum to zero.
    """
    whole = fsum(weights)
    if abs(whole) <= LEAST_SUM * fsum(map(abs, weights)):
        raise SettingsError(
            f"the weights {', '.join(map(str, weights))} sum to zero and cannot be "
            "normalised; change a weight, or do not normalise where the method lets you choose"
        )
    return tuple(weight / whole for weight in weights)


def require(stack: Stack, method: str, *, base: bool, models: int | None = None) -> None:
    """Check what a method asks of a stack.

    Args:
        stack: The tensor.
        method: Its name, for the errors.
        base: Whether it needs a base model.
        models: How many models it takes besides; None for any number.

    Raises:
        SettingsError: There is no base, or another number of models.
    """
    if base and not stack.has_base:
        raise SettingsError(f"{method} needs a base model; give base_model")
    if models is not None and stack.num_models != models:
        beside = " beside base_model" if base else ""
        raise SettingsError(f"{method} takes {models} model(s){beside}, not {stack.num_models}")
