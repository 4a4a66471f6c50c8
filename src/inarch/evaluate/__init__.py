"""Numbers that say how good a model is: bits per byte, right answers, speed; published benchmarks.

What runs a model is loaded when it is first used: scoring what a judge wrote needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inarch.evaluate.lm.answers import AnswerScore, score_answers
    from inarch.evaluate.lm.bits import bits_per_byte
    from inarch.evaluate.lm.speed import Speed, Workload, measure_speed

__all__ = ["AnswerScore", "Speed", "Workload", "bits_per_byte", "measure_speed", "score_answers"]

_MODULE_OF = {
    "AnswerScore": "lm.answers",
    "score_answers": "lm.answers",
    "bits_per_byte": "lm.bits",
    "Speed": "lm.speed",
    "Workload": "lm.speed",
    "measure_speed": "lm.speed",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'inarch.evaluate' has no attribute {name!r}")
    return getattr(import_module(f"inarch.evaluate.{_MODULE_OF[name]}"), name)
