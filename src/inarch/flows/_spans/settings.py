"""The settings of ``inarch spans train``: one recipe for all encoders, features, heads, losses."""

from typing import Any, Literal, Self

from pydantic import PositiveInt, model_validator

from inarch.settings import Settings, UnitFloat, to_dict
from inarch.spans.auxiliary import Aux
from inarch.spans.encoder import WordEncoderSettings
from inarch.spans.losses import Loss
from inarch.train.settings import TrainSettings


class SpanDataSettings(Settings):
    """Posts with their spans, in any form that `inarch.spans.read` knows."""

    train: str
    """File to train on."""
    dev: str | None = None
    """File by whose character F1 the epoch is chosen; its texts are left out of training."""


class EncoderSettings(Settings):
    """What reads a text: the built-in encoder, or one of Hugging Face."""

    words: WordEncoderSettings | None = None
    """The built-in encoder, from random weights; ``{}`` for its defaults."""
    path: str | None = None
    """Folder, or id on the hub, of a pretrained encoder."""
    scratch: dict[str, Any] | None = None
    """Config of a new encoder with random weights (``model_type`` and its keys)."""
    tokenizer: str | None = None
    """Folder or id of the tokenizer, where that is not the encoder's own."""
    window: PositiveInt | None = None
    """Tokens that a Hugging Face encoder reads at once; by default as many as it can, at most
    512."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("words", "path", "scratch") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {given or 'nothing'}, expected one of words, path, scratch")
        if self.words is not None and (self.tokenizer or self.window):
            raise ValueError("tokenizer and window have no effect with words; take them out")
        if self.scratch is not None and self.tokenizer is None:
            raise ValueError("an encoder from scratch needs a tokenizer")
        return self


class SpanTrainSettings(TrainSettings):
    """How to train; the defaults are those of the built-in encoder."""

    epochs: float = 6.0
    batch_size: PositiveInt = 32
    lr: float = 2e-3
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    warmup_frac: UnitFloat = 0.0
    weight_decay: float = 0.01
    betas: tuple[UnitFloat, UnitFloat] = (0.9, 0.999)
    group_by_length: bool = True
    save_every_steps: PositiveInt | None = None


class SpansRun(Settings):
    """A run of ``inarch spans train``: a tagger learns which characters make a text toxic."""

    data: SpanDataSettings
    encoder: EncoderSettings = EncoderSettings(words=WordEncoderSettings())
    aux: Aux = "none"
    """What a tag is decided from beside the last layer; see `inarch.spans.auxiliary`."""
    head: Literal["softmax", "crf"] = "crf"
    """Tags of their own, or a chain of them."""
    loss: Loss | None = None
    """By default crf for the chain and ce for a softmax."""
    dropout: UnitFloat = 0.1
    """Share of the features that training drops."""
    train: SpanTrainSettings = SpanTrainSettings()
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes the accelerator of this process where there is one."""

    @property
    def loss_name(self) -> Loss:
        """Return the loss, given or by default."""
        return self.loss or ("crf" if self.head == "crf" else "ce")

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        own = self.train
        mistakes = (
            (self.loss_name == "crf" and self.head != "crf", "loss: crf needs head: crf"),
            (own.lora is not None, "train.lora is for language models; take it out"),
            (
                own.deepspeed is not None or own.fsdp is not None,
                "train.deepspeed and train.fsdp split a model that fits a device; take them out",
            ),
        )
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self


_COSTS_ONLY = ("keep_checkpoints", "log_every_steps", "num_workers", "report_to")


def result_settings(settings: SpansRun) -> dict[str, Any]:
    """Return the settings that decide the result; a run may go on with others changed."""
    own: dict[str, Any] = to_dict(settings) | {"loss": settings.loss_name}
    own.pop("device")
    for name in (*_COSTS_ONLY, "save_every_steps"):
        own["train"].pop(name)
    return own
