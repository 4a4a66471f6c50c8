"""Revisers of SEFT: trained from answers of known quality, and kept with their labels."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch

from inarch.align._ranked import Ranked, ranked_rows
from inarch.align._read import Preference
from inarch.align._reviser import ReviserForm, as_answers, reviser_lessons
from inarch.align._rows import PreferenceSettings, check_template, tokenised
from inarch.errors import DataError, SettingsError
from inarch.flows import align
from inarch.flows._align.fit import fitted
from inarch.flows._align.settings import result_settings
from inarch.flows._build.rows import write_jsonl
from inarch.flows._corpus import data_digest, tokenizer_at
from inarch.flows._seft.settings import SeftRun
from inarch.flows.recipe import ModelSettings
from inarch.flows.teach import model_digest
from inarch.io.files import digest_file, write_json
from inarch.io.progress import track
from inarch.io.runs import Stage, is_first_process, stage
from inarch.io.tokenizers import Tokenizer
from inarch.records import Message
from inarch.settings import to_dict, validate

logger = logging.getLogger(__name__)

KEPT = "reviser.json"
"""File beside the weights that holds a reviser's form and the gaps that its labels stand for."""
_ENDLESS = 2**30


class Reviser(NamedTuple):
    """A trained reviser."""

    name: str
    model: ModelSettings
    form: ReviserForm
    digest: str
    """Of its weights and its form."""


def reviser_of(settings: SeftRun, name: str, out: Path) -> Reviser:
    """Return a reviser of the run, trained if it is not yet.

    Raises:
        DataError: There is nothing that it could learn from, or no reviser in its folder.
        SettingsError: It was trained with other labels or another instruction than are asked for.
    """
    own = settings.revisers[name]
    folder = Path(own.path) if own.path is not None else out / "revisers" / name
    if own.path is None:
        _train(settings, name, folder)
    form = _form_of(folder)
    if own.path is not None and "form" in own.model_fields_set and own.form != form:
        raise SettingsError(_differences(folder, form, own.form))
    model = trained_model(folder)
    return Reviser(name, model, form, f"{model_digest(model)} {digest_file(folder / KEPT)}")


def trained_model(folder: Path) -> ModelSettings:
    """Return the weights of a reviser's folder."""
    return ModelSettings(path=str(folder / "train" / "model"))


def _train(settings: SeftRun, name: str, folder: Path) -> None:
    own = settings.revisers[name]
    assert own.data is not None, "it has data or a path"  # noqa: S101
    keeps = settings.control != "always_revise"
    key: dict[str, Any] = to_dict(own) | {"keeps": keeps}
    key["train"] = result_settings(settings.reviser_run(name, ""))["train"]
    model = own.model or settings.policy
    inputs = {"model": model_digest(model), "data": data_digest(own.data.path)}
    with stage(folder, "seft reviser", key, inputs) as opened:
        if opened.done:
            return
        rows = folder / "rows.jsonl"
        if is_first_process():
            if "gaps" not in opened.facts:
                _write_rows(settings, name, rows, opened)
            opened.note(prepared=True)
        opened.wait_for("prepared")
        logger.info("training the reviser %s on %s", name, rows)
        align.run(settings.reviser_run(name, str(rows)), folder / "train")
        if is_first_process():
            kept = {"form": to_dict(own.form), **{n: opened.facts[n] for n in _FACTS}}
            write_json(folder / KEPT, kept)
            opened.note(trained=True)
        opened.wait_for("trained")


_FACTS = ("gaps", "label_counts", "num_rows", "dropped")


def _write_rows(settings: SeftRun, name: str, path: Path, opened: Stage) -> None:
    own = settings.revisers[name]
    assert own.data is not None, "it has data or a path"  # noqa: S101
    tokenizer = tokenizer_at((own.model or settings.policy).tokenizer_path)
    check_template(tokenizer)
    dropped: Counter[str] = Counter()
    found: list[Ranked] = []
    with track(f"reading {own.data.path}", None, "rows") as advance:
        for row in ranked_rows(own.data, dropped):
            found.append(row)
            advance(1)
    if not found:
        reasons = ", ".join(f"{n} {why}" for why, n in (+dropped).items())
        raise DataError(
            f"{own.data.path}: found no row to learn from ({reasons or 'the file is empty'})"
        )
    generator = torch.Generator().manual_seed(own.seed)
    keeps = settings.control != "always_revise"
    made = reviser_lessons(found, own.form, generator, keeps=keeps)
    limit = fitted(settings.reviser_run(name, str(path))).data.max_tokens
    rows = list(as_answers(made.rows, own.form))
    objections = [_too_long(row, tokenizer, limit) for row in rows]
    dropped.update(filter(None, objections))
    write_jsonl(path, (row for row, why in zip(rows, objections, strict=True) if not why))
    for why, number in (+dropped).items():
        logger.warning("%s: %d %s are left out", own.data.path, number, why)
    opened.note(
        gaps=made.thresholds,
        label_counts=dict(zip(own.form.labels.names, made.counts, strict=True)),
        num_rows=objections.count(""),
        dropped=dict(+dropped),
    )


def _too_long(row: dict[str, Any], tokenizer: Tokenizer, max_tokens: int) -> str:
    """Return why a row cannot be learnt whole, or nothing: half a revision teaches to stop."""
    chat = tuple(Message(**turn) for turn in row["prompt"])
    wide = PreferenceSettings(path="", max_tokens=_ENDLESS, max_prompt_tokens=_ENDLESS - 1)
    made = tokenised(Preference("", chat, (row["completion"],)), tokenizer, wide)
    if isinstance(made, str):
        return made
    too_long = len(made.prompt) + len(made.answers[0]) > max_tokens
    return "lessons longer than max_tokens" if too_long else ""


def _form_of(folder: Path) -> ReviserForm:
    path = folder / KEPT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return validate(ReviserForm, content["form"], str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise DataError(
            f"{folder}: found no reviser ({error}); expected a folder `revisers/NAME` of a run of"
            f" inarch align seft, with {KEPT} and train/model"
        ) from error


def _differences(folder: Path, there: ReviserForm, now: ReviserForm) -> str:
    flat_there, flat_now = ({**f.labels.model_dump(), **f.model_dump()} for f in (there, now))
    lines = [
        f"  {name}: {flat_there[name]} there, {flat_now[name]} now"
        for name in flat_there
        if name != "labels" and flat_there[name] != flat_now[name]
    ]
    return "\n".join(
        [
            f"{folder} holds a reviser with another form:",
            *lines,
            "Take `form` out of the recipe, or train a reviser with it",
        ]
    )
