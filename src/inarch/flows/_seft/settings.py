"""The settings of ``inarch align seft``: revisers, and rounds in which the policy learns."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from inarch.align._prompts import PromptSettings
from inarch.align._ranked import RankedSettings
from inarch.align._revised_rows import FilterSettings
from inarch.align._reviser import ReviserForm
from inarch.align._rows import PreferenceSettings
from inarch.flows._align.settings import AlignRun, MethodSettings
from inarch.flows._align.settings import result_settings as align_result_settings
from inarch.flows._scoring.scorers import scorer_key
from inarch.flows._scoring.settings import ScorerSettings
from inarch.flows.recipe import ModelSettings
from inarch.io.sampling import SamplingSettings
from inarch.settings import Settings, to_dict, validate
from inarch.train.settings import TrainSettings


class ReviserSettings(Settings):
    """A reviser: one that is trained here, or one that an earlier run has trained."""

    path: str | None = None
    """Folder of a trained reviser, ``revisers/NAME`` of another run; instead of ``data``."""
    data: RankedSettings | None = None
    """Answers of known quality, from which it learns."""
    model: ModelSettings | None = None
    """What it begins as. By default the policy before the first round, which makes the evolution
    internal; with a stronger model it is external."""
    form: ReviserForm = ReviserForm()
    """Its labels and its instruction. Of a trained reviser they are known; what is said of them
    must be the same."""
    max_tokens: PositiveInt | None = None
    """Longest prompt with answer, instruction and revision that it learns, as ``align train`` has
    it by default; longer ones are left out."""
    seed: NonNegativeInt = 0
    """Of which best answers it learns to keep."""
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.data is None):
            raise ValueError("found both or none of path and data, expected one of them")
        dead = self.model_fields_set & {"model", "max_tokens", "seed", "train"}
        if self.path is not None and dead:
            raise ValueError(f"{min(dead)} has no effect on a reviser that is trained; take it out")
        return self


class DecodeSettings(Settings):
    """How revisers write."""

    decide: Literal["greedy", "logps"] = "greedy"
    """The label is what the reviser writes, or the one with the largest log-prob."""
    keep_bias: float = 0.0
    """Nats that the label to keep gets on top, with ``logps``."""
    max_new_tokens: PositiveInt = 1024
    """A revision is cut here if the reviser does not end it before."""
    batch_size: PositiveInt = 64
    """Revisions that are written together; changes speed and memory only."""

    @model_validator(mode="after")
    def _nothing_dead(self) -> Self:
        if self.decide == "greedy" and self.keep_bias:
            raise ValueError("keep_bias has an effect with decide: logps only; take it out")
        return self


class RoundSettings(Settings):
    """One round. A bare string is its reviser."""

    short = "reviser"

    reviser: str
    """Name of its reviser."""
    num_prompts: PositiveInt | None = None
    """Prompts that no round before has seen; by default an equal share of what is left."""


class SeftRun(Settings):
    """A run of ``inarch align seft``: a policy learns from its own answers, revised."""

    policy: ModelSettings
    """The model that is trained, round after round."""
    revisers: dict[str, ReviserSettings] = Field(min_length=1)
    """By name, such as ``internal`` and ``external``."""
    rounds: tuple[RoundSettings, ...] = Field(min_length=1)
    """In their order, such as ``[internal, internal, external]``."""
    prompts: PromptSettings
    """What the policy is asked; answers that stand there are not read."""
    prompts_seed: NonNegativeInt = 0
    """Of the order of the prompts."""
    sampling: SamplingSettings = SamplingSettings()
    """How the policy answers."""
    decode: DecodeSettings = DecodeSettings()
    filters: FilterSettings = FilterSettings()
    scorer: ScorerSettings | None = None
    """Scores answers before and after the reviser for the report; only ``filters.min_gain`` lets it
    decide anything."""
    control: Literal["self_sft", "always_revise"] | None = None
    """Runs for comparison: the policy learns its own answers as they are; or revisers learn no
    answers to keep."""
    max_tokens: PositiveInt | None = None
    """Longest prompt with an answer that the policy learns, as ``align train`` has it by
    default."""
    max_prompt_tokens: PositiveInt | None = None
    """Tokens of a prompt that stay, its end, in a row that is longer than that; likewise."""
    train: TrainSettings = TrainSettings()
    """How the policy learns in each round."""
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the accelerator of this process where there is one."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        used = [one.reviser for one in self.rounds]
        absent = sorted({*used} - self.revisers.keys())
        idle = sorted(self.revisers.keys() - {*used})
        models = [("policy", self.policy)]
        models += [(f"revisers.{n}.model", r.model) for n, r in self.revisers.items() if r.model]
        scratch = [name for name, model in models if model.scratch is not None]
        trained = [name for name, one in self.revisers.items() if one.path is not None]
        odd = [name for name in self.revisers if not name.replace("-", "_").isidentifier()]
        has_reference = self.prompts.reference is not None
        check = self.scorer is not None and self.scorer.check is not None
        mistakes = (
            (absent, f"rounds: found {absent}, expected names of revisers"),
            (idle, f"revisers: {idle} are in no round; take them out"),
            (odd, f"revisers: found the names {odd}, expected letters, digits, - and _"),
            (scratch, f"{scratch}: found scratch, expected a model that can answer"),
            (
                self.filters.min_gain is not None and self.scorer is None,
                "filters.min_gain needs a scorer",
            ),
            (
                self.control == "always_revise" and trained,
                f"control: always_revise trains revisers without answers to keep, but {trained}"
                " are trained already",
            ),
            (
                self.control == "self_sft" and self.filters != FilterSettings(),
                "filters have no effect with control: self_sft, which revises nothing",
            ),
            (
                has_reference and not self.scorer,
                "prompts.reference is for a scorer; without one it is not read: take it out",
            ),
            (
                check and not has_reference,
                "scorer.check compares with a reference; name its column as prompts.reference",
            ),
        )
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self

    def policy_run(self, policy: ModelSettings, data: str) -> AlignRun:
        """Return the training of one round on the rows of a file."""
        return AlignRun(
            model=policy,
            data=_rows(data, max_tokens=self.max_tokens, max_prompt_tokens=self.max_prompt_tokens),
            method=MethodSettings(name="sft"),
            train=self.train,
            device=self.device,
        )

    def reviser_run(self, name: str, data: str) -> AlignRun:
        """Return the training of a reviser on the rows of a file."""
        own = self.revisers[name]
        return AlignRun(
            model=own.model or self.policy,
            data=_rows(data, max_tokens=own.max_tokens),
            method=MethodSettings(name="sft"),
            train=own.train,
            device=self.device,
        )


def _rows(path: str, **given: int | None) -> PreferenceSettings:
    limits = {name: value for name, value in given.items() if value is not None}
    return validate(PreferenceSettings, {"path": path, **limits}, "max_tokens")


def result_settings(settings: SeftRun) -> dict[str, Any]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, Any] = to_dict(settings)
    own.pop("device")
    for section in ("sampling", "decode"):
        own[section].pop("batch_size")
    own["train"] = align_result_settings(settings.policy_run(settings.policy, ""))["train"]
    own["scorer"] = scorer_key(settings.scorer) if settings.scorer else None
    for name, one in settings.revisers.items():
        if one.data is not None:
            trained = align_result_settings(settings.reviser_run(name, ""))["train"]
            own["revisers"][name]["train"] = trained
    return own
