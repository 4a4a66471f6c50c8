"""Spans in rows: which texts a row has, what counts against it, and that all can be undone."""

import copy

import pytest

from inarch.errors import DataError
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.offsets import Span
from inarch.spans.screen import (
    Readable,
    Screened,
    ScreenSettings,
    mask_spans,
    masked,
    restored,
    screen,
    texts_of,
    with_report,
)

TAGGER = LexiconTagger({"fool": 0.9, "damn": 0.6, "ox": 0.7})


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def screened(row: dict, **settings) -> Screened:
    readable = Readable(3, row, texts_of(row, "a.jsonl:4"))
    (made,) = screen([readable], TAGGER, ScreenSettings(**settings))
    assert made.id == 3
    return made


def found(row: dict, **settings) -> list[tuple]:
    return [(place, span.text) for place, span in screened(row, **settings).found]


# ------------------------------------------------------------------------------ texts of a row


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "a", "label": 3}, [(("text",), "answer", "a")]),
        (
            {"messages": [turn("system", "s"), turn("user", "u"), turn("assistant", "a")]},
            [
                (("messages", 0, "content"), "prompt", "s"),
                (("messages", 1, "content"), "prompt", "u"),
                (("messages", 2, "content"), "answer", "a"),
            ],
        ),
        (
            {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]},
            [
                (("conversations", 0, "value"), "prompt", "u"),
                (("conversations", 1, "value"), "answer", "a"),
            ],
        ),
        (
            {"prompt": "p", "chosen": "c", "rejected": "r", "source": "web", "score": 1},
            [
                (("prompt",), "prompt", "p"),
                (("chosen",), "answer", "c"),
                (("rejected",), "rejected", "r"),
            ],
        ),
        (
            {
                "chosen": [turn("user", "u"), turn("assistant", "c")],
                "rejected": [turn("user", "u"), turn("assistant", "r")],
            },
            [
                (("chosen", 0, "content"), "prompt", "u"),
                (("chosen", 1, "content"), "answer", "c"),
                (("rejected", 0, "content"), "prompt", "u"),
                (("rejected", 1, "content"), "rejected", "r"),
            ],
        ),
        (
            {"prompt": [turn("user", "p")], "source": "s", "target": "t", "rejected": "r"},
            [
                (("prompt", 0, "content"), "prompt", "p"),
                (("source",), "answer", "s"),
                (("target",), "answer", "t"),
                (("rejected",), "rejected", "r"),
            ],
        ),
        (  # WRPO's record: two better answers
            {"prompt": "p", "chosen": ["s", "t"], "rejected": [turn("assistant", "r")]},
            [
                (("prompt",), "prompt", "p"),
                (("chosen", 0), "answer", "s"),
                (("chosen", 1), "answer", "t"),
                (("rejected", 0, "content"), "rejected", "r"),
            ],
        ),
        (
            {"prompt": "p", "completion": turn("assistant", "c"), "target": 1},
            [(("prompt",), "prompt", "p"), (("completion", "content"), "answer", "c")],
        ),
    ],
)
def test_texts_of_every_form(row, expected):
    assert texts_of(row, "a.jsonl:1") == expected


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"label": 1}, "found the columns label; expected text, messages"),
        ({"text": None}, "found the columns text"),
        ({"text": 3}, "text: found 3; expected a text, or a turn"),
        ({"messages": "a"}, "messages: found 'a'; expected a list"),
        ({"messages": [{"role": "user"}]}, "messages: found {'role': 'user'}; expected"),
        ({"text": "a", "screen": {}}, "found the column .screen.; was this file screened"),
        ([], "found list, expected an object"),
    ],
)
def test_other_rows_are_named(row, told):
    with pytest.raises(DataError, match=rf"a\.jsonl:1: {told}"):
        texts_of(row, "a.jsonl:1")


# ------------------------------------------------------------------------- what counts against


def test_answers_of_chats_count_and_other_turns_if_asked():
    row = {"messages": [turn("user", "you fool"), turn("assistant", "damn it")]}
    assert found(row) == [(("messages", 1, "content"), "damn")]
    assert found(row, where="all") == [
        (("messages", 0, "content"), "fool"),
        (("messages", 1, "content"), "damn"),
    ]


