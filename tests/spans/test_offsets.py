"""Offsets, spans and tokens, each into the other."""

import pytest

from inarch.errors import DataError
from inarch.spans.offsets import (
    Span,
    offsets_to_spans,
    runs,
    spans_to_offsets,
    to_utf16,
    token_labels,
    tokens_to_spans,
)


def test_runs_by_hand():
    assert runs([7, 3, 4, 4, 5]) == [(3, 6), (7, 8)]
    assert runs([]) == []


def test_offsets_become_spans_without_white_space_at_their_ends():
    # 0123456789
    # you idiot!
    assert offsets_to_spans("you idiot!", range(3, 9)) == [Span(4, 9, "idiot")]
    assert offsets_to_spans("a b", [1]) == []
    assert spans_to_offsets(offsets_to_spans("ab cd", [0, 1, 3])) == [0, 1, 3]


@pytest.mark.parametrize("offset", [-1, 3])
def test_an_offset_outside_the_text_is_refused(offset):
    with pytest.raises(DataError, match=r"found the range .* in a text of 3 characters"):
        offsets_to_spans("abc", [0, offset])
    with pytest.raises(DataError, match="in a text of 3 characters"):
        token_labels("abc", [(0, 3)], [0, offset])


def test_tokens_become_spans_joined_over_white_space():
    text = "you  damn\nfool, you"
    tokens = [(0, 0), (0, 3), (3, 9), (9, 14), (14, 15), (15, 19)]
    toxic = [False, False, True, True, False, True]
    assert tokens_to_spans(text, tokens, toxic, [0, 0, 0.5, 1.0, 0, 0.25]) == [
        Span(5, 14, "damn\nfool", 0.75),
        Span(16, 19, "you", 0.25),
    ]


def test_utf16_counts_two_for_astral_characters():
    text = "a😀b👍🏽c"
    spans = [Span(1, 2, "😀"), Span(3, 5, "👍🏽"), Span(5, 6, "c")]
    assert to_utf16(text, spans) == [(1, 3), (4, 8), (8, 9)]
