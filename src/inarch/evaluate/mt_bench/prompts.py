"""Which of MT-Bench's prompts a judge gets, by category and turn, and how it is filled.

Source:  lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge: ``common.py``, ``gen_judgment.py``.
Differs: a prompt whose places are not the official ones is refused when it is read, not when it is
         filled, or never, as one without the answer would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from inarch.errors import DataError
from inarch.evaluate.judges.prompts import JudgePrompt, check_places
from inarch.evaluate.judges.questions import Question
from inarch.records import Message

Mode = Literal["single", "pairwise"]
"""An answer is rated alone, or compared with a baseline's."""

NEED_REFERENCES = frozenset({"math", "reasoning", "coding"})
"""Categories whose judge is shown reference answers."""


def prompt_name(question: Question, turn: int, mode: Mode) -> str:
    """Return the name of the prompt for a question's turn, 1 or 2."""
    return _name(mode, question.category in NEED_REFERENCES, turn)


def check_prompts(prompts: Mapping[str, JudgePrompt], mode: Mode, where: str) -> None:
    """Check that a mode's four prompts are there and show question and answers, all and no other.

    Args:
        prompts: By name.
        mode: Whose prompts are looked at.
        where: The file, for messages.

    Raises:
        DataError: One is absent or has other places; it is named.
    """
    for name, expected in _PLACES[mode].items():
        if name not in prompts:
            raise DataError(
                f"{where}: found the prompts {', '.join(prompts)}, without {name}, which mode"
                f" {mode} needs; add it, or take the official file"
            )
        check_places(prompts[name], expected, f"{where}: {name}")


def fill(
    prompt: JudgePrompt, question: Question, turn: int, answers: Mapping[str, tuple[str, ...]]
) -> tuple[Message, ...]:
    """Return what the judge is asked about a turn; in the second it sees the whole dialogue.

    Braces in questions and answers stay what they are.

    Args:
        prompt: The one for the question's category and the turn.
        question: With its references, if the prompt shows them.
        turn: 1 or 2.
        answers: One per turn, by the name of their place: ``answer``, or ``answer_a`` and
            ``answer_b``.
    """
    texts = {f"ref_answer_{t}": text for t, text in enumerate(question.references, start=1)}
    said = {"question": question.turns} | dict(answers)
    if turn == 1:
        texts |= {place: turns[0] for place, turns in said.items()}
    else:
        texts |= {f"{place}_{t}": turns[t - 1] for place, turns in said.items() for t in (1, 2)}
    system = (Message("system", prompt.system),) if prompt.system else ()
    return (*system, Message("user", prompt.user.format(**texts)))


def _name(mode: Mode, with_references: bool, turn: int) -> str:
    kind, version = ("single", "v1") if mode == "single" else ("pair", "v2")
    kind += "-math-v1" if with_references else f"-{version}"
    return kind + "-multi-turn" * (turn == 2)


def _places(mode: Mode) -> dict[str, frozenset[str]]:
    """Return the places of each prompt of a mode."""
    shown = ("question", "answer") if mode == "single" else ("question", "answer_a", "answer_b")
    found = {}
    for with_references in (False, True):
        places = {1: set(shown), 2: {f"{place}_{t}" for place in shown for t in (1, 2)}}
        for turn in (1, 2):
            own = {f"ref_answer_{t}" for t in range(1, turn + 1)} if with_references else set()
            found[_name(mode, with_references, turn)] = frozenset(places[turn] | own)
    return found


_PLACES: Mapping[Mode, Mapping[str, frozenset[str]]] = {
    "single": _places("single"),
    "pairwise": _places("pairwise"),
}
