"""The flow behind ``inarch spans score``: the official score, with baselines and a peer beside.

The run folder, if there is one, holds the baselines and what `inarch.flows._spans.scored` writes.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import DataError
from inarch.flows._spans.baselines import baselines
from inarch.flows._spans.scored import Beside, Scores, calibration_of, plain, write_scored
from inarch.io.files import digest_file
from inarch.io.runs import stage
from inarch.spans.errors import error_kinds
from inarch.spans.metric import (
    Offsets,
    Paired,
    Score,
    compare,
    micro_character_f1,
    micro_word_f1,
    score,
)
from inarch.spans.read import (
    Labels,
    Post,
    read_labels,
    read_posts,
    read_predicted,
    read_predictions,
    without,
)

__all__ = ["Beside", "Scores", "as_json", "run"]


def run(
    gold: Path,
    predicted: Path,
    *,
    train: Path | None = None,
    against: Path | None = None,
    out: Path | None = None,
    skip_bad: bool = False,
) -> Scores:
    """Return the scores of predictions.

    Args:
        gold: Posts with their spans, in a form that `inarch.spans.read` knows.
        predicted: Predictions for each of them, the same.
        train: Posts that the baselines learn from; those of `gold` among them are left out.
        against: Predictions of another system.
        out: Run folder, for `inarch report`; the baselines are kept there, one folder each.
        skip_bad: Count rows that are wrong and go on: gold ones are left out, predictions empty.

    Raises:
        DataError: A file cannot be read, a row is wrong, or the two are not of the same posts.
        SettingsError: The folder holds the scores of other files.
    """
    files = Files(gold, predicted, train, against)
    if out is None:
        return _scored(files, None, skip_bad)
    given = {name: path for name, path in files._asdict().items() if path is not None}
    settings = {name: str(path) for name, path in given.items()} | {"skip_bad": skip_bad}
    inputs = {name: digest_file(path) for name, path in given.items()}
    with stage(out, "spans score", settings, inputs):
        return _scored(files, out, skip_bad)


class Files(NamedTuple):
    """What is read; see `run`."""

    gold: Path
    predicted: Path
    train: Path | None
    against: Path | None


def _scored(files: Files, out: Path | None, skip_bad: bool) -> Scores:
    skipped: Counter[str] | None = Counter() if skip_bad else None
    gold = read_labels(files.gold, skipped)
    predicted = read_predicted(files.predicted, gold, skipped)
    mine, want = [row.offsets for row in predicted], [row.offsets for row in gold]
    beside = []
    if files.against is not None:
        theirs = read_predictions(files.against, gold, skipped)
        better = compare(mine, theirs, want)
        beside.append(Beside(str(files.against), score(theirs, want), better))
    if files.train is not None:
        posts = [Post(text, row.offsets) for text, row in zip(_texts(gold), gold, strict=True)]
        beside += baselines(without(read_posts(files.train, skipped), posts), posts, mine, out)
    found = Scores(
        score(mine, want),
        *_micro(gold, mine, want),
        error_kinds(mine, want),
        tuple(beside),
        {why: number for why, number in (skipped or {}).items() if number},
        calibration_of(predicted, gold),
    )
    if out is not None:
        write_scored(out, found, predicted, gold)
    return found


def as_json(found: Score | Paired) -> dict[str, float | None]:
    """Return a score for JSON, which has no NaN."""
    row: dict[str, float | None] = plain(found)
    return row


def _texts(labels: Sequence[Labels]) -> list[str]:
    texts = [row.text for row in labels if row.text is not None]
    if len(texts) < len(labels):
        raise DataError(
            f"{labels[0].where}: found no texts for the baselines; give a --gold with texts, or no"
            " --train"
        )
    return texts


def _micro(
    labels: Sequence[Labels], predicted: Sequence[Offsets], gold: Sequence[Offsets]
) -> tuple[float, float]:
    texts = [row.text for row in labels if row.text is not None]
    words = micro_word_f1(texts, predicted, gold) if len(texts) == len(labels) else math.nan
    return micro_character_f1(predicted, gold), words
