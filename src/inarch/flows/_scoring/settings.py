"""What says how good an answer is: one of four kinds of scorer, and what becomes of failures."""

import re
from typing import Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from inarch.io.endpoints import EndpointSettings
from inarch.settings import Settings


class RewardModelSettings(Settings):
    """A sequence classifier with one output. A bare string is its path."""

    short = "path"

    path: str
    """Folder, or id on the hub, with safetensors weights."""
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of the weights in memory; ``auto`` is that of the checkpoint."""
    max_tokens: PositiveInt = 4096
    """Longest prompt with an answer; a longer one has no score."""
    batch_size: PositiveInt = 8
    """Answers that are read together."""


class JudgeSettings(Settings):
    """A language model at an endpoint, which rates answers from 1 to 10."""

    endpoint: EndpointSettings
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 1024
    """Of the judge's reply, which ends with its rating."""
    instruction: str = (
        "Act as an impartial judge of the response of an assistant to the last turn of the"
        " conversation below. Consider how helpful, relevant, accurate, deep and clear it is. Do"
        " not let its length sway you. Explain briefly, then rate the response from 1 to 10 in"
        ' exactly this form: "[[rating]]", for example: "Rating: [[5]]".'
    )
    """What the judge is told. The conversation, the reference where there is one, and the response
    follow."""


class CheckSettings(Settings):
    """A comparison with the reference of a prompt: 1 where it is right, 0 where not."""

    kind: Literal["exact", "number", "regex", "code"]
    """``exact``: the same text but for white space around it. ``number``: the last number of the
    answer is that of the reference. ``regex``: the reference is a pattern that the answer holds.
    ``code``: the reference is a test in Python that passes after the answer's code."""
    extract: str | None = None
    """Pattern whose last match, or the group in it, is the answer; without a match it is wrong."""
    timeout_s: PositiveFloat = 10.0
    """Longest run of a test."""
    memory_mib: PositiveInt = 1024
    """Most memory of a test."""
    concurrency: PositiveInt = 2
    """Tests that run at once."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.kind != "code":
            given = {"timeout_s", "memory_mib", "concurrency"} & self.model_fields_set
            if given:
                raise ValueError(f"{min(given)} has an effect with kind: code only; take it out")
        if self.extract is not None:
            try:
                re.compile(self.extract)
            except re.error as error:
                raise ValueError(f"extract is no regular expression: {error}") from None
        return self


class ScorerSettings(Settings):
    """One kind of scorer. A bare string is a callable."""

    short = "callable"

    callable: str | None = None
    """``module:function`` of prompt and answers, as lists of messages and of texts, that returns a
    number per answer; with ``prompts.reference``, the reference is its third argument. The module
    may be a file in the working directory."""
    reward_model: RewardModelSettings | None = None
    judge: JudgeSettings | None = None
    check: CheckSettings | None = None
    on_error: Literal["stop", "drop"] = "stop"
    """An answer that cannot be scored stops the run, which goes on there when it is started again;
    or it is counted and left out."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = ("callable", "reward_model", "judge", "check")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'}, expected one of {', '.join(kinds)}"
            )
        if self.callable is not None and not re.fullmatch(r"[\w.]+:\w+", self.callable):
            raise ValueError(f"callable: found {self.callable!r}, expected module:function")
        return self

    @property
    def kind(self) -> str:
        """Return which kind it is."""
        return next(k for k in ("callable", "reward_model", "judge", "check") if getattr(self, k))
