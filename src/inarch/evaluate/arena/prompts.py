"""What an Arena-Hard judge is sent in a game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from inarch.errors import DataError
from inarch.evaluate.arena.verdicts import Version
from inarch.evaluate.judges.prompts import JudgePrompt, JudgePrompts, check_places
from inarch.records import Message

_PLACES: Mapping[Version, tuple[str, str, str]] = {
    "v0.1": ("question_1", "answer_1", "answer_2"),
    "v2": ("QUESTION", "ANSWER_A", "ANSWER_B"),
}
"""What a prompt calls the question, A's answer and B's answer."""


class ArenaPrompts(NamedTuple):
    """Prompts whose places are known to be right."""

    of: Mapping[str, JudgePrompt]
    """By category; ``""`` holds for those that have none of their own."""
    version: Version

    def messages(self, category: str, question: str, a: str, b: str) -> tuple[Message, ...]:
        """Return what is sent in a game; braces in the texts stay what they are.

        Raises:
            DataError: There is no prompt for the category.
        """
        prompt = self.of.get(category, self.of.get(""))
        if prompt is None:
            raise DataError(
                f"found a question of the category {category!r}, and prompts for"
                f" {', '.join(self.of)}; give the question one of these, or prompts of your own"
            )
        texts = dict(zip(_PLACES[self.version], (question, a, b), strict=True))
        # Officially there is always a system message; a prompt without one has none to send.
        told = (Message("system", prompt.system),) if prompt.system else ()
        return (*told, Message("user", prompt.user.format(**texts)))


def check_prompts(prompts: JudgePrompts, version: Version, where: str) -> ArenaPrompts:
    """Return prompts that show the question and both answers, and nothing unknown.

    Args:
        prompts: Of the benchmark.
        version: Of the benchmark.
        where: The file, for messages.

    Raises:
        DataError: One has other places; it is named.
    """
    for category, prompt in prompts.of.items():
        name = f"{where}: prompt_template" + (f" of {category}" if category else "")
        check_places(prompt, _PLACES[version], name)
    return ArenaPrompts(prompts.of, version)
