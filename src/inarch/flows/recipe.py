"""The recipe of ``teach`` and ``fuse``: one YAML file for the whole run."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from inarch.data.corpus import DataSettings
from inarch.fuse.settings import FuseSettings
from inarch.match.vocabulary import MatchSettings
from inarch.settings import Settings
from inarch.teach.settings import TeachSettings
from inarch.train.settings import TrainSettings


class ModelSettings(Settings):
    """A causal language model. A bare string is its path."""

    path: str | None = None
    """Folder, or id on the hub, with safetensors weights."""
    name: str = ""
    """What folders and tables call it; by default the last part of the path."""
    tokenizer: str | None = None
    """Folder or id of its tokenizer, where that is not the model's own."""
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of the weights in memory; ``auto`` is that of the checkpoint."""
    scratch: dict[str, Any] | None = None
    """Config of a new model with random weights (``model_type`` and its keys); no path then."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("a model is either a path or scratch")
        if self.scratch is not None and self.tokenizer is None:
            raise ValueError("a model from scratch needs a tokenizer")
        return self

    @property
    def label(self) -> str:
        """Return the name that folders and tables use."""
        return self.name or Path(self.path or "scratch").name

    @property
    def tokenizer_path(self) -> str:
        """Return where the tokenizer is."""
        return self.tokenizer or self.path or ""


class FuseRun(Settings):
    """A run of ``fuse``: what the sources know goes into the target."""

    target: ModelSettings
    """The model that is trained; its architecture and tokenizer are those of the result."""
    sources: tuple[ModelSettings, ...] = ()
    """The models that are listened to. None: plain continued training on the corpus."""
    data: DataSettings
    teach: TeachSettings = TeachSettings()
    match: MatchSettings = MatchSettings()
    fuse: FuseSettings = FuseSettings()
    train: TrainSettings = TrainSettings()
    device: str = "auto"
    """``auto`` takes an accelerator where there is one; else a torch device, such as ``cpu``."""
    work: str | None = None
    """Folder for the cut corpus and the teachers' beliefs, which runs may share; by default the
    output folder."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        labels = [self.target.label, *(source.label for source in self.sources)]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ValueError(f"two models are called {twice.pop()!r}; give one of them a name")
        if self.fuse.pairwise and not self.sources:
            raise ValueError("fuse.pairwise needs sources")
        return self

    @property
    def candidates(self) -> tuple[ModelSettings, ...]:
        """Return the models whose beliefs are compared, in the order in which ties are decided."""
        own = (self.target,) if self.sources and self.fuse.include_target else ()
        return own + self.sources
