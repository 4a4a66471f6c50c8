"""How a parameter of a recipe becomes a number for one tensor.

A value is a list of choices, of which the first whose filter fits the tensor's name speaks. What it
says is one scalar, or a gradient: scalars spread evenly over the layers of a slice.

Source:   the documentation of mergekit, "Parameter Specification", and what mergekit 0.1.5 does
          where that is silent: the first choice wins, not the last; embeddings, the last norm and
          the head are at the beginning of the gradient; a lone layer is at its end.
"""

import math
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, PlainSerializer

from inarch.errors import SettingsError
from inarch.settings import Settings

Scalar = bool | float | str
Kind = Literal["number", "whole number", "true or false", "word"]
"""What the scalars of a parameter are."""
T = TypeVar("T")

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")
"""The words that YAML 1.1, which mergekit reads, takes for booleans."""


def _scalar(value: object) -> object:
    """Return a scalar with whole numbers as floats."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int | float):
        raise ValueError(f"found {value}, expected a finite number")
    raise ValueError("expected a number, true, false or a word")


def _listed(value: object) -> tuple[object, ...]:
    """Return a lone scalar as a list of one."""
    if value == ():
        raise ValueError("found an empty list, expected a number or a gradient of them")
    return value if isinstance(value, tuple) else (value,)


class Choice(Settings):
    """A scalar or a gradient for the tensors that a filter fits."""

    filter: str | None = None
    """Part of the tensor's name; nothing or ``*`` fits all."""
    value: Annotated[
        tuple[Annotated[Scalar, BeforeValidator(_scalar)], ...], BeforeValidator(_listed)
    ]
    """A scalar, or more: a gradient."""

    def fits(self, name: str) -> bool:
        """Return whether the choice speaks about a tensor."""
        return self.filter in (None, "*") or str(self.filter) in name


def _chosen(value: object) -> object:
    """Return the shorthands as a list of choices: a scalar, a gradient, one choice."""
    if isinstance(value, tuple) and any(isinstance(item, dict | Choice) for item in value):
        return value
    if isinstance(value, dict | Choice):
        return (value,)
    # Checked here, as the place of an error would be that of the choice, which nobody has written.
    return ({"value": tuple(_scalar(item) for item in _listed(value))},)


def _shortened(choices: tuple[Choice, ...]) -> object:
    """Return choices as a recipe writes them."""
    if len(choices) == 1 and choices[0].filter is None:
        return _short(choices[0].value)
    return [
        ({} if choice.filter is None else {"filter": choice.filter})
        | {"value": _short(choice.value)}
        for choice in choices
    ]


def _short(values: tuple[Scalar, ...]) -> object:
    return values[0] if len(values) == 1 else list(values)


Value = Annotated[tuple[Choice, ...], BeforeValidator(_chosen), PlainSerializer(_shortened)]
"""What a recipe says about one parameter."""


def choose(value: tuple[Choice, ...], name: str) -> int | None:
    """Return the index of the choice that speaks about a tensor, if one does."""
    return next((i for i, choice in enumerate(value) if choice.fits(name)), None)


def at(values: tuple[Scalar, ...], t: float, kind: Kind) -> Scalar | int:
    """Return the value of a gradient.

    Numbers are interpolated linearly; other scalars are steps, of which the last is only taken at
    the very end.

    Args:
        values: One for a constant.
        t: In [0, 1].
        kind: What the scalars are.

    Raises:
        SettingsError: They are something else.
    """
    scalars = [cast(value, kind) for value in values]
    place = t * (len(scalars) - 1)
    low = min(int(place), len(scalars) - 1)
    if kind not in ("number", "whole number") or place == low:
        return scalars[low]
    share = place - low
    return cast((1 - share) * float(scalars[low]) + share * float(scalars[low + 1]), kind)


def cast(value: Scalar, kind: Kind) -> Scalar | int:
    """Return a scalar as the type that a parameter has; ``yes``, ``"0.5"`` and 1 may stand for it.

    Raises:
        SettingsError: It cannot be taken for one.
    """
    word = str(value).strip()
    made: Scalar | int | None = None
    if kind == "word":
        made = word
    elif kind == "true or false":
        made = {**dict.fromkeys((*TRUE, "1.0"), True), **dict.fromkeys((*FALSE, "0.0"), False)}.get(
            word.lower()
        )
    else:
        made = _number(value)
        if made is not None and kind == "whole number":
            made = int(made) if made == int(made) else None
    if made is None:
        raise SettingsError(f"found {word}, expected {_A[kind]}")
    return made


def _truth(value: object) -> object:
    """Return the boolean that a word of YAML 1.1 is."""
    return cast(value, "true or false") if isinstance(value, str) else value


Truth = Annotated[bool, BeforeValidator(_truth)]
"""A setting that may be written ``yes`` or ``True``."""

_A = {
    "number": "a number",
    "whole number": "a whole number",
    "true or false": "true or false",
}


def _number(value: Scalar) -> float | None:
    """Return a finite number, if the scalar spells one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
