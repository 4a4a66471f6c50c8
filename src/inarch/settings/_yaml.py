"""Text of a settings file to plain values, with the line of each.

The YAML is a plain subset of 1.2: mappings, lists, and scalars by the core schema, so that
``1e-5`` is a number, only ``true`` and ``false`` are booleans and ``no`` is a word. Duplicate keys
and tags are errors, and so are anchors, unless they are asked for.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from inarch.errors import SettingsError

KeyPath = tuple[str | int, ...]
Origins = dict[KeyPath, str]
"""Where the value at a key path was written: ``recipe.yaml:4`` or ``--set a.b=1``."""

MAX_VALUES = 100_000
"""Values that a page with anchors may have once its aliases are written out."""


class _Loader(yaml.SafeLoader):
    """Text to nodes; `_plain` makes values of them."""

    yaml_implicit_resolvers: ClassVar = {}  # type: ignore[misc]  # the stubs say instance
    refused: ClassVar[tuple[str, ...]] = ("anchor", "tag")

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse tags, which name types, and anchors, with which a page can describe gigabytes."""
        event = self.peek_event()
        for what in self.refused:
            if getattr(event, what, None):
                raise yaml.MarkedYAMLError(
                    problem=f"a YAML {what} is not supported; write the plain value",
                    problem_mark=event.start_mark,
                )
        return super().compose_node(parent, index)


class _AnchorLoader(_Loader):
    """Takes anchors and aliases, and the merge keys that are written with them."""

    refused: ClassVar[tuple[str, ...]] = ("tag",)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Put what `<<` brings in behind the mapping's own keys, which win."""
        node = super().compose_mapping_node(anchor)
        brought = [value for key, value in node.value if _is_merge(key)]
        node.value = [pair for pair in node.value if not _is_merge(pair[0])]
        for value in brought:
            for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(mapping, yaml.MappingNode):
                    raise yaml.MarkedYAMLError(
                        problem="`<<` takes the alias of a mapping", problem_mark=mapping.start_mark
                    )
                known = {key.value for key, _ in node.value}
                node.value += [pair for pair in mapping.value if pair[0].value not in known]
        return node


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None


class Dumper(yaml.SafeDumper):
    """Values to text, with quotes around strings that `_Loader` would take for something else."""

    yaml_implicit_resolvers: ClassVar = {}  # type: ignore[misc]  # the stubs say instance

    def ignore_aliases(self, data: object) -> bool:
        """Write what appears twice twice."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape the line ends of Unicode, which PyYAML would write bare and read as spaces."""
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_TAG + "str", data, style)


Dumper.add_representer(str, Dumper.represent_str)


_TAG = "tag:yaml.org,2002:"
for _word, _pattern in {
    "null": r"~|null|",
    "bool": r"true|false",
    "int": r"[-+]?[0-9]{1,400}",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
}.items():
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(_TAG + _word, re.compile(rf"^(?:{_pattern})$"), None)

_SCALARS: dict[str, Callable[[str], object]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: text == "true",
    _TAG + "int": int,
    _TAG + "float": lambda text: float(re.sub(r"\.(inf|nan)$", r"\1", text)),
    _TAG + "str": str,
}


def read_file(path: Path, anchors: bool = False) -> tuple[dict[str, object], Origins]:
    """Return a settings file as plain values, and where each was written."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    origins: Origins = {}
    loader = _AnchorLoader if anchors else _Loader
    data = parse(text, lambda line: f"{path}:{line}", (), origins, loader)
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: found {show_value(data)}, expected lines of `key: value`")
    origins[()] = str(path)
    return data, origins


def parse(
    text: str,
    origin: Callable[[int], str],
    path: KeyPath,
    origins: Origins,
    loader: type[_Loader] = _Loader,
) -> object:
    """Return a YAML document as plain values; note below `path` where each was written."""
    try:
        stream = loader(text)
        node = stream.get_node() if stream.check_node() else None
        if stream.check_node():
            mark = stream.peek_event().start_mark
            raise yaml.MarkedYAMLError(
                problem="a second document begins here; give each a file of its own",
                problem_mark=mark,
            )
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
    if len(origins) > MAX_VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"more than {MAX_VALUES} values, once aliases are written out",
            problem_mark=node.start_mark,
        )
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


def show_value(value: object) -> str:
    """Return a value as an error shows it: short, and with its type where that is the point."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
