"""Which parameters a method has, which a recipe gives, and what each is for one tensor.

A parameter of a model is looked up with the tensor's name in that model: in its source or its entry
of ``models``, in the slice, in the module, in the recipe. One of the whole merge is looked up with
the tensor's name in the result: in the slice, the module, the recipe. The first list that has a
choice for the tensor speaks.
"""

import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from inarch.errors import SettingsError
from inarch.merge._config import MergeConfig
from inarch.merge._gradients import Choice, Kind, Scalar, at, cast, choose
from inarch.merge._method import Method
from inarch.settings import KeyPath, Settings, nearest, show

LEFTOVERS = ("allow_negative_weights", "embed_slerp", "filter_wise", "int8_mask", "smooth")
"""Parameters that published recipes carry about, and that mergekit passes over."""
MERGEKIT = "mergekit"
"""What a recipe that says no ``variant`` means, where the method has this one."""


class Parameter(NamedTuple):
    """A field of a method's settings, as a recipe sees it."""

    name: str
    """As YAML writes it."""
    kind: Kind
    """What its scalars are."""
    of_model: bool
    """Whether each model has its own."""
    default: Any
    """What the method takes where a recipe says nothing."""
    required: bool
    """Whether it must not be silent."""
    words: tuple[str, ...]
    """The words to choose from, if it is one of some."""
    type: Any
    """What the method takes: the annotation, with its bounds."""


class Level(NamedTuple):
    """Parameters at one place of a recipe."""

    path: KeyPath
    """Of the mapping ``parameters``."""
    values: Mapping[str, tuple[Choice, ...]]
    """By name."""


def level(path: KeyPath, values: Mapping[str, tuple[Choice, ...]] | None) -> Level:
    """Return the parameters at ``path``, which may have none."""
    return Level((*path, "parameters"), values or {})


def describe(settings: type[Settings]) -> dict[str, Parameter]:
    """Return the parameters of a method by name."""
    made = (_describe(name, field) for name, field in settings.model_fields.items())
    return {parameter.name: parameter for parameter in made}


def _describe(name: str, field: FieldInfo) -> Parameter:
    leaves = dict.fromkeys(_leaves(field.annotation))
    kinds: list[tuple[type, Kind]] = [
        (bool, "true or false"),
        (float, "number"),
        (int, "whole number"),
    ]
    kind: Kind = next((kind for leaf, kind in kinds if leaf in leaves), "word")
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    words = tuple(leaf for leaf in leaves if isinstance(leaf, str))
    name = field.alias or name
    bounded: Any = (field.annotation, *field.metadata)
    bounded = Annotated[bounded] if field.metadata else field.annotation
    return Parameter(name, kind, tuple in leaves, default, field.is_required(), words, bounded)


def _leaves(annotation: Any) -> Iterator[Any]:
    """Return what an annotation is made of: types and words."""
    origin = typing.get_origin(annotation)
    if origin is None:
        yield annotation
        return
    if origin is tuple:
        yield tuple
    for argument in typing.get_args(annotation):
        yield from _leaves(argument)


class Resolver:
    """Finds the settings of a method for single tensors, and notes which choices were used."""

    def __init__(self, name: str, method: Method, levels: Sequence[Level]) -> None:
        """Resolve for the method `name`, in a recipe with parameters at `levels`."""
        self.name = name
        self._settings = method.settings
        self._parameters, self._fixed = as_mergekit(method, levels)
        self.used: set[KeyPath] = set()
        """Key paths of the choices that spoke."""

    def settings(
        self,
        name: str,
        shared: Sequence[Level],
        models: Sequence[tuple[str, str, Sequence[Level]]],
        t: float,
    ) -> Settings:
        """Return the settings for one tensor.

        Args:
            name: Of the tensor in the result.
            shared: Where parameters of the whole merge are looked up, in this order.
            models: Label, name of the tensor in it, and where its parameters are looked up.
            t: Place in a gradient, in [0, 1].

        Raises:
            SettingsError: A parameter is missing for this tensor, or out of range.
        """
        given: dict[str, object] = dict(self._fixed)
        for parameter in self._parameters.values():
            if parameter.of_model:
                values = [self._find(parameter, own, levels, t) for _, own, levels in models]
                if all(value is None for value in values) and not parameter.required:
                    continue
                given[parameter.name] = self._complete(parameter, name, models, values)
                continue
            value = self._find(parameter, name, shared, t)
            if value is not None:
                given[parameter.name] = value
            elif parameter.required:
                raise SettingsError(
                    f"{name}: {self.name} needs the parameter {parameter.name}, and the recipe "
                    "says nothing about it for this tensor; add it to `parameters:`"
                )
        return self._make(name, given)

    def unused(self, levels: Sequence[Level]) -> Iterator[tuple[KeyPath, str]]:
        """Return the filters that no tensor was found for so far, by key path."""
        for path, values in levels:
            for key, choices in values.items():
                for i, choice in enumerate(choices):
                    place = (*path, key, i)
                    if key in self._parameters and choice.filter and place not in self.used:
                        yield place, choice.filter

    def _find(
        self, parameter: Parameter, name: str, levels: Sequence[Level], t: float
    ) -> Scalar | int | None:
        for path, values in levels:
            choices = values.get(parameter.name, ())
            index = choose(choices, name)
            if index is not None:
                self.used.add((*path, parameter.name, index))
                try:
                    return at(choices[index].value, t, parameter.kind)
                except SettingsError as error:  # a gradient of whole numbers that falls between two
                    raise SettingsError(f"{name}: {parameter.name}: {error}") from None
        return None

    def _complete(
        self,
        parameter: Parameter,
        name: str,
        models: Sequence[tuple[str, str, Sequence[Level]]],
        values: Sequence[Scalar | int | None],
    ) -> tuple[Scalar | int, ...]:
        """Return the values of all models, with the default where nothing is said."""
        if parameter.required and None in values:
            label = models[values.index(None)][0]
            raise SettingsError(
                f"{name}: {self.name} needs the parameter {parameter.name} of each model, and the "
                f"recipe says nothing about it for {label} and this tensor; add it to the "
                "`parameters:` of that model, or of the recipe"
            )
        (default,) = parameter.default or (math.nan,)
        return tuple(default if value is None else value for value in values)

    def _make(self, name: str, given: dict[str, object]) -> Settings:
        try:
            return self._settings.model_validate(given)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            key = ".".join(str(step) for step in found["loc"])
            raise SettingsError(
                f"{name}: {show((key,), found['msg'])}, found {found['input']}"
            ) from None


