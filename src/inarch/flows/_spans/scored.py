"""What is known of a tagger's answers to labelled posts, and how `inarch report` gets it.

scores.json    the official score, other systems beside it, mistakes by kind, calibration
scored.jsonl   a post per line: id, text, gold spans, predicted spans with their scores, f1
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from inarch.io.files import write_atomic, write_json
from inarch.spans.calibration import Reliability, span_reliability
from inarch.spans.metric import Paired, Score, f1
from inarch.spans.offsets import runs
from inarch.spans.read import Labels

SCORES, ROWS = "scores.json", "scored.jsonl"


class Beside(NamedTuple):
    """Another system on the same posts."""

    name: str
    """``lexicon``, ``logistic``, or the file of its predictions."""
    score: Score
    better: Paired
    """How much better than it the predictions are."""
    cpu_s: float | None = None
    """Processor seconds of its training; None if it was not trained here."""


class Calibration(NamedTuple):
    """Whether scores mean what they say."""

    of: Literal["spans", "tokens"]
    """What has the scores: predicted spans only, or every token."""
    found: Reliability


class Scores(NamedTuple):
    """What is known of predictions."""

    official: Score
    micro_character_f1: float
    """Over the characters of all posts together; not the task's score."""
    micro_word_f1: float
    """Over the words of all posts together, NaN without texts; not the task's score."""
    errors: Mapping[str, int]
    """Spans by kind of mistake; see `inarch.spans.errors`."""
    beside: tuple[Beside, ...]
    skipped: Mapping[str, int]
    """Why rows were left out, and how many."""
    calibration: Calibration | None = None
    """None where spans have no scores."""


def calibration_of(predicted: Sequence[Labels], gold: Sequence[Labels]) -> Calibration | None:
    """Return whether the scores of spans mean what they say; None where some have none."""
    has_all = all(row.scored for row in predicted if row.offsets)
    if not has_all or not any(row.scored for row in predicted):
        return None
    found = span_reliability([row.scored for row in predicted], [row.offsets for row in gold])
    return Calibration("spans", found)


def write_scored(
    folder: Path, found: Scores, predicted: Sequence[Labels], gold: Sequence[Labels]
) -> None:
    """Write ``scored.jsonl`` and then ``scores.json`` into a run folder."""
    with write_atomic(folder / ROWS) as temp, temp.open("w", encoding="utf-8") as file:
        for ours, theirs in zip(predicted, gold, strict=True):
            file.write(f"{json.dumps(_row(ours, theirs))}\n")
    write_json(folder / SCORES, plain(found))


def read_scores(folder: Path) -> Scores | None:
    """Return what `write_scored` wrote of predictions, without calibration; None if it did not."""
    path = folder / SCORES
    if not path.is_file():
        return None
    row = json.loads(path.read_text(encoding="utf-8"))
    return Scores(
        Score(**_with_nan(row["official"])),
        **_with_nan({name: row[name] for name in ("micro_character_f1", "micro_word_f1")}),
        errors=row["errors"],
        beside=tuple(
            Beside(
                other["name"],
                Score(**_with_nan(other["score"])),
                Paired(**_with_nan(other["better"])),
                other["cpu_s"],
            )
            for other in row["beside"]
        ),
        skipped=row["skipped"],
    )


def _with_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what `plain` does to numbers."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def plain(value: Any) -> Any:
    """Return nested records as JSON has them, which has no NaN."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _row(predicted: Labels, gold: Labels) -> dict[str, Any]:
    return {
        "id": gold.id,
        "text": gold.text,
        "gold": runs(gold.offsets),
        "predicted": predicted.scored or [(*run, None) for run in runs(predicted.offsets)],
        "f1": f1(predicted.offsets, gold.offsets),
    }
