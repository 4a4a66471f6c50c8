"""A recipe: mergekit's YAML as settings.

`inarch.merge._outline` reads it from a file and checks what depends on the method.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_serializer, model_validator
from pydantic_core import InitErrorDetails, ValidationError

from inarch.io.dtypes import dtype_from
from inarch.merge._gradients import Truth, Value
from inarch.merge._token_settings import TokenizerSettings
from inarch.settings import Settings


def _known(dtype: str) -> str:
    dtype_from(dtype)
    return dtype


Dtype = Annotated[str, AfterValidator(_known)]
"""A number format, as torch or mergekit call it."""
Parameters = dict[str, Value]
"""Values by the name of the parameter."""


class Written(Settings):
    """What is saved without the keys that say nothing, as a recipe is written."""

    @model_serializer(mode="wrap")
    def _short(self, handler: Any) -> dict[str, object]:
        return {key: value for key, value in handler(self).items() if value is not None}


class RepoRef(Written):
    """A folder, or an id on the hub and its revision."""

    path: str = Field(min_length=1)
    """A folder, or ``org/name``."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.startswith(
            ("/", "./", "../", "~")
        ):  # folders have no revisions, but may have an @
            return {"path": value}
        path, *revision = value.split("@")
        if len(revision) > 1:
            raise ValueError(f"found {value}, expected one @ at most, in front of the revision")
        return {"path": path, **({"revision": revision[0]} if revision else {})}

    def __str__(self) -> str:
        return self.path if self.revision is None else f"{self.path}@{self.revision}"


class ModelRef(Settings):
    """A model: ``path``, ``path@revision``, ``path+adapter``, or a mapping of the same.

    A folder with a plus in its name is written ``{model: {path: a+b}}``.
    """

    model: RepoRef
    """The model."""
    lora: RepoRef | None = None
    """An adapter that is added to it first."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            path, *lora = value.split("+")
            if len(lora) > 1:
                raise ValueError(
                    f"found {value}, expected one + at most, in front of an adapter; write a "
                    "folder with a plus in its name {model: {path: ...}}"
                )
            return {"model": path, **({"lora": lora[0]} if lora else {})}
        if isinstance(value, dict):
            if "path" in value and "model" not in value:
                return {"model": value}
            value = dict(value)
            if value.pop("override_architecture", None) is not None:
                raise ValueError(
                    "override_architecture is not supported: the names of the tensors say what "
                    "they are; delete it"
                )
        return value

    def __str__(self) -> str:
        return str(self.model) if self.lora is None else f"{self.model}+{self.lora}"

    @model_serializer(mode="wrap")
    def _to_text(self, handler: Any) -> object:
        """Return the text, where that reads as the same model."""
        try:
            same = ModelRef.model_validate(str(self)) == self
        except ValueError:
            same = False
        made: dict[str, object] = handler(self)
        return str(self) if same else {key: made[key] for key in made if made[key] is not None}


def _refuse(title: str, value: dict[Any, Any], hints: dict[str, str]) -> object:
    """Return the value if it has no key of `hints`, which say where such a key belongs."""
    lines = [
        InitErrorDetails(
            type="value_error", loc=(key,), input=value[key], ctx={"error": ValueError(hints[key])}
        )
        for key in value
        if key in hints
    ]
    if lines:
        raise ValidationError.from_exception_data(title, lines)
    return value


_NAMES = "density epsilon gamma lambda normalize rescale scale select_topk t weight"
_INSIDE = dict.fromkeys(_NAMES.split(), "has no effect here; indent it below `parameters:`")
_ENTRY = _INSIDE | {"revision": "write the revision behind the model: `path@revision`"}


class ModelEntry(Written):
    """One of the models that are merged whole."""

    model: ModelRef
    """Where it is."""
    parameters: Parameters | None = None
    """Of this model alone."""

    @model_validator(mode="before")
    @classmethod
    def _hint(cls, value: object) -> object:
        hints = _ENTRY | {"layer_range": "has no effect below `models`; use `slices`"}
        return _refuse(cls.__name__, value, hints) if isinstance(value, dict) else value


class SourceEntry(Written):
    """Layers of one model, for a slice."""

    model: ModelRef
    """Where it is."""
    layer_range: tuple[int, int]
    """The first layer, and the one behind the last."""
    parameters: Parameters | None = None
    """Of this source alone."""

    @model_validator(mode="before")
    @classmethod
    def _hint(cls, value: object) -> object:
        return _refuse(cls.__name__, value, _ENTRY) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        first, end = self.layer_range
        if not 0 <= first <= end:
            raise ValueError(
                f"found layer_range [{first}, {end}], expected [first, end] with 0 <= first <= end"
            )
        return self


class SliceEntry(Written):
    """Layers of the result, and the layers that they are merged from."""

    sources: tuple[SourceEntry, ...]
    """As many layers of each."""
    base_model: ModelRef | None = None
    """Of this slice, instead of the recipe's."""
    residual_weight: float | None = None
    """Accepted, as mergekit does; it changes nothing."""
    parameters: Parameters | None = None
    """Of this slice."""

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if not self.sources:
            raise ValueError("found a slice without sources, expected one at least")
        lengths = [source.layer_range[1] - source.layer_range[0] for source in self.sources]
        if len(set(lengths)) > 1:
            raise ValueError(f"found sources of {lengths} layers, expected as many of each")
        return self


