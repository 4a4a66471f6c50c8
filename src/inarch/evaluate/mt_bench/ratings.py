"""MT-Bench: ratings of both turns of 80 dialogues, from 1 to 10, by a single judge.

Source:  Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv:2306.05685;
         lm-sys/FastChat, fastchat/llm_judge, common.py and show_result.py.
Differs: intervals by a bootstrap over questions, whose two turns are drawn together; a file of two
         judges is refused, as their ratings do not mean the same.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from inarch.evaluate._resample import draw_counts, percentiles, weighted_means
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, mean_score

logger = logging.getLogger(__name__)

INVALID = -1.0
"""What is stored where a judgment holds no rating."""
_CATEGORIES = (
    *("writing", "roleplay", "reasoning", "math"),
    *("coding", "extraction", "stem", "humanities"),
)
"""Ten questions each, from 81 on."""
_FIRST = 81
_DOUBLE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_SINGLE = re.compile(r"\[(\d+\.?\d*)\]")


class Rating(NamedTuple):
    """One judgment."""

    question: int
    category: str
    model: str
    turn: int
    """1 or 2."""
    score: float
    """``INVALID`` where there is none."""
    judge: str = ""
    prompt: str = ""
    """Name of the judge's prompt, such as ``single-math-v1``."""


class MtScore(NamedTuple):
    """What one model got; None where no rating counts."""

    turn_1: float | None
    turn_2: float | None
    average: float | None
    """Over all ratings, which is not the mean of the turns where some are missing."""
    n: int
    """Ratings that count."""
    by_category: Mapping[str, float]
    lower: float | None
    """Of the average, at 95 %, by a bootstrap over questions."""
    upper: float | None
    n_invalid: int
    """Judgments without a rating, left out."""
    n_repeated: int
    """Turns that are judged more than once; each judgment counts, as in FastChat."""


def rating_of(judgment: str) -> float:
    """Return a judgment's first ``[[rating]]``, else its first ``[rating]``, or ``INVALID``."""
    found = _DOUBLE.search(judgment) or _SINGLE.search(judgment)
    return float(found[1]) if found else INVALID


def category_of(question: int) -> str:
    """Return the category of one of the 80 questions; ``other`` for any other."""
    place = (question - _FIRST) // 10
    return _CATEGORIES[place] if 0 <= place < len(_CATEGORIES) else "other"


def score_ratings(ratings: Sequence[Rating]) -> dict[str, MtScore]:
    """Return what each model got, in the order in which they come."""
    models = dict.fromkeys(rating.model for rating in ratings)
    return {m: _score([rating for rating in ratings if rating.model == m]) for m in models}


def results(
    ratings: Sequence[Rating],
    references: str = "",
    scores: Mapping[str, MtScore] | None = None,
    made: Mapping[str, Any] = MappingProxyType({}),
) -> list[Result]:
    """Return the mean rating per question of each model that has any, to compare.

    Args:
        ratings: Of all models.
        references: Which answers the judge was shown.
        scores: What is told of each model; by default that of `score_ratings`.
        made: How the ratings came about.
    """
    record = ProtocolRecord(
        benchmark="mt_bench",
        version="1",
        score="rating of both turns, 1 to 10",
        judge=ratings[0].judge if ratings else "",
        references=references,
    )
    found = []
    for model, told in (score_ratings(ratings) if scores is None else scores).items():
        rows = _by_question([rating for rating in ratings if rating.model == model])
        if rows:
            about = {**made, "n_invalid": told.n_invalid}
            found.append(Result(record, model, tuple(rows), told._asdict(), about))
    return found


def _score(ratings: Sequence[Rating]) -> MtScore:
    valid = [rating for rating in ratings if rating.score != INVALID]
    if not valid:
        logger.warning("%s: none of %d judgments holds a rating", ratings[0].model, len(ratings))
    odd = sum(not 1 <= rating.score <= 10 for rating in valid)
    if odd:
        logger.warning("%s: %d ratings are not from 1 to 10; all count", ratings[0].model, odd)
    keys = Counter((rating.question, rating.turn) for rating in ratings)
    repeated = sum(times > 1 for times in keys.values())
    if repeated:
        logger.warning(
            "%s: %d turns are judged more than once; each judgment counts",
            ratings[0].model,
            repeated,
        )
    categories = dict.fromkeys(rating.category for rating in valid)
    scores = _by_question(ratings)
    lower, upper = _interval(scores) if scores else (None, None)
    return MtScore(
        turn_1=_mean(rating.score for rating in valid if rating.turn == 1),
        turn_2=_mean(rating.score for rating in valid if rating.turn == 2),
        average=_mean(rating.score for rating in valid),
        n=len(valid),
        by_category={
            name: mean_score([row for row in scores if row.category == name]) for name in categories
        },
        lower=lower,
        upper=upper,
        n_invalid=len(ratings) - len(valid),
        n_repeated=repeated,
    )


def _by_question(ratings: Sequence[Rating]) -> list[PromptScore]:
    """Return the mean of the ratings that count of each question, in the questions' order."""
    found: dict[tuple[int, str], list[float]] = {}
    for rating in ratings:
        if rating.score != INVALID:
            found.setdefault((rating.question, rating.category), []).append(rating.score)
    return [
        PromptScore(str(question), category, math.fsum(scores) / len(scores), float(len(scores)))
        for (question, category), scores in sorted(found.items())
    ]


def _interval(scores: Sequence[PromptScore]) -> tuple[float, float]:
    weights_Q = np.array([row.weight for row in scores])
    sums_Q = np.array([row.score for row in scores]) * weights_Q
    return percentiles(weighted_means(sums_Q, weights_Q, draw_counts(len(scores))))


def _mean(scores: Iterable[float]) -> float | None:
    found = list(scores)
    return math.fsum(found) / len(found) if found else None
