"""The flow behind ``inarch spans score``: the official score, with baselines and a peer beside.

The run folder, if there is one, holds the baselines and what `inarch.flows._spans_scored` writes.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import DataError, MissingExtra
from inarch.flows._spans_scored import Beside, Scores, calibration_of, plain, write_scored
from inarch.io.files import digest_file
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.spans.errors import error_kinds
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.logistic import LogisticTagger
from inarch.spans.metric import (
    Offsets,
    Paired,
    Score,
    compare,
    micro_character_f1,
    micro_word_f1,
    score,
)
from inarch.spans.offsets import spans_to_offsets
from inarch.spans.read import (
    Labels,
    Post,
    read_labels,
    read_posts,
    read_predicted,
    read_predictions,
    without,
)

logger = logging.getLogger(__name__)

__all__ = ["Beside", "Scores", "as_json", "baselines", "run"]

Baseline = type[LexiconTagger] | type[LogisticTagger]
_BASELINES: dict[str, Baseline] = {"lexicon": LexiconTagger, "logistic": LogisticTagger}


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


def baselines(
    train: Sequence[Post], gold: Sequence[Post], mine: Sequence[Offsets], out: Path | None = None
) -> list[Beside]:
    """Return what the baselines reach, and how much better predictions are.

    Args:
        train: Posts that they learn from.
        gold: Posts that they are scored on.
        mine: The predictions for these.
        out: Folder to keep the baselines in.

    Raises:
        DataError: There is nothing to learn from.
    """
    beside = []
    texts, want = [post.text for post in gold], [post.offsets for post in gold]
    for name, tagger in _fitted(train, out):
        found = [spans_to_offsets(row) for row in tagger.tag_batch(texts)]
        beside.append(Beside(name, score(found, want), compare(mine, found, want), tagger.cpu_s))
    return beside


def as_json(found: Score | Paired) -> dict[str, float | None]:
    """Return a score for JSON, which has no NaN."""
    row: dict[str, float | None] = plain(found)
    return row


def _fitted(
    posts: Sequence[Post], out: Path | None
) -> Iterator[tuple[str, LexiconTagger | LogisticTagger]]:
    """Yield the baselines, trained; the one that scikit-learn is needed for may be left out."""
    if not posts:
        raise DataError("found no posts to train the baselines on, once those of gold are left out")
    with track("training the baselines", len(_BASELINES), "baselines") as advance:
        for name, kind in _BASELINES.items():
            try:
                tagger = kind.fit(posts)
            except MissingExtra as missing:
                logger.warning("%s is left out: %s", name, missing)
                continue
            if out is not None:
                tagger.save_pretrained(out / name)
            advance(1)
            yield name, tagger


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
