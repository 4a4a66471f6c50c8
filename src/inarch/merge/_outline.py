"""A recipe in one form: modules of slices of inputs, whichever way it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import SettingsError
from inarch.merge._config import MergeConfig, ModelEntry, ModelRef, ModuleEntry, SliceEntry
from inarch.merge._method import Method
from inarch.merge._parameters import Level, as_mergekit, check, describe, level
from inarch.settings import KeyPath, load, nearest, show


class Input(NamedTuple):
    """One model's part in a slice."""

    label: str
    """The model, as the recipe writes it."""
    layers: tuple[int, int] | None
    """The first layer and the one behind the last; None: all."""
    levels: tuple[Level, ...]
    """Where its parameters are looked up, in this order."""


class Slice(NamedTuple):
    """Layers of the result, from the layers of some models."""

    path: KeyPath
    """Where the recipe has it."""
    models: tuple[Input, ...]
    """In the user's order, without the base."""
    base: Input | None
    """The base model, if the method has one."""
    shared: tuple[Level, ...]
    """Where parameters of the whole merge are looked up, in this order."""
    copies: bool
    """There is one source only, which is copied."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Return the models, and the base behind them."""
        return self.models if self.base is None else (*self.models, self.base)


class Outline(NamedTuple):
    """What a recipe says, before any checkpoint is looked at."""

    modules: dict[str | None, tuple[Slice, ...]]
    """Slices from bottom to top, by the module; None: all of the model."""
    labels: tuple[str, ...]
    """All models; see `refs_of`."""
    base: str | None
    """The recipe's base model."""
    levels: tuple[Level, ...]
    """All places with parameters, apart from those that nobody reads."""
    notes: tuple[str, ...]
    """What has no effect, and other things that the user should know."""


def refs_of(config: MergeConfig) -> dict[str, ModelRef]:
    """Return all models of a recipe by their labels, each once, in the user's order.

    A base that is not among them is the last.
    """
    refs = []
    for _, part in _parts(config).values():
        refs += [entry.model for entry in part.models or ()]
        refs += [source.model for entry in part.slices or () for source in entry.sources]
    refs += [config.base_model] if config.base_model else []
    return {str(ref): ref for ref in refs}


def load_config(
    path: str | Path, methods: Mapping[str, Method], overrides: Sequence[str] = ()
) -> MergeConfig:
    """Return the recipe in a file; see `inarch.settings.load`.

    Args:
        path: mergekit's YAML; anchors and aliases may be in it.
        methods: The table of methods.
        overrides: ``"a.b=1"`` each.

    Raises:
        SettingsError: It is no recipe, or one that cannot be carried out with any models. All
            reasons are listed, each with its line.
    """
    return load(
        MergeConfig, path, overrides, anchors=True, check=lambda c: find_problems(c, methods)
    )


def outline(config: MergeConfig, methods: Mapping[str, Method]) -> Outline:
    """Return a recipe in one form.

    Raises:
        SettingsError: It cannot be carried out with any models; all reasons are listed.
    """
    problems = find_problems(config, methods)
    if problems:
        raise SettingsError("\n".join(show(*problem) for problem in problems))
    return _outline(config, methods)


def find_problems(config: MergeConfig, methods: Mapping[str, Method]) -> list[tuple[KeyPath, str]]:
    """Return what is wrong with a recipe, whatever the models are; see `inarch.settings.load`."""
    name = config.merge_method
    if name not in methods:
        hint = nearest(name.lower(), list(methods)) or f"; known are {', '.join(methods)}"
        return [(("merge_method",), f"unknown method {name}{hint}")]
    problems, _ = check(name, methods, *_levels(config))
    for slice_ in (s for slices in _outline(config, methods).modules.values() for s in slices):
        problems += [(slice_.path, problem) for problem in _count(name, methods[name], slice_)]
    return problems


def _count(name: str, method: Method, slice_: Slice) -> Iterator[str]:
    """Return what is wrong with the number of models in a slice."""
    if slice_.copies:
        return
    found = f"found {', '.join(i.label for i in slice_.models) or 'none'}"
    if method.base == "required" and slice_.base is None:
        where = "one of these sources" if slice_.models[0].layers else "given"
        yield f"{name} needs a base_model, which must be {where}; {found}"
        return
    beside = " beside base_model" if slice_.base else ""
    number = len(slice_.models)
    if number < method.least:
        yield f"{name} needs {method.least} models{beside} or more, {found}"
    if method.most is not None and number > method.most:
        yield f"{name} takes {method.most} of the models{beside}, not {number}: {found}"


def _outline(config: MergeConfig, methods: Mapping[str, Method]) -> Outline:
    base = None if config.base_model is None else str(config.base_model)
    method = methods[config.merge_method]
    modules: dict[str | None, tuple[Slice, ...]] = {}
    for name, (path, part) in _parts(config).items():
        levels: tuple[Level, ...] = (level((), config.parameters),)
        if name is not None:
            levels = (level(path, part.parameters), *levels)
        if part.models is not None:
            modules[name] = (_whole(part.models, (*path, "models"), levels, base, method),)
        else:
            modules[name] = tuple(
                _slice(entry, (*path, "slices", i), levels, base, method)
                for i, entry in enumerate(part.slices or ())
            )
    shared, own = _levels(config)
    labels = [one.label for slices in modules.values() for part in slices for one in part.inputs]
    notes = _grouped(check(config.merge_method, methods, shared, own)[1])
    notes += _idle(config, base, labels)
    parts = [part for slices in modules.values() for part in slices]
    notes += [show(part.path, "one model only, which is copied") for part in parts if part.copies]
    _, implied = as_mergekit(method, (*shared, *own))
    notes += [
        f"parameters: {key}: {value}, as the recipe says none" for key, value in implied.items()
    ]
    unheard = dict(_unheard(parts))
    known = describe(method.settings)
    notes += _grouped(
        ((*path, key), f"has no effect, as {unheard[path]}")
        for path, values in (*shared, *own)
        for key in values
        if path in unheard and key in known
    )
    heard = tuple(one for one in (*shared, *own) if one.path not in unheard)
    return Outline(modules, tuple(refs_of(config)), base, heard, tuple(notes))


