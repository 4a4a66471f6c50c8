"""How much of a written answer is right, piece by piece.

A piece is a run of anything but white space and commas, so that one rule reads lists, sentences and
numbers. Pieces are compared at their place: a right word in the wrong place is wrong.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_PIECE = re.compile(r"[^\s,]+")


class AnswerScore(NamedTuple):
    """Scores of a set of answers, as shares."""

    piece_frac: float
    """Pieces of the expected answers that stand at their place, over all answers together."""
    exact_frac: float
    """Answers that are right in full: every piece, and not one more."""
    num_answers: int


def score_answers(answers: Sequence[str], expected: Sequence[str]) -> AnswerScore:
    """Return how much of each answer is what was expected.

    Args:
        answers: What a model wrote.
        expected: What is right, in the same order; each has at least one piece.
    """
    num_right = num_pieces = num_exact = 0
    for answer, right in zip(answers, expected, strict=True):
        written, wanted = _PIECE.findall(answer), _PIECE.findall(right)
        num_right += sum(a == b for a, b in zip(written, wanted, strict=False))
        num_pieces += len(wanted)
        num_exact += written == wanted
    return AnswerScore(num_right / num_pieces, num_exact / len(expected), len(expected))
