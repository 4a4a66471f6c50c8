"""The settings of ``inarch align build``: prompts in, rows for WRPO or DPO out."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from inarch.align._candidates import ChooseSettings
from inarch.align._prompts import PromptSettings
from inarch.align._rows import PreferenceSettings
from inarch.flows._align.settings import AlignRun, MethodSettings
from inarch.flows._align.settings import result_settings as align_result_settings
from inarch.flows._scoring.scorers import scorer_key
from inarch.flows._scoring.settings import ScorerSettings
from inarch.flows.recipe import ModelSettings
from inarch.io.answers import AnswererSettings
from inarch.io.endpoints import identity
from inarch.io.sampling import SamplingSettings
from inarch.settings import Settings, to_dict, validate
from inarch.train.settings import TrainSettings


class SftSettings(Settings):
    """The first stage: the target learns the best answers to a part of the prompts."""

    share: float = Field(default=1 / 3, gt=0.0, lt=1.0)
    """Share of the prompts that it learns from; the others are for preferences. WRPO: a third."""
    seed: int = 42
    """Of which prompts those are."""
    max_tokens: PositiveInt | None = None
    """Longest prompt with an answer; null is the default of ``inarch align train``."""
    max_prompt_tokens: PositiveInt | None = None
    """Tokens of a prompt that stay, its end, in a row that is longer than that; null likewise."""
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        self.rows("")
        return self

    def rows(self, path: str) -> PreferenceSettings:
        """Return how the rows of a file are read."""
        limits = {"max_tokens": self.max_tokens, "max_prompt_tokens": self.max_prompt_tokens}
        given = {name: value for name, value in limits.items() if value is not None}
        return validate(PreferenceSettings, {"path": path, **given}, "rows")


class BuildRun(Settings):
    """A run of ``inarch align build``."""

    prompts: PromptSettings
    sources: tuple[AnswererSettings, ...] = Field(min_length=1)
    """Who answers: models on this machine, or at endpoints. A bare string is a path. The first of
    equals wins."""
    target: ModelSettings
    """The model that is to be aligned; it is trained on the sources' best answers first."""
    samples: int = Field(default=5, ge=2)
    """Answers of each model to each prompt."""
    sampling: SamplingSettings = SamplingSettings()
    scorer: ScorerSettings
    """Says how good an answer is."""
    choose: ChooseSettings = ChooseSettings()
    sft: SftSettings = SftSettings()
    work: str | None = None
    """Folder for answers and scores, which runs may share; by default the output folder."""
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the accelerator of this process where there is one."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        names = [self.target.label, *(source.name for source in self.sources)]
        twice = sorted({name for name in names if names.count(name) > 1})
        odd = [name for name in names if not name or "/" in name or name.startswith(".")]
        has_reference = self.prompts.reference is not None
        mistakes = (
            (bool(twice), f"two models are called {twice[:1]}; give one of them another name"),
            (bool(odd), f"found the name {odd[:1]}, expected one that can name a folder"),
            (
                self.scorer.check is not None and not has_reference,
                "scorer.check compares with a reference; name its column as prompts.reference",
            ),
            (
                self.sampling.temperature == 0,
                "sampling.temperature 0 makes all samples of a model one text, of which no row can"
                " be made; give one above 0",
            ),
            (
                self.scorer.reward_model is not None and has_reference,
                "prompts.reference has no effect on a reward model; take it out",
            ),
        )
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self

    def sft_run(self, data: str) -> AlignRun:
        """Return the training of the first stage on the rows of a file."""
        return AlignRun(
            model=self.target,
            data=self.sft.rows(data),
            method=MethodSettings(name="sft"),
            train=self.sft.train,
            device=self.device,
        )

    def target_after(self, model: Path) -> AnswererSettings:
        """Return who answers for the target: what SFT has made of it."""
        return AnswererSettings(name=self.target.label, path=str(model), dtype=self.target.dtype)


def source_key(source: AnswererSettings) -> dict[str, Any]:
    """Return what decides a source's answers, beside the sampling and a model's weights."""
    if source.endpoint is not None:
        return {"name": source.name, "endpoint": identity(source.endpoint)}
    return {"name": source.name, "dtype": source.dtype}


def sampling_key(settings: BuildRun) -> dict[str, Any]:
    """Return what decides answers, beside the model."""
    own: dict[str, Any] = to_dict(settings.sampling)
    own.pop("batch_size")
    return own | {"num_samples": settings.samples}


def result_settings(settings: BuildRun) -> dict[str, Any]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, Any] = to_dict(settings)
    for name in ("work", "device", "samples"):
        own.pop(name)
    own["sources"] = [source_key(source) for source in settings.sources]
    own["sampling"] = sampling_key(settings)
    own["scorer"] = scorer_key(settings.scorer)
    own["sft"]["train"] = align_result_settings(settings.sft_run(""))["train"]
    return own
