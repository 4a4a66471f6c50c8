"""Where the assistant speaks in a chat that a model's own template has rendered.

The template is rendered twice: as it is, and with every answer replaced by a mark that no text
holds. What stands between the marks is the template's; the answers fill the gaps. So no model
family is known here, and a user who repeats an answer word for word does not confuse it.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.records import Message

_MARK = "\ue000inarch{}\ue001"  # private-use letters: kept by every trim, absent from texts


class Answer(NamedTuple):
    """One assistant content inside a rendering."""

    start: int
    """First byte of the content in the rendering."""
    end: int
    """One past its last byte."""
    num_trimmed_left: int
    """Bytes of the content's front that the template took away."""
    num_trimmed_right: int
    """Bytes of the content's end that the template took away."""


class Rendering(NamedTuple):
    """A chat as one model reads it."""

    text: str
    answers: tuple[Answer, ...]


class UnreadableChat(DataError):
    """A template does not show the answers as they are; the row is counted and left out."""


def render(template: Any, messages: Sequence[Message]) -> Rendering:
    """Return the chat under a tokenizer's template, and where each answer stands in it.

    Args:
        template: A Hugging Face tokenizer; its chat template is used.
        messages: The chat.

    Raises:
        UnreadableChat: The template refuses the chat, or drops or rewrites an answer.
        DataError: The tokenizer has no chat template.
    """
    if not getattr(template, "chat_template", None):
        raise DataError(
            f"{template.name_or_path}: its tokenizer has no chat template; give it one "
            "(tokenizer.chat_template, save_pretrained), use data.template: target, or texts"
        )
    text = _rendered(template, messages)
    marks = [_MARK.format(i) for i in range(len(messages))]
    marked = [
        m._replace(content=c) if m.role == "assistant" else m
        for m, c in zip(messages, marks, strict=True)
    ]
    literals = re.split("|".join(marks), _rendered(template, marked))
    contents = [m.content for m in messages if m.role == "assistant"]
    if len(literals) != len(contents) + 1:
        raise UnreadableChat(
            f"the chat template shows {len(literals) - 1} of {len(contents)} answers"
        )
    return Rendering(text, _place(text, literals, contents))


def _rendered(template: Any, messages: Sequence[Message]) -> str:
    from jinja2 import TemplateError

    try:
        rendered: str = template.apply_chat_template(
            [m._asdict() for m in messages], tokenize=False
        )
    except (TemplateError, TypeError, ValueError) as error:  # what its author did not foresee
        raise UnreadableChat(f"the chat template refuses the chat: {error}") from error
    return rendered


def _place(text: str, literals: list[str], contents: list[str]) -> tuple[Answer, ...]:
    """Return the byte range of each content between the literal parts of the template."""
    if not text.startswith(literals[0]):
        raise UnreadableChat("the chat template's text before an answer depends on the answer")
    answers = []
    at = len(literals[0])
    num_before = len(literals[0].encode())
    for content, literal in zip(contents, literals[1:], strict=True):
        left, shown = _shown(text, at, content, literal)
        num_bytes = len(shown.encode())
        right = len(content.encode()) - left - num_bytes
        answers.append(Answer(num_before, num_before + num_bytes, left, right))
        at += len(shown) + len(literal)
        num_before += num_bytes + len(literal.encode())
    if at != len(text):
        raise UnreadableChat("the chat template writes more after the last answer when it sees it")
    return tuple(answers)


def _shown(text: str, at: int, content: str, literal: str) -> tuple[int, str]:
    """Return what stands of a content before a literal, and the bytes trimmed off its front."""
    left = len(content.encode()) - len(content.lstrip().encode())
    for num_trimmed, shown in (
        (0, content),
        (0, content.rstrip()),
        (left, content.lstrip()),
        (left, content.strip()),
    ):
        if text.startswith(shown + literal, at):
            return num_trimmed, shown
    raise UnreadableChat("the chat template rewrites an answer, or what follows it")
