"""Strict settings: frozen pydantic models, read from YAML, whose errors name file, line and key.

Lists become tuples, as settings are frozen. Paths stay as they are written: a relative one is
relative to the working directory. `inarch.settings._yaml` says what YAML is read.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from inarch.errors import SettingsError
from inarch.settings._yaml import Dumper, Origins, parse, read_file, show_value
from inarch.settings._yaml import KeyPath as KeyPath

UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share or a weight in [0, 1]."""

PathSetting = Annotated[Path, Field(strict=False)]
"""A path, which YAML can only write as a string."""


class Settings(BaseModel):
    """Base of every settings class: frozen, strict about types, no unknown keys.

    A field whose name Python reserves carries an underscore and an alias: ``lambda_`` is written
    ``lambda`` in YAML.
    """

    short: ClassVar[str | None] = None
    """The key that a bare value stands for, where there may be one: ``data: a.jsonl``."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        is_bare = cls.short is not None and isinstance(value, str | int | float)
        return {cls.short: value} if is_bare else value


S = TypeVar("S", bound=Settings)
Problem = tuple[KeyPath, str]
"""What is wrong with the value at a key path."""


def load(
    cls: type[S],
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    anchors: bool = False,
    check: Callable[[S], Iterable[Problem]] | None = None,
) -> S:
    """Return the settings of a YAML file.

    Args:
        cls: Class of the settings.
        path: UTF-8 file with one YAML mapping; None for the defaults.
        overrides: ``"a.b=1"`` each, applied in order after the file. The value is YAML; a number
            in the key indexes a list: ``"sources.0.path=x"``.
        anchors: Take anchors, aliases and merge keys (``<<``) in the file.
        check: Returns what is wrong with settings that fit `cls`.

    Raises:
        SettingsError: The file cannot be read, is no YAML mapping, or does not fit `cls`. All
            errors are listed, each with its file and line or its override.
    """
    data, origins = ({}, {}) if path is None else read_file(Path(path), anchors)
    for override in overrides:
        _override(cls, override, data, origins)
    try:
        settings = cls.model_validate(_freeze(data))
    except ValidationError as error:
        raise SettingsError(_explain(cls, data, origins, error)) from None
    problems = list(check(settings)) if check else []
    if problems:
        raise SettingsError(
            "\n".join(f"{_origin(at, origins)}: {show(at, p)}" for at, p in problems)
        )
    return settings


def validate(cls: type[S], data: object, origin: str) -> S:
    """Return the settings that plain values are; lists may stand for tuples.

    Args:
        cls: Class of the settings.
        data: A mapping, as YAML has it.
        origin: What errors call the place that it is from.

    Raises:
        SettingsError: It does not fit `cls`; all errors are listed.
    """
    try:
        return cls.model_validate(_freeze(data))
    except ValidationError as error:
        raise SettingsError(_explain(cls, data, {(): origin}, error)) from None


def show(path: KeyPath, problem: str) -> str:
    """Return a problem behind the key that it is about."""
    return f"{_dotted(path)}: {problem}"


def to_dict(settings: Settings) -> dict[str, object]:
    """Return the settings, defaults included, as plain dicts, lists and scalars."""
    return settings.model_dump(mode="json")


def dump(settings: Settings) -> str:
    """Return the settings, defaults included, as YAML that `load` reads back to an equal object."""
    return yaml.dump(to_dict(settings), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _freeze(value: object) -> object:
    """Return the value with tuples for lists."""
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return value


# ------------------------------------------------------------------------------------- overrides


def _override(cls: type[Settings], text: str, data: dict[str, object], origins: Origins) -> None:
    """Set one ``a.b=value`` in the plain values of a file."""
    key, equals, value = text.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise SettingsError(f"--set {text}: expected key=value, such as --set train.lr=1e-4")
    place: object = data
    path: KeyPath = ()
    for step in steps[:-1]:
        index = _index(place, step, path, text)
        path = (*path, index)
        if isinstance(place, dict) and place.get(index) is None:
            place[index], origins[path] = {}, f"--set {text}"
        elif isinstance(place, dict) and isinstance(place[index], str | int | float):
            for short in (c.short for c in _classes_at(cls, path) if c.short):
                place[index] = {short: place[index]}
                break
        place = place[index]  # type: ignore[index]  # _index has checked it
    index = _index(place, steps[-1], path, text)
    path = (*path, index)
    for below in [known for known in origins if known[: len(path)] == path]:
        del origins[below]
    place[index] = parse(value, lambda line: f"--set {text}", path, origins)  # type: ignore[index]


def _index(place: object, step: str, path: KeyPath, text: str) -> str | int:
    """Return one step of a dotted key as a key of the mapping, or an index of the list, there."""
    if isinstance(place, dict):
        return step
    if isinstance(place, list) and step.isdecimal() and int(step) < len(place):
        return int(step)
    raise SettingsError(
        f"--set {text}: {_dotted(path)} is {show_value(place)}, which has no `{step}`; "
        f"set all of {_dotted(path)} instead"
    )


# ---------------------------------------------------------------------------------------- errors


def _explain(cls: type[Settings], data: object, origins: Origins, error: ValidationError) -> str:
    """Return all errors of a file, one per line; one for all members of a union."""
    wishes: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path, value = _locate(data, detail)
        place = _origin(path, origins)
        if path or () in origins:
            place += f": {_dotted(path)}"
        problem = _problem(cls, detail)
        if problem:
            wishes.setdefault(f"{place}: {problem}", [])
        else:
            found = wishes.setdefault(f"{place}: found {show_value(value)}, expected ", [])
            found.append(_expected(detail))
    return "\n".join(found + " or ".join(expected) for found, expected in wishes.items())


def _locate(data: object, detail: ErrorDetails) -> tuple[KeyPath, object]:
    """Return where in the plain values an error is, and the value there.

    pydantic's location also holds tags and members of unions, and keys that a shorthand stands
    for: steps that the values do not have are left out.
    """
    path: KeyPath = ()
    for step in detail["loc"]:
        here = dict(enumerate(data)) if isinstance(data, list) else data
        if isinstance(here, dict) and step in here:
            data = here[step]
            path = (*path, step)
    if detail["type"] == "missing":
        path = (*path, detail["loc"][-1])
    if detail["type"] == "union_tag_invalid":
        path, data = (*path, detail["ctx"]["discriminator"].strip("'")), detail["ctx"]["tag"]
    return path, data


def _problem(cls: type[Settings], detail: ErrorDetails) -> str | None:
    """Return what is wrong, for errors that are not about the type or range of one value."""
    kind = detail["type"]
    if kind == "missing":
        return "missing, and has no default"
    if kind == "union_tag_not_found":
        return f"has no {detail['ctx']['discriminator']}, which says the kind"
    if kind == "extra_forbidden":
        *section, word = detail["loc"]
        known = _keys(cls, tuple(section))
        return "unknown key" + (nearest(str(word), known) or f"; known are {', '.join(known)}")
    if kind in {"value_error", "assertion_error"}:
        return detail["msg"].split(", ", 1)[1]
    return None


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
    "string_type": "a text",
    "tuple_type": "a list",
}


def _expected(detail: ErrorDetails) -> str:
    """Return what a value should have been, with the nearest word where there is one."""
    context = detail.get("ctx", {})
    choices = context.get("expected_tags") or context.get("expected")
    if choices:
        word, quoted = str(context.get("tag", detail["input"])), choices.split("'")[1::2]
        return choices + nearest(word, quoted)
    message = re.sub(r"^Input should (be |have )?", "", detail["msg"])
    return _EXPECTED.get(detail["type"], message)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that names the nearest known word, if one is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _keys(cls: type[Settings], loc: KeyPath) -> list[str]:
    """Return the keys, as YAML writes them, of the settings class at a location of pydantic's."""
    classes = _classes_at(cls, loc)
    return [field.alias or name for c in classes for name, field in c.model_fields.items()]


