"""Whom models meet: a file of answers, or a model of the run."""

from typing import ClassVar, Self

from pydantic import model_validator

from inarch.settings import PathSetting, Settings


class BaselineSettings(Settings):
    """A model that others meet. A bare string is the file of its answers."""

    short: ClassVar[str] = "answers"

    answers: PathSetting | None = None
    """In the official shape; by default those of the run's model of this name."""
    name: str = ""
    """What reports call it; by default what the file does."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.answers is None and not self.name:
            raise ValueError("expected answers, a file, or name, that of a model of this run")
        return self