def test_a_better_answer_is_not_to_bring_words_in():
    row = {"prompt": "say Fool", "chosen": "fool, damn, ox", "rejected": "DAMN\nox", "text": ""}
    # fool is in the prompt; "damn ox" of the rejected answer is one span and neither of the two.
    assert found(row) == [(("chosen",), "damn"), (("chosen",), "ox")]
    row = {"prompt": "say Fool", "chosen": "fool, damn  OX", "rejected": "DAMN\nox"}
    assert found(row) == []
    assert found({"prompt": "x", "chosen": "fine", "rejected": "fool"}, where="all") == []
    row = {"prompt": "p", "source": "fool", "target": "ox", "rejected": "x"}
    assert found(row) == [(("source",), "fool"), (("target",), "ox")]


def test_weak_and_short_spans_are_overlooked():
    row = {"text": "fool, damn, ox"}
    assert [text for _, text in found(row, min_score=0.7)] == ["fool", "ox"]
    assert [text for _, text in found(row, min_chars=4)] == ["fool", "damn"]
    assert not screened({"text": "fine"}).flagged
    assert screened(row).flagged
    # A weak span in the prompt does not excuse a strong one: both are overlooked alike.
    pair = {"prompt": "damn", "chosen": "damn", "rejected": "x"}
    assert found(pair, min_score=0.5) == []


def test_names_of_groups_are_overlooked_unless_there_is_more():
    tagger = LexiconTagger({"gay": 0.9, "mexican": 0.8, "fool": 0.9})
    rows = [{"text": text} for text in ("Gay  Mexican", "a gay fool", "fool")]
    readable = [Readable(i, row, texts_of(row, "")) for i, row in enumerate(rows)]
    for overlook, expected in (((), [1, 1, 1]), (("fool",), [1, 1, 0])):
        made = screen(readable, tagger, ScreenSettings(overlook=overlook))
        assert [row.flagged for row in made] == expected
    made = screen(readable, tagger, ScreenSettings())
    assert [[span.text for _, span in row.found] for row in made] == [[], ["gay fool"], ["fool"]]


def test_texts_and_spans_keep_their_order_over_rows():
    rows = [{"text": t} for t in ("fool", "", "x", "a damn ox")]
    readable = [Readable(i, row, texts_of(row, "")) for i, row in enumerate(rows)]
    made = screen(readable, TAGGER, ScreenSettings())
    assert [[span.text for _, span in row.found] for row in made] == [["fool"], [], [], ["damn ox"]]


# --------------------------------------------------------------------------------- what is done


def test_a_report_says_where_each_span_is():
    row = {"messages": [turn("user", "?"), turn("assistant", "a fool")], "domain": "d"}
    made = with_report(screened(row))
    assert made.pop("screen") == {
        "id": 3,
        "spans": [
            {
                "place": ["messages", 1, "content"],
                "start": 2,
                "end": 6,
                "text": "fool",
                "score": 0.9,
            }
        ],
    }
    assert made == row


def test_masks_by_hand():
    spans = [Span(4, 8, "damn"), Span(10, 14, "fool")]
    assert mask_spans("you damn, fool!", spans, "[…]") == ("you […], […]!", [4, 9])
    assert mask_spans("damn", [Span(0, 4, "damn")], "*") == ("*", [0])
    assert mask_spans("fine", [], "*") == ("fine", [])


def test_a_masked_row_shows_masks_alone_and_nothing_of_what_was_there():
    row = {
        "prompt": "p",
        "chosen": [turn("user", "q"), turn("assistant", "a fool, fool ")],
        "rejected": "damn",
    }
    before = copy.deepcopy(row)
    made = masked(screened(row), "[…]")
    assert row == before
    assert made["chosen"] == [turn("user", "q"), turn("assistant", "a […], […] ")]
    assert made["rejected"] == "damn"
    for span in made["screen"]["spans"]:
        text = made["chosen"][1]["content"]
        assert text[span["start"] : span["end"]] == "[…]"
        assert span["place"] == ["chosen", 1, "content"]
    assert "fool" not in str(made)


@pytest.mark.parametrize("action", ["flag", "drop", "mask"])
def test_all_of_it_can_be_undone(action):
    rows = [{"text": t, "n": i} for i, t in enumerate(("fool", "fine", "a damn ox", "x"))]
    readable = [Readable(i, row, texts_of(row, "")) for i, row in enumerate(rows)]
    made = screen(readable, TAGGER, ScreenSettings())
    kept = {
        "flag": [with_report(row) for row in made],
        "drop": [with_report(row) for row in made if not row.flagged],
        "mask": [masked(row, "*") for row in made],
    }[action]
    changed = [] if action == "flag" else [with_report(row) for row in made if row.flagged]
    assert restored(kept[::-1], changed) == rows