def _classes_at(cls: type[Settings], loc: KeyPath) -> list[type[Settings]]:
    """Return what may stand at a location of pydantic's: one class, or those of a union."""
    classes = [cls]
    for step in loc:
        fields = [
            f for c in classes for name, f in c.model_fields.items() if step in (name, f.alias)
        ]
        if fields:
            classes = [c for field in fields for c in _classes(field.annotation)]
        else:  # a tag, a member of a union, an index of a list or a key of a dict
            classes = [c for c in classes if step in _labels(c)] or classes
    return classes


def _classes(annotation: object) -> list[type[Settings]]:
    """Return the settings classes that an annotation is built of."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [c for argument in get_args(annotation) for c in _classes(argument)]


def _labels(cls: type[Settings]) -> set[object]:
    """Return what pydantic may call the class within a union: its name, and its tags."""
    fields = cls.model_fields.values()
    return {cls.__name__, *(value for field in fields for value in get_args(field.annotation))}


def _origin(path: KeyPath, origins: Origins) -> str:
    """Return where the value at a path, or the nearest one around it, was written."""
    places = (origins[path[:n]] for n in range(len(path), -1, -1) if path[:n] in origins)
    return next(places, "the command line")


def _dotted(path: KeyPath) -> str:
    return ".".join(str(step) for step in path) or "the file"
