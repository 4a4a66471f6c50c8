"""Settings of the trainer. Defaults are FuseLLM's (arXiv:2401.10491) where it publishes them.

FuseChat (arXiv:2402.16107) differs: ``epochs: 3, lr: 5.0e-6, warmup_frac: 0.03, weight_decay: 0,
betas: [0.9, 0.999]``.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from inarch.settings import PathSetting, Settings, UnitFloat


class LoraSettings(Settings):
    """Train a low-rank update of the weights, by peft.

    ``model`` then holds the weights with the update added, ``adapter`` the update alone.
    """

    r: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32.0
    """Scale of the update, which is multiplied by ``alpha / r``."""
    dropout: UnitFloat = 0.0
    """Share of its inputs that are dropped."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Names of the modules that get one, or ``all-linear``: all but the head."""


class TrainSettings(Settings):
    """How to train; what is learned comes from the caller's loss."""

    epochs: PositiveFloat = 1.0
    """Passes over the rows, rounded up to whole optimiser steps."""
    max_steps: PositiveInt | None = None
    """Optimiser steps, instead of ``epochs``."""
    batch_size: PositiveInt = 128
    """Rows per optimiser step, over all processes."""
    micro_batch_size: PositiveInt | None = None
    """Rows of one forward pass of one process; by default its whole share of the batch."""
    lr: PositiveFloat = 1e-5
    """Learning rate after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_frac: UnitFloat = 0.008
    """Share of the steps in which the learning rate grows linearly."""
    min_lr_frac: UnitFloat = 0.0
    """Learning rate at the end, as a share of ``lr``."""
    weight_decay: NonNegativeFloat = 0.1
    """AdamW's decay, of matrices only: biases and norms have none."""
    betas: tuple[UnitFloat, UnitFloat] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    eps: PositiveFloat = 1e-8
    """AdamW's term in the denominator."""
    clip: PositiveFloat = 1.0
    """Largest norm of the gradient of a step."""
    seed: NonNegativeInt = 0
    """Of the order of the rows, of dropout and of new LoRA weights."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Format of the matrix products. Weights and optimiser stay float32."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    group_by_length: bool = False
    """Put rows of similar length into one step, which wastes less padding."""
    save_every_steps: PositiveInt | None = 500
    """Steps between two checkpoints; null writes none, so that a killed run starts over."""
    keep_checkpoints: PositiveInt = 1
    """Newest checkpoints that stay on disk."""
    log_every_steps: PositiveInt = 10
    """Steps that one line of ``metrics.jsonl`` averages over."""
    report_to: tuple[str, ...] = ()
    """Other places to log to, by the names that transformers uses: ``tensorboard``, ``wandb``."""
    num_workers: NonNegativeInt = 0
    """Processes that prepare batches beside the training."""
    lora: LoraSettings | None = None
    """Train a low-rank update; null trains all weights."""
    deepspeed: PathSetting | None = None
    """JSON file with DeepSpeed's settings."""
    fsdp: PathSetting | None = None
    """JSON file with FSDP's settings, as the ``fsdp_config`` of transformers."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for wrong, message in self._mistakes():
            if wrong:
                raise ValueError(message)
        return self

    def _mistakes(self) -> tuple[tuple[bool, str], ...]:
        fields = type(self).model_fields
        given = {name for name in fields if getattr(self, name) != fields[name].default}
        micro = self.micro_batch_size
        return (
            (
                self.max_steps is not None and "epochs" in given,
                "found max_steps and epochs, expected one of them; take one out",
            ),
            (
                micro is not None and self.batch_size % micro != 0,
                f"found batch_size {self.batch_size} and micro_batch_size {micro}, expected"
                " a divisor of the batch_size; change one of them",
            ),
            (
                self.schedule == "constant" and "min_lr_frac" in given,
                "found min_lr_frac with the constant schedule, which never falls; take it out",
            ),
            (
                self.save_every_steps is None and "keep_checkpoints" in given,
                "found keep_checkpoints without save_every_steps, so there are none; take it out",
            ),
            (
                self.deepspeed is not None and self.fsdp is not None,
                "found deepspeed and fsdp, expected one of them; take one out",
            ),
            (
                self.lora is not None and self.fsdp is not None,
                "found lora with fsdp, whose shards cannot be merged into the model; use deepspeed"
                " (ZeRO 1 or 2) or plain `accelerate launch`",
            ),
        )
