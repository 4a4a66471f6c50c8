"""The models of a pruning run: cut, saved, reloaded, timed, healed; and a row of facts for each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from inarch.errors import SettingsError
from inarch.evaluate import measure_speed
from inarch.flows._prune.card import card
from inarch.flows._prune.heal import HealSettings, heal
from inarch.flows._prune.lab import WORKLOAD, Lab
from inarch.flows._prune.order import ORDER, Enough, gone_by, losses_along, until
from inarch.io.files import write_atomic
from inarch.io.models import load_model, quiet_transformers
from inarch.prune import Step, _sizes
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._fold import folded, folds_of
from inarch.prune._verify import verify

logger = logging.getLogger(__name__)

MODEL, HEALED = "model", "healed"
_OVERSHOOT = 0.05
"""Share of the parameters beyond a ratio that is worth a word."""
Row = dict[str, Any]
_CHECKED_TOKENS = 64
"""Of the text on which a saved model is compared with the masked one."""


def cut_models(
    lab: Lab,
    targets: Sequence[Enough],
    steps: Sequence[Step],
    curve: Sequence[Row],
    out: Path,
) -> list[Row]:
    """Save a model for each target, and return the rows of the whole model and of all cuts.

    Args:
        lab: The model and the texts.
        targets: One for each value of the target, that of the largest model first.
        steps: What goes, in order.
        curve: Of `Lab.curve`.
        out: The run folder.

    Raises:
        SettingsError: The format cannot hold the model.
        WeightsError: A saved model does not load as the same model.
    """
    settings = lab.settings
    rows = [_row(lab, "whole", settings.model, [], curve[0])]
    for value, enough in zip(settings.target.values, targets, strict=True):
        first = until(steps, enough)
        single = len(targets) == 1
        name = "cut" if single else f"{settings.target.kind} {value:g}"
        folder = MODEL if single else f"{MODEL}-{value:g}"
        row = _row(lab, name, folder, first, curve[len(first)])
        if settings.target.kind == "ratio" and row["removed_share"] > value + _OVERSHOOT:
            logger.warning(
                "ratio %g: the last step takes it to %.1f %%; before it were %.1f %%",
                value,
                100 * row["removed_share"],
                100 * lab.share(first[:-1]),
            )
        _save(lab, first, out / folder, [rows[0], row])
        rows.append(row)
    return rows


def _save(lab: Lab, steps: Sequence[Step], folder: Path, rows: Sequence[Row]) -> None:
    """Save the smaller model; note in the rows, of the whole one and of this, how fast."""
    settings, model = lab.settings, lab.model.model
    ids_BT = lab.texts.rows.ids_ST[:1, :_CHECKED_TOKENS].to(model.device)
    with folded(lab.model, folds_of(steps), settings.method.formula), write_atomic(folder) as temp:
        with torch.no_grad(), lab.model.without(gone_by([*lab.before, *steps])):
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        new = _smaller(lab, steps, folder.parent)
        rows[-1]["num_layers"] = new.config.get_text_config().num_hidden_layers
        with quiet_transformers():
            new.save_pretrained(temp)
        lab.tokenizer.hf.save_pretrained(temp)
        text = card(settings, steps, rows[-1], rows[0])
        (temp / "README.md").write_text(text, encoding="utf-8")
        verify(temp, logits_BTV, ids_BT, attention=model.config._attn_implementation)
        if settings.speed:
            speeds = measure_speed([model, new], WORKLOAD)
            for row, speed in zip(rows, speeds, strict=True):
                row |= {"prefill_s": speed.prefill_s, "decode_s": speed.decode_s}


def _smaller(lab: Lab, steps: Sequence[Step], out: Path) -> Any:
    try:
        return cut(lab.model, steps, lab.settings.format, data_digest=lab.texts.digest)
    except SettingsError as error:
        raise SettingsError(
            f"{error}. What the search found is not lost: in another folder, go on with"
            f" --set order={out / ORDER}"
        ) from None


def _row(lab: Lab, name: str, folder: str, steps: Sequence[Step], point: Row) -> Row:
    """Return what is known of a model without running it."""
    removed, form = gone_by([*lab.before, *steps]), lab.settings.format
    embeddings, sizes = lab.settings.target.count_embeddings, lab.sizes
    count, cache, saved = sizes.total, sum(sizes.kv_bytes.values()), 0.0
    if steps:
        count, cache = _sizes.kept(sizes, removed, form), _sizes.kv_bytes(sizes, removed, form)
        saved = _sizes.shed_frac(sizes, removed, form, embeddings=embeddings)
    return {
        "name": name,
        "folder": folder,
        "healed": False,
        "num_removed": len(gone_by(steps)),
        "num_layers": lab.model.num_layers,
        "removed_share": lab.share(steps),
        "saved_share": saved,
        "parameters": count.parameters,
        "bytes": count.bytes,
        "kv_bytes": cache,
        "nll": point["nll"],
        "held_out": point["held_out"],
        "prefill_s": None,
        "decode_s": None,
    }


def heal_model(lab: Lab, healing: HealSettings, row: Row, out: Path) -> list[Row]:
    """Train a cut model on, and return the rows of what comes out.

    Args:
        lab: The whole model and the texts.
        healing: How.
        row: Of the cut model.
        out: The run folder.
    """
    settings = lab.settings
    made = heal(healing, out / row["folder"], settings.model, settings.tokenizer_path, out / HEALED)
    rows = []
    for name, folder in made.items():
        model = BlockModel.of(load_model(folder, device=lab.model.model.device))
        losses = {
            key: next(losses_along(model, part, settings.search, [])) if part else None
            for key, part in (("nll", lab.texts.rows), ("held_out", lab.texts.held_out))
        }
        where = str(folder.relative_to(out))
        rows.append({**row, "name": f"healed, {name}", "healed": True, "folder": where, **losses})
    return rows
