"""What a search for the best merge is told, and what is wrong with that."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from inarch.errors import SettingsError
from inarch.flows._search.judge import ScoreSettings
from inarch.flows._search.space import Space, Values, Variable, fill, find_mismatches
from inarch.merge import METHODS, MergeConfig
from inarch.merge._config import ModelRef
from inarch.merge._outline import find_problems, refs_of
from inarch.settings import KeyPath, Settings, load, validate


class Budget(Settings):
    """When a search ends. A bare number is that of trials."""

    short = "trials"

    trials: int = Field(30, ge=2)
    """Merges that are tried, the plain mean of the inputs among them."""
    minutes: PositiveFloat | None = None
    """No trial begins after so many minutes of trials, over all runs of this search."""


class SearchRun(Settings):
    """A search for the best merge."""

    merge: dict[str, Any]
    """A recipe of `inarch merge` in which ``$name`` stands for what is searched."""
    search: dict[str, Variable] = Field(min_length=1)
    """What each name may stand for."""
    score: ScoreSettings
    """How merges are compared."""
    budget: Budget = Budget()
    """When the search ends. With a larger one, it goes on."""
    strategy: Literal["model", "random"] = "model"
    """``model``: after a few trials, try what a model of the score expects most of. ``random``:
    spread trials evenly."""
    seed: NonNegativeInt = 0
    """For the trials, and for which rows are held out."""
    device: Literal["auto", "cpu"] = "auto"
    """Where models are scored; ``auto`` takes an accelerator where there is one."""
    threads: NonNegativeInt = 0
    """For merging; 0: one per core."""


def load_search(path: str | Path, overrides: Sequence[str] = ()) -> SearchRun:
    """Return the settings of a search.

    Raises:
        SettingsError: They do not fit each other, or a trial would be no recipe. All reasons are
            listed, each with its line.
    """
    return load(SearchRun, path, overrides, anchors=True, check=lambda s: list(problems_of(s)))


def trial_config(settings: SearchRun, values: Mapping[str, Any]) -> MergeConfig:
    """Return the recipe of a trial."""
    named = ", ".join(f"{name} = {value}" for name, value in values.items())
    return validate(MergeConfig, fill(settings.merge, values), f"with {named}")


def samples(settings: SearchRun) -> Iterator[Values]:
    """Return values with which every choice has been made once."""
    space = Space(settings.search)
    middle = space.values(space.center())
    yield middle
    for name, variable in settings.search.items():
        yield from (middle | {name: choice} for choice in (variable.choices or ())[1:])


def problems_of(settings: SearchRun) -> Iterator[tuple[KeyPath, str]]:
    """Return what is wrong with a search, whatever the models are."""
    mismatches = list(find_mismatches(settings.merge, settings.search))
    yield from mismatches
    for values in () if mismatches else samples(settings):
        try:
            problems = find_problems(trial_config(settings, values), METHODS)
        except SettingsError as error:
            yield ("merge",), str(error)
            return
        yield from ((("merge", *path), problem) for path, problem in problems)
        if problems:
            return


def all_refs(settings: SearchRun) -> dict[str, ModelRef]:
    """Return all models that any trial may use, by their labels."""
    refs: dict[str, ModelRef] = {}
    for values in samples(settings):
        refs |= refs_of(trial_config(settings, values))
    return refs
