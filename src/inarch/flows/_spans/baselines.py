"""The baselines that stand beside every score: trained here, and compared post by post."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from inarch.errors import DataError, MissingExtra
from inarch.flows._spans.scored import Beside
from inarch.io.progress import track
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.logistic import LogisticTagger
from inarch.spans.metric import Offsets, compare, score
from inarch.spans.offsets import spans_to_offsets
from inarch.spans.read import Post

logger = logging.getLogger(__name__)

Baseline = type[LexiconTagger] | type[LogisticTagger]
_BASELINES: dict[str, Baseline] = {"lexicon": LexiconTagger, "logistic": LogisticTagger}


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
