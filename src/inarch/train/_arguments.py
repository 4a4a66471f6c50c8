"""The settings of a run in the words of transformers.Trainer."""

from __future__ import annotations

import os
from pathlib import Path

from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from inarch.errors import MissingExtra, SettingsError
from inarch.train.settings import TrainSettings


def arguments(
    settings: TrainSettings, folder: Path, total: int, *, on_cpu: bool
) -> TrainingArguments:
    """Return the Trainer's own settings.

    Args:
        settings: How to train.
        folder: Of the checkpoints.
        total: Optimiser steps of the run.
        on_cpu: Train on the CPU, whatever else there is.

    Raises:
        SettingsError: Settings that do not fit the machine or the launch.
        MissingExtra: DeepSpeed is asked for and not installed.
    """
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = settings.micro_batch_size or max(1, settings.batch_size // num_processes)
    if settings.batch_size % (micro * num_processes):
        raise SettingsError(
            f"found batch_size {settings.batch_size}, {num_processes} processes and"
            f" micro_batch_size {micro}, expected a multiple of {micro * num_processes};"
            " change one of them"
        )
    if settings.precision == "fp16" and on_cpu:
        raise SettingsError("found precision fp16 without a GPU; use float32 or bf16")
    folder.mkdir(parents=True, exist_ok=True)
    saves = settings.save_every_steps is not None and settings.save_every_steps < total
    try:
        args = TrainingArguments(
            output_dir=str(folder),
            max_steps=total,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=settings.batch_size // (micro * num_processes),
            learning_rate=settings.lr,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.betas[0],
            adam_beta2=settings.betas[1],
            adam_epsilon=settings.eps,
            max_grad_norm=settings.clip,
            bf16=settings.precision == "bf16",
            fp16=settings.precision == "fp16",
            gradient_checkpointing=settings.gradient_checkpointing or None,
            save_strategy="steps" if saves else "no",
            save_steps=settings.save_every_steps or total,
            logging_steps=settings.log_every_steps,
            logging_nan_inf_filter=False,  # would make the device wait in every step
            report_to="none",
            dataloader_num_workers=settings.num_workers,
            dataloader_pin_memory=not on_cpu,
            remove_unused_columns=False,
            disable_tqdm=True,
            log_level="error",
            seed=settings.seed,
            use_cpu=on_cpu,
            ddp_find_unused_parameters=False,
            deepspeed=None if settings.deepspeed is None else str(settings.deepspeed),
            fsdp=settings.fsdp is not None,
            fsdp_config=None if settings.fsdp is None else str(settings.fsdp),
        )
    except ImportError as error:
        raise MissingExtra(f"a package is not installed: {error}") from error
    if args.n_gpu > 1:
        args._n_gpu = 1  # one process uses one GPU; `accelerate launch` uses them all
    return args


def reporters(settings: TrainSettings, out: Path) -> list[TrainerCallback]:
    """Return what logs to the places of ``report_to``; TensorBoard's files go to ``out``.

    Raises:
        SettingsError: A name that transformers does not know.
        MissingExtra: A package that is not installed.
    """
    made = []
    for name in settings.report_to:
        try:
            (kind,) = get_reporting_integration_callbacks([name])
            made.append(kind())
        except ValueError as error:
            raise SettingsError(f"found {name!r} in report_to: {error}") from error
        except (ImportError, RuntimeError) as error:
            raise MissingExtra(
                f"report_to {name} needs a package that is not installed; run: pip install {name}"
            ) from error
        if kind is TensorBoardCallback:
            made[-1].logging_dir = str(out / "tensorboard")
    return made
