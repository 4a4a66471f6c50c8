"""What a recipe may say about tokens: ``tokenizer`` and its parts."""

from typing import Literal

from pydantic import PositiveInt, model_validator

from inarch.merge._gradients import Truth
from inarch.settings import Settings


class ModelToken(Settings):
    """A row named by its model and token."""

    kind: Literal["model_token"]
    model: str
    """The model, as the recipe writes it elsewhere."""
    token: str | None = None
    """The token, or"""
    token_id: int | None = None
    """the index of the row."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "ModelToken":
        if (self.token is None) == (self.token_id is None):
            raise ValueError("model_token takes one of token and token_id")
        return self


class ZeroRow(Settings):
    """A row of zeros."""

    kind: Literal["zero"]


class TokenRule(Settings):
    """Where models that lack a token get its row from."""

    source: str | ModelToken | ZeroRow | None = None
    """A model, a row of one, or zeros; nothing for the usual rule."""
    force: Truth = False
    """Models that have the token get this row, too."""

    @model_validator(mode="after")
    def _force_what(self) -> "TokenRule":
        if self.force and self.source is None:
            raise ValueError("force has no effect here; it needs a source")
        return self


class TokenizerSettings(Settings):
    """The tokenizer of the result."""

    source: str = "union"
    """``union`` of all models' tokens, ``base`` for the base model's, a model, or a folder."""
    tokens: dict[str, TokenRule] | None = None
    """Rules for single tokens; those that do not exist yet are added."""
    pad_to_multiple_of: PositiveInt | None = None
    """Round the number of rows up; each of the rows that stand for no token is the model's mean."""
