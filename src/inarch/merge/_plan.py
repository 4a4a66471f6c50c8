"""A recipe and its checkpoints to a list of jobs: how each tensor of the result is made.

Shapes must agree, apart from rows of embeddings that a tokenizer lays out anew. Tensors of whole
numbers cannot be averaged: they must be the same in all models, and are copied. The number format
of a tensor is ``out_dtype``, else ``dtype``, else the least that holds those of its models.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from inarch.errors import SettingsError, WeightsError
from inarch.io.dtypes import dtype_from, is_float, torch_name
from inarch.merge._config import MergeConfig
from inarch.merge._jobs import Job, Source
from inarch.merge._method import Method
from inarch.merge._names import is_head, place
from inarch.merge._outline import Outline, Slice, outline
from inarch.merge._parameters import Resolver
from inarch.merge._rewrite import Layers, rewrite
from inarch.merge._targets import Described, Index, Target, find_targets, index
from inarch.merge._vocabulary import is_vocabulary
from inarch.settings import show

Remap = Callable[[str, Sequence[Source | None]], Sequence[Source | None]]
"""Lays rows of a tensor out anew: its name and its sources in all models to the same sources."""

COPY = "passthrough"
"""The method that copies."""


class Model(Described, Protocol):
    """An opened checkpoint, with its adapter."""

    def source(self, name: str) -> Source:
        """Return one stored tensor."""


class Plan(NamedTuple):
    """Everything about a merge that can be said before it is done."""

    jobs: tuple[Job, ...]
    """One for each tensor of the result."""
    config: dict[str, Any]
    """What ``config.json`` of the result says; about the vocabulary, that of `origin`."""
    origin: str
    """The model that the result takes after: its config, its generation config and, unless the
    recipe says more, its tokenizer."""
    notes: tuple[str, ...]
    """What the user should know."""


def make_plan(
    config: MergeConfig,
    models: Mapping[str, Model],
    methods: Mapping[str, Method],
    remap: Remap | None = None,
) -> Plan:
    """Return what is to be done.

    Args:
        config: The recipe.
        models: Those of ``refs_of(config)``, in that order.
        methods: The table of methods.
        remap: Lays rows of embeddings and heads out anew; None leaves them as they are.

    Raises:
        SettingsError: The recipe does not fit the models.
        WeightsError: The models do not fit each other.
    """
    planned = outline(config, methods)
    origin = planned.base or planned.labels[0]
    _refuse_mixed(origin, {label: models[label] for label in planned.labels})
    indexes = {label: index(models[label]) for label in planned.labels}
    targets = find_targets(_parts(planned, indexes[origin], origin), indexes)
    resolver = Resolver(config.merge_method, methods[config.merge_method], planned.levels)
    wish = config.out_dtype or config.dtype
    dtype = None if wish is None else dtype_from(wish)
    jobs = []
    for target in targets:
        sources = _sources(target, models, indexes, remap)
        jobs.append(_job(target, sources, dtype, resolver, methods))
    made, notes = rewrite(
        models[origin].config,
        _stacks(targets, indexes[origin], models),
        _main_dtype(jobs),
        any(is_head(job.name) and not indexes[origin].has(job.name) for job in jobs),
    )
    unused = [
        show(path, f"no tensor that this could be about has `{word}` in its name")
        for path, word in resolver.unused(planned.levels)
    ]
    return Plan(tuple(jobs), made, origin, (*planned.notes, *unused, *notes))


def _refuse_mixed(origin: str, models: Mapping[str, Model]) -> None:
    """Raise unless all models are of one architecture; early Llamas write theirs LLaMA."""
    for key in ("model_type", "architectures"):
        wanted = models[origin].config.get(key)
        for label, model in models.items():
            found = model.config.get(key)
            if found and wanted and str(found).lower() != str(wanted).lower():
                raise WeightsError(
                    f"{label} has {key} {found} and {origin} {wanted}; expected models of one "
                    "architecture"
                )


def _parts(planned: Outline, known: Index, origin: str) -> list[tuple[str, tuple[Slice, ...]]]:
    """Return the slices of each module of the models."""
    given, modules = planned.modules, list(known.modules)
    if None in given:
        if len(modules) > 1 and any(one.layers for one in given[None][0].inputs):
            raise SettingsError(
                f"slices: {origin} has the modules {', '.join(modules)}; say below `modules:` "
                "which of them has these slices, and what the others are made of"
            )
        return [(module, given[None]) for module in modules]
    if len(modules) == len(given) == 1:
        return list(zip(modules, given.values(), strict=True))
    if set(given) != set(modules):
        found = ", ".join(str(name) for name in given)
        raise SettingsError(
            f"modules: found {found}, expected those of {origin}: {', '.join(modules)}"
        )
    return [(module, given[module]) for module in modules]


def _sources(
    target: Target,
    models: Mapping[str, Model],
    indexes: Mapping[str, Index],
    remap: Remap | None,
) -> tuple[Source, ...]:
    """Return the sources of a tensor, one for each input, in one shape."""
    labels = [one.label for one in target.slice.inputs]
    own = dict(zip(labels, target.inputs, strict=True))
    if remap is not None and place(target.name).stack is None:
        stored = {label: own.get(label) or indexes[label].find(target.name) for label in models}
        everywhere = [
            None if name is None else models[label].source(name) for label, name in stored.items()
        ]
        remapped = dict(zip(stored, remap(target.name, everywhere), strict=True))
        sources = tuple(source for label in labels if (source := remapped[label]) is not None)
    else:
        found = zip(labels, target.inputs, strict=True)
        sources = tuple(models[label].source(name) for label, name in found)
    for source, label, name in zip(sources, labels, target.inputs, strict=True):
        if source.shape != sources[0].shape:
            rows = is_vocabulary(target.name) and source.shape[1:] == sources[0].shape[1:]
            raise WeightsError(
                f"{name} of {label} has the shape {list(source.shape)}, {target.inputs[0]} of "
                f"{labels[0]} {list(sources[0].shape)}; expected one shape"
                + (". `tokenizer_source: base` or `union` line tokens up" if rows else "")
            )
    return sources


def _job(
    target: Target,
    sources: tuple[Source, ...],
    dtype: str | None,
    resolver: Resolver,
    methods: Mapping[str, Method],
) -> Job:
    """Return how one tensor is made."""
    part = target.slice
    if not all(is_float(source.dtype) for source in sources):
        return _same(target, sources, methods)
    dtype = dtype or _common([source.dtype for source in sources])
    if part.copies:
        name, settings = COPY, methods[COPY].settings()
    else:
        own = zip(part.models, target.inputs, strict=False)
        levels = [(one.label, name, one.levels) for one, name in own]
        name, settings = (
            resolver.name,
            resolver.settings(target.name, part.shared, levels, target.t),
        )
    base = None if part.base is None else sources[-1]
    plain = name == COPY and settings == methods[COPY].settings()
    copy = plain and sources[0].dtype == dtype and sources[0].raw() is not None
    return Job(target.name, dtype, name, settings, sources[: len(part.models)], base, copy)


def _same(target: Target, sources: tuple[Source, ...], methods: Mapping[str, Method]) -> Job:
    """Return the job that copies whole numbers or booleans, which all models agree about."""
    first = sources[0]
    for source in sources[1:]:
        raw, other = first.raw(), source.raw()
        if source.dtype != first.dtype or raw is None or other is None or (raw != other).any():
            raise WeightsError(
                f"{target.name} holds {first.dtype} in {first.label} and other numbers or "
                f"{source.dtype} in {source.label}; whole numbers cannot be averaged, so all "
                "models must have the same"
            )
    return Job(target.name, first.dtype, COPY, methods[COPY].settings(), (first,), None, True)


_WIDTHS = ("F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64")


def _common(dtypes: Sequence[str]) -> str:
    """Return the least format that holds the numbers of all: of F16 and BF16, F32."""
    kinds = set(dtypes)
    if len(kinds) > 1:
        kinds -= {"F8_E4M3", "F8_E5M2"}
    if not kinds:
        return "BF16"
    return "F32" if kinds == {"F16", "BF16"} else max(kinds, key=_WIDTHS.index)


def _main_dtype(jobs: Sequence[Job]) -> str:
    """Return the number format that most of the result has, as torch calls it."""
    sizes: Counter[str] = Counter()
    for job in jobs:
        if is_float(job.dtype):
            sizes[job.dtype] += math.prod(job.shape)
    return torch_name(max(sizes, key=lambda dtype: sizes[dtype])) if sizes else "float32"


def _stacks(targets: Sequence[Target], known: Index, models: Mapping[str, Model]) -> list[Layers]:
    """Return the layers of each stack of the result."""
    made = []
    for name, module in known.modules.items():
        for stack in module.stacks:
            origins = {}
            for target in targets:
                where = place(target.name)
                if where.stack == stack and where.layer not in origins:
                    index_ = 0 if target.slice.base is None else len(target.slice.models)
                    label = target.slice.inputs[index_].label
                    layer = place(target.inputs[index_]).layer
                    origins[where.layer] = (models[label].config, layer)
            made.append(Layers(name, module.depth(stack), tuple(origins.values())))
    return made
