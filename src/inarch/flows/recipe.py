"""The recipe of ``teach`` and ``fuse``: one YAML file for the whole run."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from inarch.data.corpus import DataSettings
from inarch.fuse.settings import FuseSettings
from inarch.match.vocabulary import MatchSettings
from inarch.settings import Settings, to_dict
from inarch.teach.settings import TeachSettings
from inarch.train.settings import TrainSettings


class ModelSettings(Settings):
    """A causal language model. A bare string is its path."""

    short = "path"

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


_COSTS_ONLY = {
    "": ("work", "device"),
    "teach": ("batch_tokens",),
    "train": (
        "keep_checkpoints",
        "log_every_steps",
        "micro_batch_size",
        "num_workers",
        "report_to",
        "save_every_steps",
    ),
}
"""Settings by section that change what a run costs or shows, and not its result."""


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
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the accelerator of this process where there is one."""
    work: str | None = None
    """Folder for the cut corpus and the teachers' beliefs, which runs may share; by default the
    output folder."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        labels = [self.target.label, *(source.label for source in self.sources)]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ValueError(f"two models are called {twice.pop()!r}; give one of them a name")
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        over_ids = self.fuse.objective not in ("uld", "chunk")
        prefix = self.match.coverage == "prefix" and over_ids
        mistakes = (
            (self.fuse.pairwise and not self.sources, "fuse.pairwise needs sources"),
            (
                self.teach.temperature != 1 and prefix,
                "teach.temperature other than 1 needs match.coverage: boundary, since prefix"
                " follows a source along the text, whose tokens are kept at temperature 1",
            ),
            (
                self.teach.online and self.train.num_workers > 0,
                "teach.online runs models while batches are made; it needs train.num_workers: 0",
            ),
            (
                self.teach.online and self.train.group_by_length,
                "teach.online does not know the length of rows; it needs group_by_length: false",
            ),
            (
                not over_ids and self.match.vocabulary != "bytes",
                f"match.vocabulary has no effect under fuse.objective: {self.fuse.objective}",
            ),
        )
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self

    @property
    def candidates(self) -> tuple[ModelSettings, ...]:
        """Return the models whose beliefs are compared, in the order in which ties are decided."""
        own = (self.target,) if self.sources and self.fuse.include_target else ()
        return own + self.sources


def result_settings(settings: FuseRun) -> dict[str, Any]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, Any] = to_dict(settings)
    for section, names in _COSTS_ONLY.items():
        for name in names:
            (own[section] if section else own).pop(name)
    return own