def _unheard(parts: Sequence[Slice]) -> Iterator[tuple[KeyPath, str]]:
    """Return where a recipe gives parameters that nobody reads, and why."""
    for part in parts:
        if part.base is not None and part.base.levels[0] not in part.shared:
            yield part.base.levels[0].path, "this model is the base"
        if part.copies:
            places = (part.models[0].levels[0].path, (*part.path, "parameters"))
            yield from ((place, "the model is copied") for place in places)


def _grouped(warnings: Iterable[tuple[KeyPath, str]]) -> list[str]:
    """Return warnings as sentences; the same one about several models is one sentence."""
    places: dict[tuple[str, str], list[KeyPath]] = {}
    for path, text in warnings:
        places.setdefault((str(path[-1]), text), []).append(path)
    return [
        show(paths[0], text) + (f" ({len(paths)} times)" if len(paths) > 1 else "")
        for (_, text), paths in places.items()
    ]


def _parts(config: MergeConfig) -> dict[str | None, tuple[KeyPath, ModuleEntry | MergeConfig]]:
    """Return the modules of a recipe, and where they are; None: all of the model."""
    if config.modules is None:
        return {None: ((), config)}
    return {name: (("modules", name), part) for name, part in config.modules.items()}


def _levels(config: MergeConfig) -> tuple[list[Level], list[Level]]:
    """Return the parameters of a recipe: those for all models, and those of single ones."""
    shared, own = [level((), config.parameters)], []
    for name, (path, part) in _parts(config).items():
        if name is not None:
            shared.append(level(path, part.parameters))
        for i, entry in enumerate(part.models or ()):
            own.append(level((*path, "models", i), entry.parameters))
        for i, slice_ in enumerate(part.slices or ()):
            shared.append(level((*path, "slices", i), slice_.parameters))
            for j, source in enumerate(slice_.sources):
                own.append(level((*path, "slices", i, "sources", j), source.parameters))
    return shared, own


def _idle(config: MergeConfig, base: str | None, labels: Sequence[str]) -> Iterator[str]:
    """Return what a recipe says beside parameters that changes nothing."""
    if base is not None and base not in labels:
        yield show(("base_model",), "takes no part in the merge; the result takes after it")
    if config.int8_mask is not None:
        yield show(("int8_mask",), "has no effect")
    for _, (path, part) in _parts(config).items():
        for i, slice_ in enumerate(part.slices or ()):
            at = (*path, "slices", i)
            if slice_.residual_weight is not None:
                yield show((*at, "residual_weight"), "has no effect, as in mergekit")
            sources = [str(source.model) for source in slice_.sources]
            if slice_.base_model is not None and str(slice_.base_model) not in sources:
                yield show((*at, "base_model"), "has no effect, as it is none of the sources")


def _whole(
    entries: Sequence[ModelEntry],
    path: KeyPath,
    levels: tuple[Level, ...],
    base: str | None,
    method: Method,
) -> Slice:
    """Return the slice that is all of the models; the base is one of them even if not listed."""
    inputs = [
        Input(str(entry.model), None, (level((*path, i), entry.parameters), *levels))
        for i, entry in enumerate(entries)
    ]
    if base is not None and base not in [one.label for one in inputs]:
        given = {key for one in levels for key in one.values}
        needed = {p.name for p in describe(method.settings).values() if p.of_model and p.required}
        has_room = method.most is None or len(inputs) < method.most
        if method.base != "none" or (needed <= given and has_room):
            inputs.append(Input(base, None, levels))
    if [one.label for one in inputs] == [base] and _wants_more(method):
        return Slice(path, tuple(inputs), None, levels, copies=True)
    return _divide(inputs, path, levels, base, method)


def _wants_more(method: Method) -> bool:
    """Return whether a method cannot do with one model."""
    return method.base == "required" or method.least > 1


def _slice(
    entry: SliceEntry,
    path: KeyPath,
    levels: tuple[Level, ...],
    base: str | None,
    method: Method,
) -> Slice:
    """Return a slice of a recipe."""
    shared = (level(path, entry.parameters), *levels)
    inputs = [
        Input(
            str(source.model),
            source.layer_range,
            (level((*path, "sources", i), source.parameters), *shared),
        )
        for i, source in enumerate(entry.sources)
    ]
    if len(inputs) == 1 and _wants_more(method):
        return Slice(path, tuple(inputs), None, shared, copies=True)
    own_base = base if entry.base_model is None else str(entry.base_model)
    return _divide(inputs, path, shared, own_base, method)


def _divide(
    inputs: Sequence[Input],
    path: KeyPath,
    shared: tuple[Level, ...],
    base: str | None,
    method: Method,
) -> Slice:
    """Return a slice of models and, if the method wants one, their base."""
    wanted = None if method.base == "none" else base
    found = next((one for one in inputs if one.label == wanted), None)
    models = tuple(one for one in inputs if one is not found)
    return Slice(path, models, found, shared, copies=False)
