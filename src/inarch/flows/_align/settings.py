"""The settings of ``inarch align train``: one recipe for all methods."""

from typing import Any, Literal, Self

from pydantic import model_validator

from inarch.align import METHODS, AlignMethod
from inarch.align._rows import PreferenceSettings
from inarch.flows._method import MethodChoice
from inarch.flows.recipe import ModelSettings
from inarch.settings import Settings, to_dict
from inarch.train.settings import TrainSettings


class MethodSettings(MethodChoice):
    """A preference method."""

    table = METHODS
    name: str = "wrpo"

    @property
    def method(self) -> AlignMethod:
        """Return the method's line of the table."""
        return METHODS[self.name]


class AlignRun(Settings):
    """A run of ``inarch align train``: a model learns which answers are better."""

    model: ModelSettings
    """The model that is trained; for WRPO and DPO, what SFT has made of the target."""
    data: PreferenceSettings
    method: MethodSettings = MethodSettings()
    """wrpo, dpo, ipo, ln_dpo, simpo, orpo, kto or sft, with its settings."""
    reference: Literal["auto", "copy", "adapter", "stored"] = "auto"
    """Where log-probs under the model that training begins with come from: a second ``copy`` in
    memory, the model with its ``adapter`` switched off, or numbers that are ``stored`` before
    training; ``auto`` is adapter with ``train.lora`` and stored without."""
    cache: str | None = None
    """Folder of the stored log-probs, which runs may share; by default within the run folder."""
    held_out: PreferenceSettings | None = None
    """Rows on which the loss is also computed before and after training, with alpha at its end."""
    train: TrainSettings = TrainSettings()
    layout: Literal["auto", "padded", "packed", "shared"] = "auto"
    """How the answers of a batch lie in the rows that the model reads: one in each, ``padded`` to
    one length; several in each, ``packed``; or behind a prompt that is ``shared`` by the answers to
    it. The loss is the same; ``auto`` takes what costs a batch least, of what the model can do."""
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the accelerator of this process where there is one."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        has_reference = self.method.method.reference
        mistakes = (
            (
                not has_reference and self.reference != "auto",
                f"reference has no effect: {self.method.name} needs none; take it out",
            ),
            (
                self.reference == "adapter" and self.train.lora is None,
                "reference: adapter needs train.lora, an adapter to switch off",
            ),
            (
                self.cache is not None and self.reference_kind != "stored",
                "cache has an effect with reference: stored only; take it out",
            ),
            (
                self.reference == "copy" and self.train.fsdp is not None,
                "reference: copy would put the whole model on every device, beside its shards;"
                " use reference: stored",
            ),
        )
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self

    @property
    def reference_kind(self) -> Literal["copy", "adapter", "stored"] | None:
        """Return where the reference log-probs come from; None where none are needed."""
        if not self.method.method.reference:
            return None
        if self.reference == "auto":
            return "stored" if self.train.lora is None else "adapter"
        return self.reference


_COSTS_ONLY = {
    "": ("cache", "device", "layout"),
    "train": (
        "keep_checkpoints",
        "log_every_steps",
        "num_workers",
        "report_to",
        "save_every_steps",
    ),
}
"""Settings by section that change what a run costs or shows, and not its result."""


def result_settings(settings: AlignRun) -> dict[str, Any]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, Any] = to_dict(settings)
    own["method"] = {"name": settings.method.name, **to_dict(settings.method.own())}
    own["reference"] = settings.reference_kind
    for section, names in _COSTS_ONLY.items():
        for name in names:
            (own[section] if section else own).pop(name)
    if settings.method.name != "kto":  # its reference point is that of a micro-batch
        own["train"].pop("micro_batch_size")
    return own
