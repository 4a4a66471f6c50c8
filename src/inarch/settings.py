"""Strict settings: frozen pydantic models, read from YAML, whose errors name file, line and key.

The YAML is a plain subset of 1.2: mappings, lists, and scalars by the core schema, so that
``1e-5`` is a number, only ``true`` and ``false`` are booleans and ``no`` is a word. Duplicate keys,
anchors and tags are errors. Lists become tuples, as settings are frozen.

Paths stay as they are written: a relative one is relative to the working directory.
"""

import difflib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from inarch.errors import SettingsError

UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share or a weight in [0, 1]."""

PathSetting = Annotated[Path, Field(strict=False)]
"""A path, which YAML can only write as a string."""


class Settings(BaseModel):
    """Base of every settings class: frozen, strict about types, no unknown keys.

    A field whose name Python reserves carries an underscore and an alias: ``lambda_`` is written
    ``lambda`` in YAML.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


S = TypeVar("S", bound=Settings)
KeyPath = tuple[str | int, ...]
Origins = dict[KeyPath, str]
"""Where the value at a key path was written: ``recipe.yaml:4`` or ``--set a.b=1``."""


def load(cls: type[S], path: str | Path | None, overrides: Sequence[str] = ()) -> S:
    """Return the settings of a YAML file.

    Args:
        cls: Class of the settings.
        path: UTF-8 file with one YAML mapping; None for the defaults.
        overrides: ``"a.b=1"`` each, applied in order after the file. The value is YAML; a number
            in the key indexes a list: ``"sources.0.path=x"``.

    Raises:
        SettingsError: The file cannot be read, is no YAML mapping, or does not fit `cls`. All
            errors are listed, each with its file and line or its override.
    """
    data, origins = ({}, {}) if path is None else _read_file(Path(path))
    for override in overrides:
        _override(override, data, origins)
    try:
        return cls.model_validate(_freeze(data))
    except ValidationError as error:
        raise SettingsError(_explain(cls, data, origins, error)) from None


def to_dict(settings: Settings) -> dict[str, object]:
    """Return the settings, defaults included, as plain dicts, lists and scalars."""
    return settings.model_dump(mode="json")


