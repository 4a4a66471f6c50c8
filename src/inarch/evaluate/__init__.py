"""Numbers that say how good a model is: bits per byte, and the share of an answer that is right."""

from inarch.evaluate.answers import AnswerScore, score_answers
from inarch.evaluate.bits import bits_per_byte

__all__ = ["AnswerScore", "bits_per_byte", "score_answers"]
