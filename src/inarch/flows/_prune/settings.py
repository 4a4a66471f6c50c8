"""The settings of ``inarch prune``: a model, texts, how much is to go, and how it is found out."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from inarch.flows._method import MethodChoice
from inarch.flows._prune.calibration import CalibrationSettings
from inarch.prune import METHODS
from inarch.prune._sizes import Target
from inarch.prune._subject import Formula
from inarch.prune.laco import LacoSettings
from inarch.prune.settings import SearchSettings
from inarch.settings import Settings

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class MethodSettings(MethodChoice):
    """A pruning method."""

    table = METHODS
    name: str = "block_pruner"

    @property
    def formula(self) -> Formula:
        """Return how layers are folded, if the method folds any."""
        own = self.own()
        return own.formula if isinstance(own, LacoSettings) else "sum"


class TargetSettings(Settings):
    """When enough is gone: one of these. Several values give a model each, from one search."""

    ratio: tuple[Share, ...] = ()
    """Share of the parameters that are to go: a removed block's, and its norms'."""
    blocks: tuple[PositiveInt, ...] = ()
    """Number of blocks."""
    size_gb: tuple[PositiveFloat, ...] = ()
    """Largest size of the weights that survive, in 10^9 bytes."""
    kv_bytes: tuple[NonNegativeInt, ...] = ()
    """Largest size of the keys and values of a token, in bytes, over all layers."""
    latency: tuple[Share, ...] = ()
    """Share of the time per written token that is to go, as foreseen from the time of a block of
    each kind; what it is in the end is measured."""
    count_embeddings: bool = True
    """Embeddings and head count among the parameters of ``ratio``, as published."""

    @model_validator(mode="before")
    @classmethod
    def _single_value(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        lone = {
            k: (v,) for k, v in value.items() if isinstance(v, int | float) and k in KINDS_OF_TARGET
        }
        return value | lone

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in KINDS_OF_TARGET if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'} of {', '.join(KINDS_OF_TARGET)}; expected"
                " one, such as ratio: 0.25"
            )
        if not self.count_embeddings and given != ["ratio"]:
            raise ValueError("count_embeddings: false has an effect on ratio only")
        return self

    @property
    def kind(self) -> str:
        """Return which of them is given."""
        return next(name for name in KINDS_OF_TARGET if getattr(self, name))

    @property
    def values(self) -> tuple[float, ...]:
        """Return its values, that of the largest model first."""
        return tuple(sorted(getattr(self, self.kind), reverse=self.kind in ("size_gb", "kv_bytes")))

    def stop(self, value: float) -> Target:
        """Return the rule by which a search stops at a value; a latency is taken for a ratio."""
        if self.kind == "size_gb":
            return Target("bytes", value * 1e9)
        if self.kind in ("blocks", "kv_bytes"):
            return Target("blocks" if self.kind == "blocks" else "kv_bytes", value)
        return Target("ratio", value, self.count_embeddings)


KINDS_OF_TARGET = ("ratio", "blocks", "size_gb", "kv_bytes", "latency")


class PruneRun(Settings):
    """A run of ``inarch prune``."""

    model: str
    """Folder, or id on the hub, with safetensors weights."""
    tokenizer: str | None = None
    """Folder or id of its tokenizer, where that is not the model's own."""
    data: CalibrationSettings
    target: TargetSettings
    method: MethodSettings = MethodSettings()
    search: SearchSettings = SearchSettings()
    order: str | None = None
    """File with an order that is followed as far as it goes: order.json of an earlier run, or a
    list of the reference code."""
    compare: tuple[MethodSettings, ...] = ()
    """Other methods, whose order is found and scored beside, as far as the last target."""
    format: Literal["plain", "native", "gguf-safe"] = "plain"
    """``plain`` loads with plain transformers; ``native`` holds nothing but what survived and needs
    inarch or ``trust_remote_code``; ``gguf-safe`` is what llama.cpp and vLLM load."""
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of the weights in memory; ``auto`` is that of the checkpoint."""
    devices: tuple[str, ...] = ()
    """Devices that share the calibration rows, such as cuda:0 and cuda:1; by default the first
    accelerator, or the processor."""
    speed: bool = True
    """Measure how fast the models are, before and after."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [self.method.name, *(other.name for other in self.compare)]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"compare: {twice.pop()} is there twice; compare other methods")
        return self

    @property
    def tokenizer_path(self) -> str:
        """Return where the tokenizer is."""
        return self.tokenizer or self.model

    @property
    def label(self) -> str:
        """Return what tables call the model."""
        return Path(self.model).name


COSTS_ONLY = ("compare", "devices", "speed")
"""Settings that change what is shown or what it costs, and not the models."""
