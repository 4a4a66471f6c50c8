"""Train a causal LM by any loss, resumable, on one process or many.

Differs: transformers.Trainer averages over micro-batches and processes where their items differ in
number; here a step's loss is its sum over items divided by the items of the whole step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from peft import LoraConfig, get_peft_model
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.io.files import append_metrics, read_metrics, write_atomic
from inarch.io.models import quiet_transformers
from inarch.io.progress import track
from inarch.train import checkpoints
from inarch.train._arguments import arguments, reporters
from inarch.train._loop import Follow, Loop, Loss, Plan
from inarch.train.plan import num_steps, row_order
from inarch.train.settings import LoraSettings, TrainSettings

logger = logging.getLogger(__name__)


class TrainResult(NamedTuple):
    """What a run left behind."""

    model: Path
    """Folder that ``AutoModelForCausalLM.from_pretrained`` loads, weights in float32."""
    num_steps: int
    """Optimiser steps of the whole run."""
    resumed_step: int
    """Step that this call went on from, 0 if it began."""
    metrics: dict[str, float]
    """Last line of ``metrics.jsonl``."""
    wall_s: float
    """Time of this call."""


def train(  # noqa: PLR0913  (data, objective and place are three different things)
    model: PreTrainedModel,
    dataset: Sequence[Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    loss: Loss,
    settings: TrainSettings,
    out: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Train `model` and return where it was saved.

    Writes ``out/model``, with LoRA also ``out/adapter``, ``out/metrics.jsonl`` (per window, means
    over items) and ``out/checkpoints``, from the newest of which a killed run goes on: on one CPU
    process, to bitwise the same weights. Whether `out` belongs to these settings is the caller's to
    know.

    Args:
        model: The model in float32, or with LoRA in any format. Changed in place, and
            left in evaluation mode.
        dataset: Rows by index. With ``group_by_length`` its ``lengths`` gives their tokens.
        collate: Rows to a batch of tensors, among them ``num_items``, an integer tensor ``[]``.
        loss: From model, batch and the share of training done, in [0, 1), to sums over its items.
        settings: How to train.
        out: Folder of the run.
        tokenizer: Saved with the model.
        callbacks: Told of every step; what one does to the model as training ends is saved.

    Raises:
        SettingsError: Settings that do not fit the machine, the launch or the data.
        DataError: No rows, or a loss that is NaN or infinite.
        WeightsError: The model cannot be saved, or a checkpoint does not fit it.
        MissingExtra: A package of ``report_to``, or DeepSpeed, is not installed.
    """
    began = time.monotonic()
    out = Path(out)
    folder = out / "checkpoints"
    plan = _plan(dataset, loss, settings, out)
    _check_generation_config(model)
    use_cache = getattr(model.config, "use_cache", True)
    with quiet_transformers():
        total = num_steps(len(dataset), settings)
        args = arguments(settings, folder, total, on_cpu=model.device.type == "cpu")
        set_seed(settings.seed)
        if settings.lora is not None:
            model = _with_lora(model, settings.lora)
        else:
            model.float()
        loop = Loop(plan, model=model, args=args, data_collator=collate, train_dataset=dataset)
        loop.remove_callback(PrinterCallback)
        for callback in (*reporters(settings, out), *callbacks):
            loop.add_callback(callback)
        checkpoint, resumed_step = checkpoints.newest(folder)
        if loop.is_world_process_zero():
            checkpoints.discard_partial(folder)
            loop.last_row = _rewind(plan.metrics, resumed_step)
        if checkpoint is not None:
            logger.info("going on from %s", checkpoint)
        with track("train", args.max_steps, "steps", resumed_step) as advance:
            if loop.is_world_process_zero():
                loop.add_callback(Follow(advance))
            else:
                loop.add_callback(Follow(lambda number: None))
            loop.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        model.config.use_cache = use_cache
        _save(loop, out, tokenizer)
    wall_s = time.monotonic() - began
    return TrainResult(out / "model", args.max_steps, resumed_step, loop.last_row, wall_s)


def _plan(dataset: Sequence[Any], loss: Loss, settings: TrainSettings, out: Path) -> Plan:
    if not len(dataset):
        raise DataError("found 0 rows to train on, expected some; look at what was skipped before")
    lengths = None
    if settings.group_by_length:
        lengths = getattr(dataset, "lengths", None)
        if lengths is None:
            raise SettingsError("group_by_length needs data that knows its lengths; switch it off")
    order = row_order(len(dataset), settings, lengths)
    return Plan(loss, order, len(dataset), settings, out / "metrics.jsonl")


def _with_lora(model: PreTrainedModel, lora: LoraSettings) -> Any:
    targets = lora.target_modules
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise SettingsError(
            f"found lora.target_modules {targets!r}, expected modules of the model: {error}"
        ) from error


def _check_generation_config(model: PreTrainedModel) -> None:
    """Find out before the training, not after it, that the model could not be saved."""
    if getattr(model, "generation_config", None) is None:  # it generates nothing
        return
    try:
        model.generation_config.validate(strict=True)
    except ValueError as error:
        raise WeightsError(
            f"transformers will not save this model's generation_config.json: {error}; correct that"
            " file of the checkpoint"
        ) from error


def _rewind(metrics: Path, step: int) -> dict[str, float]:
    """Cut off the lines of steps that are about to be done again; return the last one left."""
    rows = read_metrics(metrics) if metrics.exists() else []
    kept = [row for row in rows if row["step"] <= step]
    with write_atomic(metrics) as temp:
        temp.touch()
        for row in kept:
            append_metrics(temp, row)
    return kept[-1] if kept else {}


def _save(loop: Loop, out: Path, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Write the trained model; all processes take part in gathering its shards."""
    state = loop.accelerator.get_state_dict(loop.model_wrapped)
    # Without the cast of bf16 around its forward, for a caller that goes on with the model.
    model = loop.accelerator.unwrap_model(loop.model_wrapped, keep_fp32_wrapper=False).eval()
    if not loop.is_world_process_zero():
        return
    if loop.plan.settings.lora is not None:
        with write_atomic(out / "adapter") as temp:
            model.save_pretrained(temp)
        # Merged in float32 and off the device: the sum needs more bits and room than the parts.
        model, state = model.cpu().float().merge_and_unload(), None
    with write_atomic(out / "model") as temp:
        model.save_pretrained(temp, state_dict=state)
        if tokenizer is not None:
            tokenizer.save_pretrained(temp)