class ModuleEntry(Written):
    """A part of a model that is several: an encoder, a vision tower."""

    models: tuple[ModelEntry, ...] | None = None
    """Models that are merged whole, or"""
    slices: tuple[SliceEntry, ...] | None = None
    """the layers of the result, from bottom to top."""
    parameters: Parameters | None = None
    """Of this module."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.models is None) == (self.slices is None):
            raise ValueError("expected either `models` or `slices`")
        if not (self.models or self.slices):
            raise ValueError("found no models, expected one at least")
        return self


_MOE = "is of mergekit-moe, which builds mixtures of experts; this merges checkpoints of one kind"
_EVOLVE = "is of mergekit-evolve; see `inarch merge search`"
_TOP = _INSIDE | {
    "experts": _MOE,
    "gate_mode": _MOE,
    "shared_experts": _MOE,
    "experts_per_token": _MOE,
    "genome": _EVOLVE,
    "tasks": _EVOLVE,
    "model_name": "is not known; `name` says what the result is called",
    "input_model_parameters": "is of old mergekit; use `models: [{model, parameters}]`",
}


class MergeConfig(Written):
    """Which models are merged into one, and how."""

    model_config = ConfigDict(title="recipe")

    name: str | None = None
    """What the result is called."""
    merge_method: str
    """A key of ``inarch.merge.METHODS``."""
    models: tuple[ModelEntry, ...] | None = None
    """Models that are merged whole, or"""
    slices: tuple[SliceEntry, ...] | None = None
    """the layers of the result, from bottom to top, or"""
    modules: dict[str, ModuleEntry] | None = None
    """either, for each part of a model that is several."""
    base_model: ModelRef | None = None
    """What the other models were trained from, where the method wants one."""
    parameters: Parameters | None = None
    """For all models and tensors that nothing else is said about."""
    dtype: Dtype | None = None
    """Number format of the result, unless `out_dtype` says another; sums are float32 anyway."""
    out_dtype: Dtype | None = None
    """Number format of the result."""
    tokenizer: TokenizerSettings | None = None
    """How vocabularies become one."""
    tokenizer_source: str | None = None
    """The same in short: ``union``, ``base`` or a model."""
    chat_template: str | None = None
    """``auto``, the name of one, or a template."""
    int8_mask: Truth | None = None
    """Accepted, as published recipes have it here; it changes nothing."""

    @model_validator(mode="before")
    @classmethod
    def _hint(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        source = value.get("tokenizer_source")
        if isinstance(source, dict):
            value = {**value, "tokenizer_source": str(ModelRef.model_validate(source))}
        if isinstance(source, str):  # early recipes write model:path
            value = {**value, "tokenizer_source": source.removeprefix("model:")}
        return _refuse(cls.__name__, value, _TOP)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        kinds = [kind for kind in (self.models, self.slices, self.modules) if kind is not None]
        if len(kinds) != 1:
            raise ValueError("expected one of `models`, `slices` and `modules`")
        if not kinds[0]:
            raise ValueError("found no models, expected one at least")
        if self.tokenizer is not None and self.tokenizer_source is not None:
            raise ValueError("found tokenizer and tokenizer_source, expected one of them")
        return self

    @property
    def token_settings(self) -> TokenizerSettings | None:
        """Return what the recipe says about vocabularies, in the longer form."""
        if self.tokenizer_source is None:
            return self.tokenizer
        return TokenizerSettings(source=self.tokenizer_source)
