"""The settings of ``inarch evaluate judge``: models in, scores by a published protocol out."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from inarch.evaluate.judge_alpaca import AlpacaProtocol
from inarch.io.answers import AnswererSettings
from inarch.io.endpoints import EndpointSettings
from inarch.io.sampling import SamplingSettings
from inarch.settings import PathSetting, Settings

Protocol = Annotated[AlpacaProtocol, Field()]
"""More to come: a union, told apart by the name."""


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
    """What reports call it."""
    endpoint: EndpointSettings


class JudgeRun(Settings):
    """A run of ``inarch evaluate judge``."""

    protocol: Protocol
    """The benchmark; a bare name is enough."""
    models: tuple[CandidateSettings, ...] = Field(min_length=1)
    """Who is judged. A bare string is a path; without a name it is the last part of that."""
    judges: tuple[JudgeSettings, ...] = Field(min_length=1)
    """Each judges all models alone; several are also taken together."""
    sampling: SamplingSettings | None = None
    """How models answer; by default as the benchmark says."""
    limit: PositiveInt | None = None
    """Only this many questions, the first ones."""
    canary: bool = False
    """Also judge a constant answer that says nothing, which must not win."""
    device: Literal["auto", "cpu"] = "auto"
    """Where models on this machine run."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
