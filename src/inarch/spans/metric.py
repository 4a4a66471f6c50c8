"""The character F1 of SemEval-2021 Task 5; others under their own names; which of two is better.

Per post, on sets of characters: F1 = 2 |P and G| / (|P| + |G|); 1 if both are empty, 0 if one is.
The score is the mean over all posts, empty ones included.

Source:   evaluation/semeval2021.py of the organisers.
Differs:  the released system chooses by token accuracy and by F1 of entities over one long
          pseudo-sentence; neither is the task's score.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError

Offsets = Iterable[int]
_WORD = re.compile(r"\w+|[^\w\s]")
_DRAWS_AT_ONCE = 500


class Score(NamedTuple):
    """The official score, and what it is made of; NaN for a mean over nothing."""

    f1: float
    """Mean over all posts, in [0, 1]."""
    standard_error: float
    """Of that mean: the standard deviation over posts, with n - 1, divided by sqrt(n)."""
    f1_empty: float
    """Share of the posts without a gold span that have no predicted one."""
    f1_nonempty: float
    """Mean over the posts with a gold span."""
    n: int


class Paired(NamedTuple):
    """How much better one system is than another on the same posts."""

    difference: float
    """Mean of F1 of the first minus F1 of the second, per post."""
    standard_error: float
    """Of that mean."""
    p: float
    """Two-sided p-value of a paired permutation test, by drawn signs."""
    n: int


def f1(predicted: Offsets, gold: Offsets) -> float:
    """Return the character F1 of one post, in [0, 1]; offsets count as sets."""
    predicted, gold = set(predicted), set(gold)
    if not predicted or not gold:
        return float(not predicted and not gold)
    return 2 * len(predicted & gold) / (len(predicted) + len(gold))


def score(predicted: Sequence[Offsets], gold: Sequence[Offsets]) -> Score:
    """Return the official score.

    Args:
        predicted: Characters per post.
        gold: The same, as they stand in the file; cleaning them first changes the score.

    Raises:
        DataError: The two are not of the same posts, or there are none.
    """
    gold = [set(row) for row in gold]
    f1_N = f1_per_post(predicted, gold)
    is_empty_N = np.array([not row for row in gold])
    return Score(
        float(f1_N.mean()),
        _standard_error(f1_N),
        _mean(f1_N[is_empty_N]),
        _mean(f1_N[~is_empty_N]),
        len(f1_N),
    )


def f1_per_post(predicted: Sequence[Offsets], gold: Sequence[Offsets]) -> NDArray[np.float64]:
    """Return the character F1 of every post, ``[N]``.

    Raises:
        DataError: The two are not of the same posts, or there are none.
    """
    _check(predicted, gold)
    return np.array([f1(*row) for row in zip(predicted, gold, strict=True)])


def compare(
    first: Sequence[Offsets],
    second: Sequence[Offsets],
    gold: Sequence[Offsets],
    *,
    num_draws: int = 10_000,
    seed: int = 42,
) -> Paired:
    """Return how much better the first system is, by a paired permutation test.

    Under the null hypothesis, the two answers to a post could be swapped. So the signs of the
    differences are drawn anew, and p = (1 + draws at least as far from 0) / (1 + draws).

    Raises:
        DataError: The three are not of the same posts, or there are none.
    """
    gold = [set(row) for row in gold]
    difference_N = f1_per_post(first, gold) - f1_per_post(second, gold)
    moved_D = np.abs(difference_N[difference_N != 0])
    rng = np.random.default_rng(seed)
    far = abs(difference_N.sum()) - 1e-9  # sums of other orders differ in the last bits
    num_far = 0
    for start in range(0, num_draws, _DRAWS_AT_ONCE):
        size = (min(_DRAWS_AT_ONCE, num_draws - start), len(moved_D))
        signs = 2.0 * rng.integers(0, 2, size, dtype=np.int8) - 1
        num_far += int((np.abs(signs @ moved_D) >= far).sum())
    return Paired(
        float(difference_N.mean()),
        _standard_error(difference_N),
        (1 + num_far) / (1 + num_draws),
        len(difference_N),
    )


def micro_character_f1(predicted: Sequence[Offsets], gold: Sequence[Offsets]) -> float:
    """Return the F1 of the characters of all posts together; not the task's score.

    Raises:
        DataError: The two are not of the same posts, or there are none.
    """
    _check(predicted, gold)
    pairs = [(set(p), set(g)) for p, g in zip(predicted, gold, strict=True)]
    hits = sum(len(p & g) for p, g in pairs)
    total = sum(len(p) + len(g) for p, g in pairs)
    return 2 * hits / total if total else 1.0


def micro_word_f1(
    texts: Sequence[str], predicted: Sequence[Offsets], gold: Sequence[Offsets]
) -> float:
    """Return the F1 of the words of all posts together; not the task's score.

    A word, or a punctuation mark, is toxic if one of its characters is.

    Raises:
        DataError: The three are not of the same posts, or there are none.
    """
    _check(texts, gold)
    return micro_character_f1(
        *([_words(t, r) for t, r in zip(texts, rows, strict=True)] for rows in (predicted, gold))
    )


def _words(text: str, offsets: Offsets) -> list[int]:
    """Return the numbers of the words that hold one of the characters."""
    offsets = set(offsets)
    ranges = (range(*word.span()) for word in _WORD.finditer(text))
    return [number for number, word in enumerate(ranges) if not offsets.isdisjoint(word)]


def _check(a: Sequence[object], b: Sequence[object]) -> None:
    if len(a) != len(b) or not len(b):
        raise DataError(f"found {len(a)} and {len(b)} posts; expected the same, at least one")


def _mean(f1_N: NDArray[np.float64]) -> float:
    return float(f1_N.mean()) if len(f1_N) else math.nan


def _standard_error(f1_N: NDArray[np.float64]) -> float:
    return float(f1_N.std(ddof=1)) / math.sqrt(len(f1_N)) if len(f1_N) > 1 else math.nan
