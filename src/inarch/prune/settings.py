"""How the loss of a model without some of its blocks is computed."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from inarch.settings import Settings


class SearchSettings(Settings):
    """The estimator, and what saves work. Of the latter, only ``racing`` may change an order."""

    batch_rows: PositiveInt = 8
    """Rows per forward. The last bits of a loss depend on it, so compare runs of one value."""
    mean: Literal["token", "row"] = "token"
    """Mean over tokens, or mean over rows of their means (published); alike where rows are full."""
    reuse_prefix: bool = True
    """Start each candidate from the kept state in front of the block that it leaves out."""
    reuse_winner: bool = True
    """Keep the states behind the best candidate: they are the base states of the next step."""
    reuse_candidates: bool = True
    """Keep states of every candidate, to start it there while what is removed lies behind them."""
    state_gib: float = Field(default=8.0, ge=0.0)
    """Memory for kept states, over all devices. With too little, they are kept at fewer places."""
    chunked_loss: bool = False
    """Never hold the logits of a whole batch (fast mode). Losses differ by rounding; candidates
    within 1e-5 of the best, relatively, are scored again without it."""
    early_stop: bool = True
    """Stop a candidate whose sum exceeds what the second best has in all."""
    racing: PositiveFloat | None = None
    """Drop a candidate whose loss, on 8, 16, 32, ... rows, is so many paired standard errors above
    the best. Takes the place of ``early_stop``."""

    @model_validator(mode="after")
    def _check_reuse(self) -> Self:
        for name in ("reuse_winner", "reuse_candidates"):
            if not self.reuse_prefix and name in self.model_fields_set and getattr(self, name):
                raise ValueError(
                    f"{name} starts from kept states, which reuse_prefix: false forbids"
                )
        return self
