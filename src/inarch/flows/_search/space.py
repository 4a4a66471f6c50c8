"""The merges that a search may try: a recipe with ``$names`` in it, and the range of each name.

A trial is a value for each name. For the search it is a point with a number in [0, 1) per
dimension: a number has one dimension, a gradient one per point, and a choice one of which each
option owns an equal stretch.

Shapes: D = dimensions.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from inarch.settings import KeyPath, Settings, nearest

Floats = npt.NDArray[np.float64]
Values = dict[str, Any]
"""What each name stands for: a number, a list of numbers, or one of the choices."""

_NAME = re.compile(r"\$(\w+)")
_DIGITS = 4
"""Of a number: few, so that a recipe that is written down is the trial, exactly."""


class Variable(Settings):
    """What a name may stand for: a number from ``low`` to ``high``, or one of ``choices``."""

    low: FiniteFloat | None = None
    """The smallest number."""
    high: FiniteFloat | None = None
    """The largest number."""
    log: bool = False
    """Numbers are spread evenly over their logarithm."""
    points: PositiveInt = 1
    """More than one: a gradient over the layers, with so many numbers."""
    choices: tuple[Any, ...] | None = Field(None, min_length=2)
    """Instead of a range: words, numbers or lists, two at least."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.choices is not None:
            if {"low", "high", "log", "points"} & self.model_fields_set:
                raise ValueError("choices have no low, high, log or points")
            if len(set(map(json.dumps, self.choices))) < len(self.choices):
                raise ValueError("a choice appears twice")
        elif self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices")
        elif self.low >= self.high:
            raise ValueError(f"low must be below high, found {self.low:g} and {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log, found {self.low:g}")
        return self

    @property
    def num_choices(self) -> int:
        """Return the number of choices; 0 for a number."""
        return len(self.choices or ())

    def value(self, shares: list[float]) -> Any:
        """Return what stands at ``points`` numbers in [0, 1)."""
        if self.choices is not None:
            return self.choices[min(int(shares[0] * len(self.choices)), len(self.choices) - 1)]
        numbers = tuple(map(self._number, shares))
        return numbers if self.points > 1 else numbers[0]

    def shares(self, value: Any) -> list[float]:
        """Return the numbers in [0, 1] at which a value stands; it may come from JSON."""
        if self.choices is not None:
            known = [json.dumps(choice) for choice in self.choices]
            return [(known.index(json.dumps(value)) + 0.5) / len(known)]
        low, high = self._ends()
        numbers = [value] if self.points == 1 else value
        return [((math.log(n) if self.log else n) - low) / (high - low) for n in numbers]

    def _number(self, share: float) -> float:
        low, high = self._ends()
        number = low + share * (high - low)
        rounded = float(f"{math.exp(number) if self.log else number:.{_DIGITS}g}")
        return min(max(rounded, self.low or 0.0), self.high or 0.0)

    def _ends(self) -> tuple[float, float]:
        low, high = self.low or 0.0, self.high or 0.0
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Space:
    """All trials that are possible."""

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        """Take the range of each name."""
        self.variables = variables
        self.num_choices = tuple(v.num_choices for v in variables.values() for _ in range(v.points))
        """Of each dimension; 0 for a number."""
        self.size = math.prod(number or math.inf for number in self.num_choices)
        """Number of different trials."""

    def center(self) -> Floats:
        """Return the point in the middle of all ranges, with the first of all choices, ``[D]``."""
        return np.array([0.5 / (number or 1) for number in self.num_choices])

    def values(self, point_D: Floats) -> Values:
        """Return what the names stand for at a point."""
        rest = iter(point_D.tolist())
        return {
            name: variable.value([next(rest) for _ in range(variable.points)])
            for name, variable in self.variables.items()
        }

    def point(self, values: Mapping[str, Any]) -> Floats:
        """Return the point at which the names stand for some values, ``[D]``."""
        shares = (variable.shares(values[name]) for name, variable in self.variables.items())
        return np.array([share for each in shares for share in each])


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Return a recipe with values in the place of names."""
    if isinstance(template, Mapping):
        return {key: fill(item, values) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [fill(item, values) for item in template]
    name = _name(template)
    return template if name is None else values[name]


def find_mismatches(
    template: Any, variables: Mapping[str, Variable]
) -> Iterator[tuple[KeyPath, str]]:
    """Return names that a recipe uses and nobody explains, and the other way round.

    Returns:
        Key path within a file of ``merge:`` and ``search:``, and what is wrong there.
    """
    used = dict(_names(template, ("merge",)))
    for path, name in used.items():
        if name not in variables:
            hint = nearest(name, list(variables)) or f"; known are {', '.join(variables) or 'none'}"
            yield path, f"${name} is not among the names of `search`{hint}"
    for name in variables:
        if name not in used.values():
            yield ("search", name), f"has no effect, as the recipe has no ${name}"


def _names(template: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Return each place of a recipe with a name, and the name."""
    if isinstance(template, Mapping):
        for key, item in template.items():
            yield from _names(item, (*path, key))
    elif isinstance(template, list | tuple):
        for number, item in enumerate(template):
            yield from _names(item, (*path, number))
    else:
        name = _name(template)
        if name is not None:
            yield path, name


def _name(scalar: object) -> str | None:
    found = _NAME.fullmatch(scalar) if isinstance(scalar, str) else None
    return found[1] if found else None
