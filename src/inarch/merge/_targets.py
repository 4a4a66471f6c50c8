"""Which tensors the result has, and which tensor of each model goes into each.

A model must have every tensor that another one of its slice has. A head that is tied to the
embedding counts as one, and the result has a head of its own as soon as one of the models has.
Rotary frequencies and causal masks, which old checkpoints hold, are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from inarch.errors import SettingsError, WeightsError
from inarch.io.headers import TensorInfo
from inarch.merge._names import (
    canonical,
    is_behind,
    is_buffer,
    is_embedding,
    is_head,
    modules,
    place,
)
from inarch.merge._outline import Input, Slice
from inarch.settings import show

SHOWN = 5
"""Names that an error lists."""


class Described(Protocol):
    """What is known of a model without its numbers."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Return what ``config.json`` says."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Return what is stored, by name."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Return tied tensors that are not stored, and the one that stands for each."""


class Module(NamedTuple):
    """The tensors of one part of a model."""

    stacks: dict[str, dict[int, dict[str, str]]]
    """By what is in front of a layer's number, the number, and what is behind it: the name."""
    loose: dict[str, str]
    """Tensors outside of layers: the names that they are known and stored under."""

    def depth(self, stack: str) -> int:
        """Return the number of layers of a stack; 0 where there is none of that name."""
        return max(self.stacks.get(stack, {}), default=-1) + 1


class Index(NamedTuple):
    """The tensors of one model by their places."""

    modules: dict[str, Module]
    """By the names that mergekit gives them."""
    aliases: Mapping[str, str]
    """Tied tensors, and the one that stands for each."""
    embeddings: tuple[str, ...]
    """Tables of tokens."""

    def has(self, name: str) -> bool:
        """Return whether a tensor outside of layers is stored, and used."""
        return any(name in module.loose for module in self.modules.values())

    def find(self, name: str) -> str | None:
        """Return under what name a tensor outside of layers, or what it is tied to, is stored."""
        for module in self.modules.values():
            if name in module.loose:
                return module.loose[name]
        if name in self.aliases:
            return self.aliases[name]
        tied = (is_head(name) or is_embedding(name)) and len(self.embeddings) == 1
        return self.embeddings[0] if tied else None


class Target(NamedTuple):
    """One tensor of the result."""

    name: str
    slice: Slice
    """Who it is merged from, and with which parameters."""
    inputs: tuple[str, ...]
    """Its name in each of the slice's inputs."""
    t: float
    """Place in a gradient: 0 at the slice's first layer and outside of layers, 1 at its last."""


def index(model: Described) -> Index:
    """Return the tensors of a model by their places.

    A stored head is left out where the config ties it: whoever loads the model does not use it.
    """
    names = [name for name, info in model.tensors.items() if not is_buffer(name, info.shape)]
    embeddings = tuple(name for name in names if is_embedding(name))
    text = model.config.get("text_config")
    settings = {**(text if isinstance(text, dict) else {}), **model.config}
    if settings.get("tie_word_embeddings") is True and embeddings:
        names = [name for name in names if not is_head(name)]
    made: dict[str, Module] = {}
    known = {canonical(name): name for name in names}
    for new, module in modules(known).items():
        stacks, loose = made.setdefault(module, Module({}, {}))
        where, name = place(new), known[new]
        if where.stack is None:
            loose[new] = name
        else:
            stacks.setdefault(where.stack, {}).setdefault(where.layer, {})[where.rest] = name
    return Index(made, model.aliases, embeddings)


def find_targets(
    parts: Sequence[tuple[str, tuple[Slice, ...]]], indexes: Mapping[str, Index]
) -> list[Target]:
    """Return the tensors of the result, one module after the other.

    Args:
        parts: Slices by module.
        indexes: Of all models, by label.

    Raises:
        SettingsError: A slice has layers that a model does not have.
        WeightsError: A model lacks tensors or layers that another one has.
    """
    missing: list[str] = []
    made: list[Target] = []
    for module, slices in parts:
        for slice_ in slices:
            _refuse_strangers(module, slice_, indexes)
        made += _loose(module, slices, indexes, missing)
        stack_names = _stacks(module, slices, indexes)
        for stack in stack_names:
            made += _layers(module, stack, slices, indexes, missing)
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise WeightsError(
            f"the models do not have the same tensors: {'; '.join(missing[:SHOWN])}{more}. "
            "Expected checkpoints of one architecture"
        )
    return made


