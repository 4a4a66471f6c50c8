"""Where the assistant speaks, found from the template's own rendering."""

import pytest

from inarch.data import UnreadableChat, render
from inarch.errors import DataError
from inarch.records import Message
from tests.tiny import CHATML, PLAIN, byte_level


def chat(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], c) for i, c in enumerate(contents))


def shown(template: str, messages: tuple[Message, ...]) -> list[str]:
    """The bytes that the answers of a rendering point at."""
    hf = byte_level()
    hf.chat_template = template
    rendering = render(hf, messages)
    assert rendering.text == hf.apply_chat_template([m._asdict() for m in messages], tokenize=False)
    text = rendering.text.encode()
    return [text[a.start : a.end].decode() for a in rendering.answers]


@pytest.mark.parametrize("template", [CHATML, PLAIN])
def test_every_turn_is_found_though_the_user_repeats_the_answer(template: str):
    messages = chat("你好 hello", "hello", "hello", "🐈 hello", "assistant", "assistant")
    assert shown(template, messages) == ["hello", "🐈 hello", "assistant"]


def test_what_a_template_trims_is_counted():
    hf = byte_level()
    hf.chat_template = PLAIN
    (answer,) = render(hf, chat("q", "\n é a \n\n")).answers
    assert (answer.num_trimmed_left, answer.num_trimmed_right) == (2, 3)
    assert answer.end - answer.start == len("é a".encode())
    hf.chat_template = CHATML
    (answer,) = render(hf, chat("q", "\n é a \n\n")).answers
    assert (answer.num_trimmed_left, answer.num_trimmed_right) == (0, 0)


DROPS_OLD = (
    "{% for m in messages %}{% if m.role == 'user' or loop.last %}<|{{ m.role }}|>{{ m.content }}"
    "{% endif %}{% endfor %}"
)
REFUSES = "{{ raise_exception('roles must alternate') }}"
REWRITES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | upper }}{% endfor %}"
COUNTS = "{{ messages[1].content | length }}{% for m in messages %}:{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (DROPS_OLD, "shows 1 of 2 answers"),
        (REFUSES, "refuses the chat: roles must alternate"),
        (REWRITES, "answers|rewrites"),
        (COUNTS, "depends on the answer"),
    ],
)
def test_a_template_that_hides_an_answer_is_said(template: str, message: str):
    with pytest.raises(UnreadableChat, match=message):
        shown(template, chat("q", "one", "r", "two"))


def test_no_template():
    hf = byte_level()
    hf.chat_template = None
    with pytest.raises(DataError, match=r"has no chat template.*data.template: target"):
        render(hf, chat("q", "a"))


def test_thinking_that_depends_on_the_turn():
    # Minimal form of a template that writes an empty thought before the last answer only.
    template = (
        "{% for m in messages %}<|{{ m.role }}|>"
        "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|end|>{% endfor %}"
    )
    assert shown(template, chat("q", "one", "r", "two")) == ["one", "two"]
