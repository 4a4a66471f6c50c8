"""The flow behind ``inarch prune``: an order of blocks, and real models without the first of them.

    calibrate ─► search, a step at a time ─► cut ─► reload and compare ─► measure ─► (heal)

A run folder holds ``order.jsonl``, a row per step as soon as it is decided; ``compare-*.jsonl``,
the same of other methods; ``order.json`` and ``reference.json``, the order for us and as the
reference code writes it; ``model``, or one folder per target; ``healed``; and ``pruned.json``, what
is shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inarch.errors import SettingsError
from inarch.flows._corpus import data_digest
from inarch.flows._prune.heal import HealSettings
from inarch.flows._prune.lab import WORKLOAD, Lab
from inarch.flows._prune.models import cut_models, heal_model
from inarch.flows._prune.order import (
    ORDER,
    Enough,
    as_row,
    find_order,
    flat,
    gone_by,
    read_order,
    until,
)
from inarch.flows._prune.plan import plan, refuse_format
from inarch.flows._prune.settings import COSTS_ONLY, MethodSettings, PruneRun
from inarch.io.files import digest_file, digest_folder, write_atomic, write_json
from inarch.io.runs import stage
from inarch.prune import Step
from inarch.prune._lists import write_list
from inarch.prune._score import ModelSubject
from inarch.settings import to_dict

__all__ = ["HealSettings", "PruneRun", "plan", "run"]

JOURNAL, REFERENCE, RESULT = "order.jsonl", "reference.json", "pruned.json"
STAGE = "prune"


def run(settings: PruneRun, out: Path, healing: HealSettings | None = None) -> dict[str, Any]:
    """Prune, and return what ``pruned.json`` holds.

    Raises:
        WeightsError: The model cannot be read or its blocks cannot be removed.
        DataError: There is too little text, or the model cannot predict it.
        SettingsError: The target cannot be reached, or the folder is of another run.
    """
    own = {name: value for name, value in to_dict(settings).items() if name not in COSTS_ONLY}
    inputs = {"model": digest_folder(settings.model), "data": data_digest(settings.data.path)}
    if settings.tokenizer:
        inputs["tokenizer"] = digest_folder(settings.tokenizer)
    if settings.order:
        inputs["order"] = digest_file(settings.order)
    if healing:
        own["heal"] = to_dict(healing)
    refuse_format(settings)
    with stage(out, STAGE, own, inputs) as opened:
        if not opened.done:
            found = _prune(Lab(settings), out, healing)
            write_json(out / RESULT, found)
            opened.note(num_removed=len(found["order"]), **found["calibration"])
    return json.loads((out / RESULT).read_text(encoding="utf-8"))


def _prune(lab: Lab, out: Path, healing: HealSettings | None) -> dict[str, Any]:
    """Search, cut, measure, heal, and return what was found."""
    settings = lab.settings
    targets = [lab.enough(value) for value in settings.target.values]
    began = time.monotonic()
    steps = _search(lab, settings.method, out / JOURNAL, targets[-1])
    search_s = time.monotonic() - began
    curves = {settings.method.name: lab.curve(settings.method, steps)}
    curves |= _others(lab, out, curves[settings.method.name][-1]["share"])
    _write_orders(lab, steps, out)
    models = cut_models(lab, targets, steps, curves[settings.method.name], out)
    if healing:
        models += heal_model(lab, healing, models[-1], out)
    return {
        "model": settings.model,
        "method": settings.method.name,
        "format": settings.format,
        "num_layers": lab.model.num_layers,
        "empty": [list(block) for block in gone_by(lab.before)],
        "order": flat(steps),
        "steps": [as_row(step) for step in steps],
        "calibration": {**lab.texts.facts, "digest": lab.texts.digest},
        "search_s": round(search_s, 3),
        "workload": WORKLOAD._asdict(),
        "models": models,
        "curves": curves,
    }


def _search(lab: Lab, method: MethodSettings, journal: Path, enough: Enough) -> list[Step]:
    """Return the steps of a method up to a target, behind those of a given order.

    Raises:
        SettingsError: The target is out of reach.
    """
    settings = lab.settings
    digest = digest_folder(settings.model)
    given = read_order(settings.order, lab.model.blocks, digest) if settings.order else []
    if given and enough(given):
        return until(given, enough)
    before = [*lab.before, *given]
    found = _found(lab, method, journal, before, lambda done: enough([*given, *done]))
    steps = [*given, *found]
    if not enough(steps):
        target = settings.target
        raise SettingsError(
            f"target.{target.kind}: {target.values[-1]:g} is out of reach; {method.name} ends after"
            f" {len(steps)} steps with {lab.share(steps):.1%} of the parameters gone; ask for less,"
            " or protect fewer blocks"
        )
    return steps


def _others(lab: Lab, out: Path, share: float) -> dict[str, list[dict[str, Any]]]:
    """Return the curves of the methods to compare with, up to a share or as far as they go."""
    curves = {}
    for method in lab.settings.compare:
        journal = out / f"compare-{method.name}.jsonl"
        enough = lambda done: lab.share(done) >= share - 1e-9  # noqa: E731
        curves[method.name] = lab.curve(method, _found(lab, method, journal, lab.before, enough))
    return curves


def _found(
    lab: Lab, method: MethodSettings, journal: Path, before: Sequence[Step], enough: Enough
) -> list[Step]:
    settings = lab.settings
    subject = ModelSubject(lab.model, lab.texts.rows, settings.search, settings.devices)
    return find_order((method.name, method.own()), subject, journal, before, enough)


def _write_orders(lab: Lab, steps: Sequence[Step], out: Path) -> None:
    with write_atomic(out / REFERENCE) as temp:
        temp.write_text(write_list(steps))
    write_json(out / ORDER, {
        "model": lab.settings.model,
        "model_digest": digest_folder(lab.settings.model),
        "method": to_dict(lab.settings.method),
        "data_digest": lab.texts.digest,
        "steps": [as_row(step) for step in steps],
    })  # fmt: skip