def _refuse_strangers(module: str, slice_: Slice, indexes: Mapping[str, Index]) -> None:
    for one in slice_.inputs:
        if module not in indexes[one.label].modules:
            found = ", ".join(indexes[one.label].modules)
            raise WeightsError(f"{one.label} has no {module}, only {found}; merge models of a kind")


def _loose(
    module: str, slices: Sequence[Slice], indexes: Mapping[str, Index], missing: list[str]
) -> Iterator[Target]:
    """Return the tensors outside of layers: in front, of the first slice; behind, of the last."""
    everywhere = [
        name for i in indexes.values() if module in i.modules for name in i.modules[module].loose
    ]
    heads = [name for name in everywhere if is_head(name)]
    for slice_, behind in ((slices[0], False), (slices[-1], True)):
        parts = [indexes[one.label].modules[module] for one in slice_.inputs]
        names = dict.fromkeys(
            name for names in (*(part.loose for part in parts), heads) for name in names
        )
        for name in names:
            if is_behind(name) is behind:
                found = [indexes[one.label].find(name) for one in slice_.inputs]
                yield from _target(name, slice_, found, 0.0, missing)


def _stacks(module: str, slices: Sequence[Slice], indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """Return the stacks of layers that the result has.

    Raises:
        SettingsError: There are several, and slices do not say which one they are of.
    """
    inputs = [one for slice_ in slices for one in slice_.inputs]
    names = dict.fromkeys(
        stack for one in inputs for stack in indexes[one.label].modules[module].stacks
    )
    if len(names) > 1 and inputs[0].layers is not None:
        raise SettingsError(
            f"slices: {inputs[0].label} has several stacks of layers, {', '.join(names)}, and "
            "slices can only be of one; use `models`"
        )
    return tuple(names)


def _layers(
    module: str,
    stack: str,
    slices: Sequence[Slice],
    indexes: Mapping[str, Index],
    missing: list[str],
) -> Iterator[Target]:
    """Return the tensors of a stack, its layers numbered anew."""
    number = 0
    for slice_ in slices:
        ranges = [_range(one, module, stack, slice_, indexes) for one in slice_.inputs]
        if len({len(layers) for layers in ranges}) > 1:
            found = (
                f"{one.label} has {len(r)}" for one, r in zip(slice_.inputs, ranges, strict=True)
            )
            raise WeightsError(
                f"{stack}: {', '.join(found)} layers, expected as many in all models; use `slices` "
                "to say which belong together"
            )
        for i in range(len(ranges[0])):
            t = i / (len(ranges[0]) - 1) if len(ranges[0]) > 1 else 1.0
            layers = [
                indexes[one.label].modules[module].stacks.get(stack, {}).get(layers[i], {})
                for one, layers in zip(slice_.inputs, ranges, strict=True)
            ]
            for rest in dict.fromkeys(rest for layer in layers for rest in layer):
                name = f"{stack}.{number}.{rest}"
                found_in = [layer.get(rest) for layer in layers]
                yield from _target(name, slice_, found_in, t, missing)
            number += 1


def _range(
    one: Input, module: str, stack: str, slice_: Slice, indexes: Mapping[str, Index]
) -> range:
    """Return the layers that an input gives to a slice."""
    depth = indexes[one.label].modules[module].depth(stack)
    if one.layers is None:
        return range(depth)
    if one.layers[1] > depth:
        first, end = one.layers
        raise SettingsError(
            show(
                slice_.path,
                f"found layer_range [{first}, {end}] of {one.label}, which has {depth} layers; "
                f"expected an end of {depth} at most",
            )
        )
    return range(*one.layers)


def _target(
    name: str, slice_: Slice, found: Sequence[str | None], t: float, missing: list[str]
) -> Iterator[Target]:
    """Return a tensor of the result, or note which models lack it."""
    lacking = [one.label for one, own in zip(slice_.inputs, found, strict=True) if own is None]
    present = [own for own in found if own is not None]
    if lacking:
        missing.append(f"{', '.join(lacking)} lacks {present[0] if present else name}")
    else:
        yield Target(name, slice_, tuple(present), t)
