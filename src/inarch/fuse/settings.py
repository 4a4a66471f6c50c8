"""Settings of ``fuse``; importing them imports no torch."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, PositiveFloat, model_validator

from inarch.settings import Settings, UnitFloat

Method = Literal["mince", "avgce"]
Granularity = Literal["sequence", "span", "token"]
Objective = Literal["ce", "kl", "reverse_kl", "jsd", "uld", "chunk"]


class FuseSettings(Settings):
    """Who is believed where, and how hard the target is pulled; the defaults are FuseLLM's."""

    model_config = ConfigDict(populate_by_name=True)

    method: Method = "mince"
    """``mince`` believes the model that is least surprised, ``avgce`` mixes them."""
    granularity: Granularity = "sequence"
    """What is compared as one: a document, a span between boundaries that all models share, or a
    token of the target."""
    compare: Literal["byte", "token"] = "byte"
    """Nats per byte over the same bytes, or, as published, per token of each model's own."""
    weighting: Literal["softmax", "released"] = "softmax"
    """``avgce`` only: softmax(-cost / spread), or the released code's softmax(exp(-cost))."""
    spread: PositiveFloat = 0.1
    """``avgce`` with softmax only: the difference in cost that matters, in ``compare``'s unit."""
    include_target: bool = True
    """The target is one of the candidates."""
    when_target_wins: Literal["self", "gold"] = "self"
    """``mince`` only: teach the target its own distribution, as published, or the label alone."""
    floor: PositiveFloat | None = None
    """Nobody is believed above this cost, in nats per byte; the label is taught instead."""
    pairwise: bool = False
    """One fused target per source (FuseChat, first stage) instead of one from all."""
    objective: Objective = "ce"
    """Divergence between the fused distribution and the target's."""
    lambda_: UnitFloat = Field(default=0.9, alias="lambda")
    """Weight of the plain language-modelling loss; 1 - lambda is that of the fused one."""
    tail: Literal["bucket", "ignore", "renormalise"] = "bucket"
    """Mass outside the kept ids: one more outcome, left out, or (released code) scaled away."""
    unmatched: Literal["label", "skip"] = "label"
    """Positions where nobody speaks: the label stands in, as published, or no fused term."""

    @model_validator(mode="after")
    def _no_dead_settings(self) -> Self:
        mince, softmax = self.method == "mince", self.weighting == "softmax"
        over_ids = self.objective not in ("uld", "chunk")
        dead = [
            ("weighting", mince, "method: avgce"),
            ("spread", mince or not softmax, "method: avgce with weighting: softmax"),
            ("when_target_wins", not mince, "method: mince"),
            ("when_target_wins", not self.include_target, "include_target: true"),
            ("tail", not over_ids, "an objective over distributions"),
        ]
        for name, is_dead, needs in dead:
            if is_dead and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect here; it needs {needs}")
        if not mince and not over_ids:
            raise ValueError(
                f"objective {self.objective} follows one teacher; it needs method: mince"
            )
        if self.objective in ("reverse_kl", "jsd") and self.tail == "ignore":
            raise ValueError(
                f"objective {self.objective} needs whole distributions, not tail: ignore"
            )
        if self.floor is not None and self.compare == "token":
            raise ValueError("floor is in nats per byte; it needs compare: byte")
        return self
