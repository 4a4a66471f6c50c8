"""Headers, lists, bold parts and tokens of an answer: by hand, and read line by line."""

import random

import pytest

from inarch.evaluate.judges import answer_style
from inarch.evaluate.judges.answer_style import TOKEN_COUNTER, estimate_tokens, style_counts


def counts(answer):
    found = style_counts(answer)
    levels = [found["header_count"][f"h{level}"] for level in range(1, 7)]
    lists, bolds = found["list_count"], found["bold_count"]
    return levels, [lists["ordered"], lists["unordered"]], [bolds["**"], bolds["__"]]


@pytest.mark.parametrize(
    ("answer", "levels", "lists", "bolds"),
    [
        ("", [], [], []),
        ("# a\n## b\n## c\n###### d\n####### e\n#f\n #g\n #\n#", [1, 2, 0, 0, 0, 1], [], []),
        ("1. a\n  12. b\n1.c\n- d\n* e\n+ f\n-g\n  - h\n\n\n- i", [], [2, 5], []),
        ("**a** ****b** **c\nd** __e__ ___ ** f ** *g*", [], [], [3, 1]),
        # what stands in a fence is out, and the same text elsewhere, too
        ("```\n# a\n- b\n**c**\n```\n# d", [1], [], []),
        ("```**x**``` **x** **y**", [], [], [0 + 1]),
        # a backtick within a fence: it is none
        ("```a`b\n# c\n```", [1], [], []),
        # a fence that nothing ends
        ("```\n- a", [], [0, 1], []),
    ],
)
def test_by_hand(answer, levels, lists, bolds):
    padded = [(found + [0] * 6)[:n] for found, n in ((levels, 6), (lists, 2), (bolds, 2))]
    assert list(counts(answer)) == padded
    assert style_counts(answer)["token_counter"] == TOKEN_COUNTER


def slow_counts(answer):
    """Count line by line, without a pattern over lines."""
    text = answer
    for part in answer.split("```")[1:-1:2]:  # between an opening mark and a closing one
        text = text.replace(part, "") if part else text
    levels, ordered, unordered = [0] * 6, 0, 0
    for line in text.splitlines(keepends=True):
        marks = len(line) - len(line.lstrip("#"))
        if 1 <= marks <= 6 and line[marks : marks + 1].isspace():
            levels[marks - 1] += 1
        bare = line.lstrip()
        if bare[:1] in ("-", "*", "+") and bare[1:2].isspace():
            unordered += 1
        number = bare.lstrip("0123456789")
        if bare != number and number[:1] == "." and number[1:2].isspace():
            ordered += 1
    return levels, [ordered, unordered]


def test_against_a_reading_line_by_line():
    pieces = [
        "# ",
        "## ",
        "####### ",
        "#",
        "```",
        "\n",
        "\n\n",
        "- ",
        "* ",
        "+ ",
        "1. ",
        "12.",
        " ",
    ]
    draw = random.Random(0)
    seen = 0
    for _ in range(3000):
        answer = "".join(draw.choice([*pieces, "a", "b c", "**d**"]) for _ in range(20))
        found = counts(answer)
        assert found[:2] == slow_counts(answer), answer
        seen += sum(found[0]) + sum(found[1])
    assert seen > 3000


# -------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a cat sat.", 4),
        ("abcdefgh", 1),
        ("abcdefghi", 2),  # eight letters a token
        ("a" * 17, 3),
        ("1234567", 3),  # three digits a token
        ("x = y\n\n  z", 6),  # x, =, y, both line breaks, one space, the other with z
        ("приветик", 2),  # four letters of another alphabet a token
        ("приветики", 3),
        ("你好世界你好世界你好", 8),  # 0.8 an ideograph
        ("🌱🌱", 2),
        ("...!?", 1),
    ],
)
def test_tokens_by_hand(text, tokens):
    assert estimate_tokens(text) == tokens


def test_tokens_are_of_the_whole_answer():
    answer = "```\n" + "word " * 50 + "\n```"
    assert style_counts(answer)["token_len"] == estimate_tokens(answer) > 50


def test_every_character_is_in_one_piece():
    draw = random.Random(1)
    letters = "aZ9 \n\t_-.é你🌱\r/'\u0301\u2028\0"
    for _ in range(1000):
        text = "".join(draw.choice(letters) for _ in range(draw.randrange(1, 40)))
        assert "".join(piece[0] for piece in answer_style._PIECE.finditer(text)) == text
        assert estimate_tokens(text) <= len(text.encode())
