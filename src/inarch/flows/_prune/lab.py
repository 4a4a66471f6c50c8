"""What a pruning run works with: the model, the texts, the weight of each part.

lab = Lab(settings)
lab.enough(value)(steps)     whether a target is reached
lab.curve(method, steps)     what each step costs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from inarch.evaluate import Workload, measure_speed
from inarch.flows._prune.calibration import calibrate
from inarch.flows._prune.order import Enough, gone_by, losses_along
from inarch.flows._prune.settings import MethodSettings, PruneRun
from inarch.io.models import DTYPES, load_model, max_positions, pick_device
from inarch.io.tokenizers import load_tokenizer
from inarch.prune import Step, _sizes
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import gone
from inarch.prune._order import Kind

WORKLOAD = Workload()
"""What speeds are measured on."""
_KINDS: tuple[Kind, Kind] = ("mha", "mlp")


class Lab:
    """The model, the texts, and what follows from them."""

    def __init__(self, settings: PruneRun) -> None:
        """Load and measure.

        Raises:
            WeightsError: The model cannot be read or its blocks cannot be removed.
            DataError: There is too little text.
        """
        self.settings = settings
        device = settings.devices[0] if settings.devices else pick_device()
        dtype = None if settings.dtype == "auto" else DTYPES[settings.dtype]
        self.model = BlockModel.of(load_model(settings.model, dtype=dtype, device=device))
        self.tokenizer = load_tokenizer(settings.tokenizer_path)
        limit = max_positions(self.model.model.config)
        self.texts = calibrate(settings.data, self.tokenizer, limit)
        self.sizes = _sizes.measure(self.model)
        pads = sorted(gone(self.model.model.config))
        self.before = [Step(tuple(pads), math.nan)] if pads else []
        """Blocks that an earlier cut left empty, as a step that came before all others."""

    def share(self, steps: Sequence[Step]) -> float:
        """Return the share of the parameters that the steps remove."""
        embeddings = self.settings.target.count_embeddings
        return _sizes.removed_frac(self.sizes, gone_by(steps), embeddings=embeddings)

    def enough(self, value: float) -> Enough:
        """Return what tells whether a value of the target is reached."""
        target = self.settings.target
        if target.kind == "latency":
            saving = self.saving_per_block()
            return lambda steps: sum(saving[block.kind] for block in gone_by(steps)) >= value
        stop = target.stop(value)
        # Blocks that an earlier cut left empty take no room, but are none that were removed now.
        pads = [] if stop.kind == "blocks" else gone_by(self.before)
        form = self.settings.format
        return lambda steps: _sizes.reached(self.sizes, [*pads, *gone_by(steps)], stop, form)

    def saving_per_block(self) -> dict[str, float]:
        """Return the share of the time of a written token that a block of each kind takes."""
        model, blocks = self.model, self.model.blocks
        times = {"": measure_speed([model.model], WORKLOAD)[0].decode_s}
        for kind in _KINDS:
            with model.without(block for block in blocks if block.kind == kind):
                times[kind] = measure_speed([model.model], WORKLOAD)[0].decode_s
        return {kind: max(0.0, 1 - times[kind] / times[""]) / model.num_layers for kind in _KINDS}

    def curve(self, method: MethodSettings, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Return blocks, share of the parameters and losses: of the whole model, after each step.

        ``nll`` is that of the calibration rows, ``held_out`` that of the others, or None.
        """
        numbers = range(len(steps) + 1)
        losses = [
            list(losses_along(self.model, rows, self.settings.search, steps, method.formula))
            if rows
            else [None for _ in numbers]
            for rows in (self.texts.rows, self.texts.held_out)
        ]
        return [
            {
                "blocks": len(gone_by(steps[:num])),
                "share": self.share(steps[:num]),
                "nll": nll,
                "held_out": held_out,
            }
            for num, nll, held_out in zip(numbers, *losses, strict=True)
        ]
