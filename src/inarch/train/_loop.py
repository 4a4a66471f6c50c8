"""transformers.Trainer with another idea of a loss, of a mean and of a whole checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from inarch.errors import DataError, WeightsError
from inarch.io.files import append_metrics, explain_full_disk
from inarch.records import LossOut
from inarch.train import checkpoints
from inarch.train.plan import lr_scale
from inarch.train.settings import TrainSettings

Loss = Callable[[nn.Module, Mapping[str, Any], float], LossOut]
"""From a model, a batch and the share of training done to sums over the batch's items."""


class Plan(NamedTuple):
    """What a run is to do, beside the model."""

    loss: Loss
    order: NDArray[np.int64]
    """Rows of all steps, one after the other."""
    num_rows: int
    settings: TrainSettings
    metrics: Path
    """File that gets one line per ``log_every_steps``."""


class _Order(torch.utils.data.Sampler[int]):
    def __init__(self, order: NDArray[np.int64]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self._order.tolist())

    def __len__(self) -> int:
        return len(self._order)


class Loop(Trainer):
    """Trains by ``plan.loss``, divided by the items of a whole optimiser step."""

    loss_is_scaled_for_ga = True

    def __init__(self, plan: Plan, **kwargs: Any) -> None:
        self.plan = plan
        self.last_row: dict[str, float] = {}
        self._window: list[tuple[int, Tensor, dict[str, Tensor]]] = []
        self._window_began = time.perf_counter()
        super().__init__(**kwargs)

    # ------------------------------------------------------------------------------- the loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        """Return the items of the optimiser step, over its micro-batches and all processes."""
        items = torch.stack([torch.as_tensor(batch["num_items"]) for batch in batch_samples]).sum()
        return self.accelerator.reduce(items.to(device), "sum").clamp(min=1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a micro-batch, so that a step's add up to the mean over its items."""
        step = self.state.global_step
        out = self.plan.loss(model, inputs, step / self.state.max_steps)
        sums = {"loss": out.loss.detach(), **out.metrics}
        self._window.append((step, inputs["num_items"], sums))
        # Gradients are averaged over processes, where their sum is wanted.
        return out.loss * (self.accelerator.num_processes / num_items_in_batch)

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """Return 0: the count walks the model in every step, and nobody reads it."""
        return 0

    # --------------------------------------------------------------------- order and schedule

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return _Order(self.plan.order)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the scheduler of this run."""
        self._created_lr_scheduler = True
        self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: lr_scale(step, num_training_steps, self.plan.settings),
        )
        return self.lr_scheduler

    # ------------------------------------------------------------------------------- metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the means over the items since the last log, in place of the Trainer's."""
        if "loss" not in logs:  # the summary at the end of training
            return
        row = self._mean_over_window()
        row["lr"] = logs["learning_rate"]
        if "grad_norm" in logs:  # DeepSpeed may keep it to itself
            row["grad_norm"] = logs["grad_norm"]
        step = self.state.global_step
        # The scaler of fp16 leaves such a step out; otherwise the weights are lost now, and after
        # the last step no loss would tell.
        if not math.isfinite(row.get("grad_norm", 0.0)) and self.plan.settings.precision != "fp16":
            raise DataError(f"the gradient of step {step} is not finite; lower lr or clip")
        epoch = step * self.plan.settings.batch_size / self.plan.num_rows
        self.last_row = {"step": step, "epoch": epoch, **row}
        if self.is_world_process_zero():
            append_metrics(self.plan.metrics, self.last_row)
        self.state.epoch = epoch
        super().log(row)

    def _mean_over_window(self) -> dict[str, float]:
        self._check_finite()
        names = list(self._window[0][2])
        table = torch.stack(
            [torch.stack([sums[name] for name in names]) for *_, sums in self._window]
        )
        items = torch.stack([num_items for _, num_items, _ in self._window]).sum()
        local = torch.cat([table.float().sum(0), items[None].float()])
        *sums, num_items = self.accelerator.reduce(local, "sum").tolist()
        now = time.perf_counter()
        seconds, self._window_began = now - self._window_began, now
        self._window.clear()
        means = {name: value / max(1.0, num_items) for name, value in zip(names, sums, strict=True)}
        return {**means, "num_items": num_items, "items_per_s": num_items / seconds}

    def _check_finite(self) -> None:
        """Stop where a loss since the last log was NaN or infinite.

        The steps after it, of which there are fewer than ``log_every_steps``, were in vain; to look
        at once would make the device wait for the processor in every step.

        Raises:
            DataError: Names the step.
        """
        losses = torch.stack([sums["loss"] for *_, sums in self._window])
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = self._window[int(bad[0])][0] + 1
            size = self.plan.settings.batch_size
            rows = self.plan.order[(step - 1) * size : step * size]
            raise DataError(
                f"the loss of step {step} is {losses[bad[0]].item()}, expected a finite number;"
                f" look for NaN in the rows {_some(rows)}, lower lr, or use precision bf16"
                " or float32 instead of fp16"
            )

    # ---------------------------------------------------------------------------- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / checkpoints.PARTIAL)

    def _save(self, output_dir: str, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write weights under the names that they have in memory.

        Published checkpoints name experts differently, and so does the Trainer when it saves, but
        not when it resumes.
        """
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with explain_full_disk(Path(self.args.output_dir)):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoints.publish(Path(self.args.output_dir), self.plan.settings.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Stop where a checkpoint lacks weights: the Trainer would go on with the initial ones."""
        absent = set(load_result.missing_keys)
        named = dict(self.model.named_parameters(remove_duplicate=False))
        there = {id(weight) for name, weight in named.items() if name not in absent}
        lost = [name for name in absent & named.keys() if id(named[name]) not in there]
        if lost or load_result.unexpected_keys:
            raise WeightsError(
                f"the newest checkpoint of {self.args.output_dir} does not fit the model:"
                f" absent are [{_some(sorted(lost))}], without a place"
                f" [{_some(sorted(load_result.unexpected_keys))}]; delete the folder to start over"
            )


class Follow(TrainerCallback):
    """Ends a window of metrics with every checkpoint and with the run, and moves the bar."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log wherever a resumed run may begin: its windows are then the same, its loss finite."""
        if control.should_save or state.global_step >= state.max_steps:
            control.should_log = True
        self._advance(1)


def _some(values: Any) -> str:
    values = list(values)
    return ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