def dump(settings: Settings) -> str:
    """Return the settings, defaults included, as YAML that `load` reads back to an equal object."""
    return yaml.dump(to_dict(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


# ---------------------------------------------------------------------------------- reading YAML


class _Loader(yaml.SafeLoader):
    """Text to nodes; `_plain` makes values of them."""

    yaml_implicit_resolvers: ClassVar = {}  # type: ignore[misc]  # the stubs say instance

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse tags, which name types, and anchors, with which a page can describe gigabytes."""
        event = self.peek_event()
        for what in ("anchor", "tag"):
            if getattr(event, what, None):
                raise yaml.MarkedYAMLError(
                    problem=f"a YAML {what} is not supported; write the plain value",
                    problem_mark=event.start_mark,
                )
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Values to text, with quotes around strings that `_Loader` would take for something else."""

    yaml_implicit_resolvers: ClassVar = {}  # type: ignore[misc]  # the stubs say instance

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape the line ends of Unicode, which PyYAML would write bare and read as spaces."""
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_TAG + "str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


_TAG = "tag:yaml.org,2002:"
for _word, _pattern in {
    "null": r"~|null|",
    "bool": r"true|false",
    "int": r"[-+]?[0-9]{1,400}",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
}.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _word, re.compile(rf"^(?:{_pattern})$"), None)

_SCALARS: dict[str, Callable[[str], object]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: text == "true",
    _TAG + "int": int,
    _TAG + "float": lambda text: float(re.sub(r"\.(inf|nan)$", r"\1", text)),
    _TAG + "str": str,
}


def _read_file(path: Path) -> tuple[dict[str, object], Origins]:
    """Return a settings file as plain values, and where each was written."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    origins: Origins = {}
    data = _parse(text, lambda line: f"{path}:{line}", (), origins)
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: found {_show(data)}, expected lines of `key: value`")
    origins[()] = str(path)
    return data, origins


def _parse(text: str, origin: Callable[[int], str], path: KeyPath, origins: Origins) -> object:
    """Return a YAML document as plain values; note below `path` where each was written."""
    try:
        node = _Loader(text).get_single_node()
        return None if node is None else _plain(node, origin, path, origins)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{origin(line)}: this is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{origin(1)}: this is no YAML: {error}") from None


def _plain(
    node: yaml.Node, origin: Callable[[int], str], path: KeyPath, origins: Origins
) -> object:
    """Return a node as dicts, lists and scalars."""
    origins.setdefault(path, origin(node.start_mark.line + 1))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, origin, (*path, i), origins) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        values: dict[str, object] = {}
        for key, value in node.value:
            problem = "a key must be a word" if not isinstance(key, yaml.ScalarNode) else None
            if problem is None and key.value in values:
                problem = f"the key `{key.value}` appears twice in one mapping"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            origins[(*path, key.value)] = origin(key.start_mark.line + 1)
            values[key.value] = _plain(value, origin, (*path, key.value), origins)
        return values
    return _SCALARS[node.tag](node.value)


def _freeze(value: object) -> object:
    """Return the value with tuples for lists."""
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return value


# ------------------------------------------------------------------------------------- overrides


def _override(text: str, data: dict[str, object], origins: Origins) -> None:
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
        place = place[index]  # type: ignore[index]  # _index has checked it
    index = _index(place, steps[-1], path, text)
    path = (*path, index)
    for below in [known for known in origins if known[: len(path)] == path]:
        del origins[below]
    place[index] = _parse(value, lambda line: f"--set {text}", path, origins)  # type: ignore[index]


def _index(place: object, step: str, path: KeyPath, text: str) -> str | int:
    """Return one step of a dotted key as a key of the mapping, or an index of the list, there."""
    if isinstance(place, dict):
        return step
    if isinstance(place, list) and step.isdecimal() and int(step) < len(place):
        return int(step)
    raise SettingsError(
        f"--set {text}: {_dotted(path)} is {_show(place)}, which has no `{step}`; "
        f"set all of {_dotted(path)} instead"
    )


# ---------------------------------------------------------------------------------------- errors


def _explain(cls: type[Settings], data: object, origins: Origins, error: ValidationError) -> str:
    """Return all errors of a file, one per line; one for all members of a union."""
    wishes: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path, value = _locate(data, detail)
        place = f"{_origin(path, origins)}: {_dotted(path)}"
        problem = _problem(cls, detail)
        if problem:
            wishes.setdefault(f"{place}: {problem}", [])
        else:
            found = wishes.setdefault(f"{place}: found {_show(value)}, expected ", [])
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
        return "unknown key" + (_nearest(str(word), known) or f"; known are {', '.join(known)}")
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
        return choices + _nearest(word, quoted)
    message = re.sub(r"^Input should (be |have )?", "", detail["msg"])
    return _EXPECTED.get(detail["type"], message)


def _nearest(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that names the nearest known word, if one is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _keys(cls: type[Settings], loc: KeyPath) -> list[str]:
    """Return the keys, as YAML writes them, of the settings class at a location of pydantic's."""
    classes = [cls]
    for step in loc:
        fields = [
            f for c in classes for name, f in c.model_fields.items() if step in (name, f.alias)
        ]
        if fields:
            classes = [c for field in fields for c in _classes(field.annotation)]
        else:  # a tag, a member of a union, an index of a list or a key of a dict
            classes = [c for c in classes if step in _labels(c)] or classes
    return [field.alias or name for c in classes for name, field in c.model_fields.items()]


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
    return next(origins[path[:n]] for n in range(len(path), -1, -1) if path[:n] in origins)


def _dotted(path: KeyPath) -> str:
    return ".".join(str(step) for step in path) or "the file"


def _show(value: object) -> str:
    """Return a value as an error shows it: short, and with its type where that is the point."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
