"""Parameters that have one value per model."""

from inarch.errors import SettingsError

PerModel = tuple[float, ...]
"""One value per model, in the user's order; a tuple of one value stands for all models."""


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
