"""Rows of preferences no longer than the model has positions."""

from inarch.align._rows import PreferenceSettings
from inarch.errors import DataError
from inarch.flows._align.settings import AlignRun
from inarch.flows._corpus import positions_of
from inarch.settings import validate


def fitted(settings: AlignRun) -> AlignRun:
    """Return settings whose default of ``max_tokens`` gives way to the positions of the model.

    Raises:
        DataError: ``max_tokens`` is set, and to more than that.
        SettingsError: ``max_prompt_tokens`` is set, and leaves no room for an answer.
        WeightsError: There is no such model.
    """
    limit = positions_of(settings.model)
    if limit is None:
        return settings
    found: dict[str, PreferenceSettings] = {}
    for section in ("data", "held_out"):
        source: PreferenceSettings | None = getattr(settings, section)
        if source is None or source.max_tokens <= limit:
            continue
        if "max_tokens" in source.model_fields_set:
            raise DataError(
                f"found {section}.max_tokens {source.max_tokens}, but {settings.model.label} has"
                f" {limit} positions; set {section}.max_tokens to at most {limit}"
            )
        given = source.model_dump(mode="json", exclude_unset=True)
        found[section] = validate(PreferenceSettings, given | {"max_tokens": limit}, section)
    return settings.model_copy(update=found)
