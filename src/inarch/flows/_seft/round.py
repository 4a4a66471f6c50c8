"""One round of SEFT: the policy answers fresh prompts, the reviser revises, the policy learns."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.align._decode import Revised, revised
from inarch.align._labels import LabelSettings
from inarch.align._prompts import PromptRow
from inarch.align._revised_rows import Scores, left_out, report
from inarch.errors import DataError
from inarch.flows import align
from inarch.flows._build.rows import write_jsonl
from inarch.flows._scoring.question import NoScore, Question
from inarch.flows._scoring.scorers import scores_of
from inarch.flows._seft.answers import Line, answers, written
from inarch.flows._seft.pool import Fresh
from inarch.flows._seft.reviser import Reviser
from inarch.flows._seft.settings import SeftRun, result_settings
from inarch.flows.recipe import ModelSettings
from inarch.flows.teach import device_of, model_digest
from inarch.io.files import read_metrics, write_json
from inarch.io.runs import MANIFEST, is_first_process, stage

logger = logging.getLogger(__name__)

_DECISIVE = ("control", "decode", "filters", "max_prompt_tokens", "max_tokens", "sampling", "train")
"""Settings that decide what comes of a round, whatever else is in the recipe."""
KEEP = 0
"""Label of what stays as it is."""


class Round(NamedTuple):
    """What a round begins with."""

    number: int
    """From 1."""
    policy: ModelSettings
    reviser: Reviser | None
    """None where the policy learns its own answers as they are."""
    fresh: Fresh


def play(settings: SeftRun, this: Round, out: Path) -> ModelSettings:
    """Return the policy after a round; everything that was made for it stays in ``out``.

    Raises:
        DataError: No row is left to learn.
    """
    key = {name: value for name, value in result_settings(settings).items() if name in _DECISIVE}
    inputs = {"policy": model_digest(this.policy), "prompts": this.fresh.digest}
    inputs["reviser"] = this.reviser.digest if this.reviser else "none"
    with stage(out, "seft round", key, inputs) as opened:
        if not opened.done:
            rows = out / "rows.jsonl"
            if is_first_process():
                if "told" not in opened.facts:
                    opened.note(told=_revise(settings, this, out))
                opened.note(prepared=True)
            opened.wait_for("prepared")
            align.run(settings.policy_run(this.policy, str(rows)), out / "train")
            if is_first_process():
                told = {"round": this.number, **opened.facts["told"], **_learnt(out / "train")}
                write_json(out / "report.json", told)
                opened.note(trained=True)
            opened.wait_for("trained")
    return ModelSettings(path=str(out / "train" / "model"), dtype=this.policy.dtype)


def _revise(settings: SeftRun, this: Round, out: Path) -> Line:
    """Write the rows of a round, and return what there is to tell of them."""
    rows, keys = this.fresh.rows, this.fresh.keys
    texts = answers(settings, this.policy, rows, keys, out / "answers.jsonl")
    answered = list(zip(rows, texts, strict=True))
    asked = [row for row, text in answered if text is not None]
    originals = [text for _, text in answered if text is not None]
    if not originals:
        raise DataError(
            f"{out}: the policy could read none of {len(answered)} prompts; look at answers.jsonl"
            " there"
        )
    if this.reviser is None:
        names = LabelSettings().names
        made = [Revised(text, KEEP) for text in originals]
    else:
        names = this.reviser.form.labels.names
        found = written(settings, this.reviser, asked, originals, out / "written.jsonl")
        made = [revised(o, text, names) for o, text in zip(originals, found, strict=True)]
    scores = _scores(settings, asked, originals, made, out)
    reasons = left_out(originals, made, settings.filters, scores)
    told = {
        "reviser": this.reviser.name if this.reviser else None,
        "num_prompts": len(answered),
        **report(originals, made, reasons, names, scores),
        "annotation_free": settings.filters.min_gain is None,
    }
    _warn(told, out)
    _write_rows(asked, originals, made, reasons, out)
    if not told["num_rows"]:
        raise DataError(
            f"{out}: of {len(originals)} answers none is left to learn ({told['left_out']}); look"
            " at revisions.jsonl there, and loosen the filters"
        )
    return told


def _scores(
    settings: SeftRun,
    asked: Sequence[PromptRow],
    originals: Sequence[str],
    made: Sequence[Revised],
    out: Path,
) -> Scores | None:
    """Return the scores of answers before and after the reviser, NaN where there are none."""
    if settings.scorer is None:
        return None
    pairs = [(original, one.text) for original, one in zip(originals, made, strict=True)]
    texts = [tuple(dict.fromkeys(text for text in pair if text.strip())) for pair in pairs]
    questions = [
        Question(row.where, row.messages, answers, row.reference)
        for row, answers in zip(asked, texts, strict=True)
        if answers
    ]
    results = iter(scores_of(questions, settings.scorer, out / "scores", device_of(settings)))
    found = [dict(zip(t, next(results), strict=True)) if t else {} for t in texts]

    def number(index: int, text: str) -> float:
        result = found[index].get(text, NoScore("empty"))
        return math.nan if isinstance(result, NoScore) else result

    return Scores(
        tuple(number(i, before) for i, (before, _) in enumerate(pairs)),
        tuple(number(i, after) for i, (_, after) in enumerate(pairs)),
    )


def _warn(told: Line, out: Path) -> None:
    """Say so where the reviser says little."""
    failed, total = sum(told["failures"].values()), told["num_answers"]
    if failed:
        logger.warning(
            "%s: the original stands in for %d of %d revisions: %s",
            out,
            failed,
            total,
            ", ".join(f"{number} {why}" for why, number in told["failures"].items()),
        )
    if told["num_prompts"] > total:
        unread = told["num_prompts"] - total
        logger.warning("%s: the policy cannot read %d prompts; see answers.jsonl", out, unread)


def _write_rows(
    asked: Sequence[PromptRow],
    originals: Sequence[str],
    made: Sequence[Revised],
    reasons: Sequence[str],
    out: Path,
) -> None:
    """Write what became of every answer, and what the policy is to learn."""
    rows = [
        {"prompt": [turn._asdict() for turn in row.messages], "completion": one.text}
        for row, one in zip(asked, made, strict=True)
    ]
    fates = [
        {"original": original, "label": one.label, "failure": one.failure, "left_out": why}
        for original, one, why in zip(originals, made, reasons, strict=True)
    ]
    write_jsonl(out / "revisions.jsonl", (a | b for a, b in zip(rows, fates, strict=True)))
    learnt = (row for row, why in zip(rows, reasons, strict=True) if not why)
    write_jsonl(out / "rows.jsonl", learnt)


def _learnt(folder: Path) -> Line:
    """Return what there is to tell of the training; it may leave out more rows."""
    rows = read_metrics(folder / "metrics.jsonl")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return {
        "num_learnt": manifest["facts"]["num_rows"],
        "sft_loss_first": rows[0]["loss"],
        "sft_loss_last": rows[-1]["loss"],
    }
