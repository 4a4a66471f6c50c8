"""The flow behind ``inarch prune``: an order of blocks, and real models without the first of them.

    calibrate ─► search, a step at a time ─► cut ─► reload and compare ─► measure ─► (heal)

A run folder holds ``order.jsonl``, a row per step as soon as it is decided; ``compare-*.jsonl``,
the same of other methods; ``order.json`` and ``reference.json``, the order for us and as the
reference code writes it; ``model``, or one folder per target; ``healed``; and ``pruned.json``, what
is shown.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from inarch.errors import SettingsError
from inarch.evaluate import Workload, measure_speed
from inarch.flows._calibration import Calibration, calibrate
from inarch.flows._heal import HealSettings, heal
from inarch.flows._prune_card import card
from inarch.flows._prune_order import (
    Enough,
    as_row,
    find_order,
    flat,
    losses_along,
    read_order,
    until,
)
from inarch.flows._prune_plan import plan
from inarch.flows._prune_settings import COSTS_ONLY, MethodSettings, PruneRun
from inarch.io.files import digest_file, digest_folder, write_atomic
from inarch.io.models import DTYPES, load_model, max_positions, quiet_transformers
from inarch.io.runs import stage
from inarch.io.tokenizers import load_tokenizer
from inarch.prune import Block, Step, _sizes
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut, gone
from inarch.prune._fold import folded, folds_of
from inarch.prune._lists import write_list
from inarch.prune._order import Kind
from inarch.prune._score import ModelSubject
from inarch.prune._verify import verify
from inarch.settings import to_dict

__all__ = ["HealSettings", "PruneRun", "plan", "run"]

JOURNAL, ORDER, REFERENCE, RESULT = "order.jsonl", "order.json", "reference.json", "pruned.json"
MODEL, HEALED = "model", "healed"
STAGE = "prune"
WORKLOAD = Workload()
_KINDS: tuple[Kind, Kind] = ("mha", "mlp")
_CHECKED_TOKENS = 64
"""Of the text on which a saved model is compared with the masked one."""


def run(settings: PruneRun, out: Path, healing: HealSettings | None = None) -> dict[str, Any]:
    """Prune, and return what ``pruned.json`` holds.

    Raises:
        WeightsError: The model cannot be read or its blocks cannot be removed.
        DataError: There is too little text, or the model cannot predict it.
        SettingsError: The target cannot be reached, or the folder is of another run.
    """
    own = {name: value for name, value in to_dict(settings).items() if name not in COSTS_ONLY}
    inputs = {"model": _digest(settings.model), "data": _digest(settings.data.path)}
    if settings.tokenizer:
        inputs["tokenizer"] = _digest(settings.tokenizer)
    if settings.order:
        inputs["order"] = digest_file(settings.order)
    if healing:
        own["heal"] = to_dict(healing)
    with stage(out, STAGE, own, inputs) as opened:
        if not opened.done:
            found = _Lab(settings, out).run(healing)
            _write(out / RESULT, found)
            opened.note(num_removed=len(found["order"]), **found["calibration"])
    return json.loads((out / RESULT).read_text(encoding="utf-8"))


class _Order(NamedTuple):
    """What a method found."""

    steps: list[Step]
    curve: list[dict[str, Any]]
    """Blocks, share of the parameters and losses, before any removal and after each step."""


class _Lab:
    """The model, the texts, and what is found out about them."""

    def __init__(self, settings: PruneRun, out: Path) -> None:
        self.settings, self.out = settings, out
        self.tokenizer = load_tokenizer(settings.tokenizer_path)
        device = settings.devices[0] if settings.devices else _device()
        dtype = None if settings.dtype == "auto" else DTYPES[settings.dtype]
        self.model = BlockModel.of(load_model(settings.model, dtype=dtype, device=device))
        self.texts = self._calibrate()
        self.sizes = _sizes.measure(self.model)
        pads = sorted(gone(self.model.model.config))
        self.before = [Step(tuple(pads), math.nan)] if pads else []
        self.targets = [self._enough(value) for value in settings.target.values]

    def run(self, healing: HealSettings | None) -> dict[str, Any]:
        """Search, cut, measure, heal, and return what was found."""
        settings = self.settings
        began = time.monotonic()
        steps = self._find(settings.method, self.out / JOURNAL, self.targets[-1])
        search_s = time.monotonic() - began
        orders = {settings.method.name: _Order(steps, self._curve(settings.method, steps))}
        last = orders[settings.method.name].curve[-1]["share"]
        for other in settings.compare:
            path = self.out / f"compare-{other.name}.jsonl"
            found = self._find(
                other, path, lambda done: self._share(done) >= last - 1e-9, partly=True
            )
            orders[other.name] = _Order(found, self._curve(other, found))
        self._write_orders(steps)
        models = self._models(orders[settings.method.name])
        if healing:
            models += self._heal(healing, models[-1])
        return {
            "model": settings.model,
            "method": settings.method.name,
            "format": settings.format,
            "num_layers": self.model.num_layers,
            "order": flat(steps),
            "steps": [as_row(step) for step in steps],
            "calibration": {**self.texts.facts, "digest": self.texts.digest},
            "search_s": round(search_s, 3),
            "workload": WORKLOAD._asdict(),
            "models": models,
            "curves": {name: order.curve for name, order in orders.items()},
        }

    def _calibrate(self) -> Calibration:
        limit = max_positions(self.model.model.config)
        return calibrate(self.settings.data, self.tokenizer, limit)

    # --------------------------------------------------------------------------------- the search

    def _find(
        self, method: MethodSettings, journal: Path, enough: Enough, *, partly: bool = False
    ) -> list[Step]:
        """Return a method's steps up to a target; ``partly``: or as far as it goes."""
        subject = ModelSubject(
            self.model, self.texts.rows, self.settings.search, self.settings.devices
        )
        given: list[Step] = []
        if self.settings.order and journal.name == JOURNAL:
            given = read_order(self.settings.order, self.model.blocks)
        if given and enough(given):
            return until(given, enough)
        before = [*self.before, *given]
        found = find_order(
            (method.name, method.own()),
            subject,
            journal,
            before,
            lambda done: enough([*given, *done]),
        )
        steps = [*given, *found]
        if not partly and not enough(steps):
            target = self.settings.target
            raise SettingsError(
                f"target.{target.kind}: {target.values[-1]:g} is out of reach; {method.name} ends"
                f" after {len(steps)} steps with {self._share(steps):.1%} of the parameters gone;"
                " ask for less, or protect fewer blocks"
            )
        return steps

    def _enough(self, value: float) -> Enough:
        """Return what tells whether a target is reached."""
        target = self.settings.target
        if target.kind == "latency":
            saving = self._saving_per_block()
            return lambda steps: sum(saving[b.kind] for b in _gone(steps)) >= value
        stop = target.stop(value)
        # Blocks that an earlier cut left empty take no room, but are none that were removed now.
        pads = [] if stop.kind == "blocks" else _gone(self.before)
        form = self.settings.format
        return lambda steps: _sizes.reached(self.sizes, [*pads, *_gone(steps)], stop, form)

    def _saving_per_block(self) -> dict[str, float]:
        """Return the share of the time of a written token that a block of each kind takes."""
        model, blocks = self.model, self.model.blocks
        times = {"": measure_speed([model.model], WORKLOAD)[0].decode_s}
        for kind in _KINDS:
            with model.without(block for block in blocks if block.kind == kind):
                times[kind] = measure_speed([model.model], WORKLOAD)[0].decode_s
        return {kind: max(0.0, 1 - times[kind] / times[""]) / model.num_layers for kind in _KINDS}

    def _share(self, steps: Sequence[Step]) -> float:
        """Return the share of the parameters that the steps remove."""
        embeddings = self.settings.target.count_embeddings
        return _sizes.removed_frac(self.sizes, _gone(steps), embeddings=embeddings)

    def _curve(self, method: MethodSettings, steps: Sequence[Step]) -> list[dict[str, Any]]:
        formula = method.formula
        texts = (self.texts.rows, self.texts.held_out)
        losses = [
            list(losses_along(self.model, rows, self.settings.search, steps, formula))
            if rows
            else [None] * (len(steps) + 1)
            for rows in texts
        ]
        return [
            {
                "blocks": len(_gone(steps[:num])),
                "share": self._share(steps[:num]),
                "nll": nll,
                "held_out": held_out,
            }
            for num, (nll, held_out) in enumerate(zip(*losses, strict=True))
        ]

    def _write_orders(self, steps: Sequence[Step]) -> None:
        with write_atomic(self.out / REFERENCE) as temp:
            temp.write_text(write_list(steps))
        _write(self.out / ORDER, {
            "model": self.settings.model,
            "method": to_dict(self.settings.method),
            "data_digest": self.texts.digest,
            "steps": [as_row(step) for step in steps],
        })  # fmt: skip

    # --------------------------------------------------------------------------------- the models

    def _models(self, order: _Order) -> list[dict[str, Any]]:
        """Cut a model for each target, and return the rows of the whole model and of all cuts."""
        rows = [self._row("whole", self.settings.model, [], order)]
        for value, enough in zip(self.settings.target.values, self.targets, strict=True):
            steps = until(order.steps, enough)
            single = len(self.targets) == 1
            name = "cut" if single else f"{self.settings.target.kind} {value:g}"
            folder = MODEL if single else f"{MODEL}-{value:g}"
            row = self._row(name, folder, steps, order)
            self._cut(self.out / folder, steps, [rows[0], row])
            rows.append(row)
        return rows

    def _cut(self, folder: Path, steps: Sequence[Step], rows: Sequence[dict[str, Any]]) -> None:
        """Save the smaller model; note in the rows, of the whole one and of this, how fast."""
        settings, model = self.settings, self.model.model
        formula = settings.method.formula
        ids_BT = self.texts.rows.ids_ST[:1, :_CHECKED_TOKENS].to(model.device)
        with folded(self.model, folds_of(steps), formula), write_atomic(folder) as temp:
            with torch.no_grad(), self.model.without(_gone([*self.before, *steps])):
                logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
            new = self._smaller(steps)
            rows[-1]["num_layers"] = new.config.get_text_config().num_hidden_layers
            with quiet_transformers():
                new.save_pretrained(temp)
            self.tokenizer.hf.save_pretrained(temp)
            text = card(settings, steps, rows[-1], rows[0])
            (temp / "README.md").write_text(text, encoding="utf-8")
            verify(temp, logits_BTV, ids_BT, attention=model.config._attn_implementation)
            if settings.speed:
                speeds = measure_speed([model, new], WORKLOAD)
                for row, speed in zip(rows, speeds, strict=True):
                    row |= {"prefill_s": speed.prefill_s, "decode_s": speed.decode_s}

    def _smaller(self, steps: Sequence[Step]) -> Any:
        try:
            return cut(self.model, steps, self.settings.format, data_digest=self.texts.digest)
        except SettingsError as error:
            raise SettingsError(
                f"{error}. What the search found is not lost: in another folder, go on with"
                f" --set order={self.out / ORDER}"
            ) from None

    def _row(self, name: str, folder: str, steps: Sequence[Step], order: _Order) -> dict[str, Any]:
        """Return what is known of a model without running it."""
        removed, form = _gone([*self.before, *steps]), self.settings.format
        embeddings = self.settings.target.count_embeddings
        sizes, point = self.sizes, order.curve[len(steps)]
        count, cache, saved = sizes.total, sum(sizes.kv_bytes.values()), 0.0
        if steps:
            count, cache = _sizes.kept(sizes, removed, form), _sizes.kv_bytes(sizes, removed, form)
            saved = _sizes.shed_frac(sizes, removed, form, embeddings=embeddings)
        return {
            "name": name,
            "folder": folder,
            "healed": False,
            "num_removed": len(_gone(steps)),
            "num_layers": self.model.num_layers,
            "removed_share": self._share(steps),
            "saved_share": saved,
            "parameters": count.parameters,
            "bytes": count.bytes,
            "kv_bytes": cache,
            "nll": point["nll"],
            "held_out": point["held_out"],
            "prefill_s": None,
            "decode_s": None,
        }

    def _heal(self, healing: HealSettings, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Train the smallest model on, and return the rows of what comes out."""
        whole, tokenizer = self.settings.model, self.settings.tokenizer_path
        made = heal(healing, self.out / row["folder"], whole, tokenizer, self.out / HEALED)
        rows = []
        for name, folder in made.items():
            model = BlockModel.of(load_model(folder, device=self.model.model.device))
            texts = {"nll": self.texts.rows, "held_out": self.texts.held_out}
            losses = {
                key: next(losses_along(model, part, self.settings.search, [])) if part else None
                for key, part in texts.items()
            }
            where = str(folder.relative_to(self.out))
            rows.append(
                {**row, "name": f"healed, {name}", "healed": True, "folder": where, **losses}
            )
        return rows


def _gone(steps: Sequence[Step]) -> list[Block]:
    return [block for step in steps for block in step.unit]


def _device() -> str:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return str(found or "cpu")


def _digest(path: str) -> str:
    """Return what identifies a file or folder; of what is on the hub, its name."""
    place = Path(path)
    return (
        digest_folder(place) if place.is_dir() else digest_file(place) if place.is_file() else path
    )


def _write(path: Path, value: dict[str, Any]) -> None:
    with write_atomic(path) as temp:
        temp.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