def as_mergekit(
    method: Method, levels: Sequence[Level]
) -> tuple[dict[str, Parameter], dict[str, object]]:
    """Return the parameters that a recipe can give, and those that follow from what it is.

    A recipe that says no ``variant`` is one for mergekit, if the method has that variant, and so
    is what else it says: mergekit passes over a ``normalize`` whose default follows the variant.
    """
    found = describe(method.settings)
    said = any("variant" in values for _, values in levels)
    if said or "variant" not in found or MERGEKIT not in found["variant"].words:
        return found, {}
    passed_over = {key for key in ("normalize",) if key in found and found[key].default is None}
    return {key: found[key] for key in found if key not in passed_over}, {"variant": MERGEKIT}


def check(
    name: str, methods: Mapping[str, Method], shared: Sequence[Level], own: Sequence[Level]
) -> tuple[list[tuple[KeyPath, str]], list[tuple[KeyPath, str]]]:
    """Return what is wrong with the parameters of a recipe, and what has no effect.

    Args:
        name: The method, a key of `methods`.
        methods: The table; parameters of other methods are leftovers, not mistakes.
        shared: Parameters of the recipe, its modules and slices.
        own: Parameters of single models.
    """
    problems: list[tuple[KeyPath, str]] = []
    warnings: list[tuple[KeyPath, str]] = []
    known, _ = as_mergekit(methods[name], (*shared, *own))
    others = {key for method in methods.values() for key in describe(method.settings)}
    for path, values in (*shared, *own):
        for key, choices in values.items():
            place = (*path, key)
            if key in known:
                problems += _misfits(place, choices, known[key])
            elif key in others or key in LEFTOVERS:
                warnings.append((place, f"has no effect with {name}"))
            elif key in MergeConfig.model_fields:
                problems.append(
                    (place, "belongs at the top of the recipe, not below `parameters:`")
                )
            else:
                hint = nearest(key, [*others]) or f"; {name} has {', '.join(known) or 'none'}"
                problems.append((place, f"unknown parameter{hint}"))
    for path, values in own:
        for key, choices in values.items():
            if key in known and not known[key].of_model:
                place = (*path, key)
                if _says_nothing_new(key, choices, shared, known[key]):
                    warnings.append((place, "is one value for all models, and has that already"))
                else:
                    problems.append(
                        (
                            place,
                            "is one value for all models, not one of each; move it to the "
                            "`parameters:` of the recipe or of the slice",
                        )
                    )
    return problems, warnings


def _misfits(
    path: KeyPath, choices: tuple[Choice, ...], parameter: Parameter
) -> Iterator[tuple[KeyPath, str]]:
    """Return the scalars that a parameter cannot be."""
    adapter: TypeAdapter[Any] = TypeAdapter(parameter.type)
    for choice in choices:
        for scalar in choice.value:
            try:
                value = cast(scalar, parameter.kind)
                adapter.validate_python((value,) if parameter.of_model else value)
            except SettingsError as error:
                yield path, str(error)
            except ValidationError as error:
                wish = error.errors(include_url=False)[0]["msg"].replace(
                    "Input should be", "expected"
                )
                yield path, f"found {scalar}, {wish}{nearest(str(scalar), parameter.words)}"


def _says_nothing_new(
    key: str, choices: tuple[Choice, ...], shared: Sequence[Level], parameter: Parameter
) -> bool:
    """Return whether a value below one model repeats what holds for all."""
    given = [values[key] for _, values in shared if key in values]
    if given:
        return all(choices == other for other in given)
    try:
        said = {cast(scalar, parameter.kind) for choice in choices for scalar in choice.value}
    except SettingsError:
        return False
    return said == {parameter.default}
