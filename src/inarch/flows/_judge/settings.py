"""The settings of ``inarch evaluate judge``: models in, scores by a published protocol out."""

from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from inarch.evaluate.alpaca.judge import AlpacaProtocol
from inarch.evaluate.arena.settings import ArenaV01Protocol, ArenaV2Protocol
from inarch.evaluate.mt_bench.settings import MtBenchProtocol
from inarch.evaluate.protocol import CANARY, file_name
from inarch.io.answers import AnswererSettings, named
from inarch.io.endpoints import EndpointSettings
from inarch.io.sampling import SamplingSettings
from inarch.settings import PathSetting, Settings, to_dict

Protocol = Annotated[
    AlpacaProtocol | ArenaV01Protocol | ArenaV2Protocol | MtBenchProtocol,
    Field(discriminator="name"),
]
"""Told apart by the name."""

TOGETHER = "all judges"
"""What reports call the mean over judges."""


class CandidateSettings(AnswererSettings):
    """A model that is judged: one on this machine, one at an endpoint, or answers in a file."""

    answers: PathSetting | None = None
    """Answers that are there already, in the benchmark's official shape."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.path, self.endpoint, self.answers]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(f"{self.name}: expected one of path, endpoint and answers")
        dead = {"tokenizer", "dtype", "device"} & self.model_fields_set
        if self.path is None and dead:
            raise ValueError(f"{self.name}: {min(dead)} is for a model with a path")
        return self


class JudgeSettings(Settings):
    """Who judges."""

    name: str
    """What reports call it; by default the last part of the endpoint's model."""
    endpoint: EndpointSettings
    temperature: NonNegativeFloat | None = None
    """Of its replies; by default the benchmark's."""
    max_tokens: PositiveInt | None = None
    """Of each reply, by default as many as in the benchmark; a judge that thinks needs more."""

    @model_validator(mode="before")
    @classmethod
    def _with_name(cls, value: Any) -> Any:
        return named(value)


class JudgeRun(Settings):
    """A run of ``inarch evaluate judge``."""

    protocol: Protocol
    """The benchmark; a bare name is enough."""
    models: tuple[CandidateSettings, ...] = Field(min_length=1)
    """Who is judged. A bare string is a path."""
    judges: tuple[JudgeSettings, ...] = Field(min_length=1)
    """Each judges all models alone; several are also taken together."""
    sampling: SamplingSettings | None = None
    """How models answer; by default as the benchmark says."""
    limit: PositiveInt | None = None
    """Only this many questions, the first ones."""
    canary: bool = False
    """Also judge a constant answer that says nothing, and must not win."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        for who in (self.models, self.judges):
            names = [one.name for one in who]
            files = [file_name(name) for name in names]
            twice = [name for name, file in zip(names, files, strict=True) if files.count(file) > 1]
            odd = [name for name in names if not name or "/" in name or name.startswith(".")]
            if twice:
                known = " and ".join(dict.fromkeys(twice))
                raise ValueError(f"two are called {known}; give one of them another name")
            if odd:
                raise ValueError(f"found the name {odd[0]!r}, expected one that can name a file")
        if CANARY in [model.name for model in self.models]:
            raise ValueError(
                f"found a model called {CANARY}, which the canary is; name it otherwise"
            )
        if TOGETHER in [judge.name for judge in self.judges]:
            raise ValueError(
                f"found a judge called {TOGETHER}, which their mean is; name it otherwise"
            )
        if self.sampling is not None and all(model.answers for model in self.models):
            raise ValueError("sampling has no effect on answers that are there; leave it out")
        return self


def result_settings(settings: JudgeRun) -> dict[str, object]:
    """Return the settings that all models and judges of a folder share; others may come to it."""
    own: dict[str, Any] = to_dict(settings)
    own["protocol"].pop("without_logprobs", None)  # how one judge is read, as its record says
    return {name: own[name] for name in ("protocol", "sampling", "limit")}
