"""Numbers that say how good a model is: bits per byte, right answers, speed."""

from inarch.evaluate.answers import AnswerScore, score_answers
from inarch.evaluate.bits import bits_per_byte
from inarch.evaluate.speed import Speed, Workload, measure_speed

__all__ = ["AnswerScore", "Speed", "Workload", "bits_per_byte", "measure_speed", "score_answers"]
