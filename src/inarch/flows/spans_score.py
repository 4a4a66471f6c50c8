"""The flow behind ``inarch spans score``: the official score, with baselines and a peer beside."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import DataError, MissingExtra
from inarch.io.progress import track
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
from inarch.spans.read import Labels, Post, read_labels, read_posts, read_predictions, without

logger = logging.getLogger(__name__)

Baseline = type[LexiconTagger] | type[LogisticTagger]
_BASELINES: dict[str, Baseline] = {"lexicon": LexiconTagger, "logistic": LogisticTagger}


class Beside(NamedTuple):
    """Another system on the same posts."""

    name: str
    """``lexicon``, ``logistic``, or the file of its predictions."""
    score: Score
    better: Paired
    """How much better than it the predictions are."""
    cpu_s: float | None = None
    """Processor seconds of its training; None if it was not trained here."""


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
        out: Folder where the baselines are kept, one folder each.
        skip_bad: Count rows that are wrong and go on: gold ones are left out, predictions empty.

    Raises:
        DataError: A file cannot be read, a row is wrong, or the two are not of the same posts.
    """
    skipped: Counter[str] | None = Counter() if skip_bad else None
    labels = read_labels(gold, skipped)
    mine = read_predictions(predicted, labels, skipped)
    want = [row.offsets for row in labels]
    beside = []
    if against is not None:
        theirs = read_predictions(against, labels, skipped)
        beside.append(Beside(str(against), score(theirs, want), compare(mine, theirs, want)))
    if train is not None:
        texts = _texts(labels)
        posts = without(read_posts(train, skipped), [Post(text, ()) for text in texts])
        for name, tagger in _fitted(posts, out):
            found = [spans_to_offsets(row) for row in tagger.tag_batch(texts)]
            better = compare(mine, found, want)
            beside.append(Beside(name, score(found, want), better, tagger.cpu_s))
    reasons = {why: number for why, number in (skipped or {}).items() if number}
    micro = _micro(labels, mine, want)
    return Scores(score(mine, want), *micro, error_kinds(mine, want), tuple(beside), reasons)


def as_json(found: Score | Paired) -> dict[str, float | None]:
    """Return a score for JSON, which has no NaN."""
    return {name: None if math.isnan(v) else v for name, v in found._asdict().items()}


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
