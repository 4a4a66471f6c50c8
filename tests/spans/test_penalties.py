"""Tokens that are not learnt, and what spans cost: by hand, and what each variant promises."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.spans.offsets import Span, offsets_to_spans
from inarch.spans.penalties import PenaltySettings, loss_mask, reward_penalty

COUNT = PenaltySettings(weight=0.5)
RATIO = PenaltySettings(per="ratio", weight=0.5)
WORDS = st.text("ab ", max_size=30)


def spans_in(text: str, offsets: set[int]) -> list[Span]:
    return offsets_to_spans(text, {i for i in offsets if i < len(text)})


# ------------------------------------------------------------------------------- tokens to learn


def test_tokens_that_overlap_a_span_are_not_learnt():
    #       0123456789012345
    text = "you damn fool, x"
    spans = [Span(4, 8, "damn"), Span(9, 13, "fool")]
    tokens = [(0, 0), (0, 3), (3, 6), (6, 8), (8, 9), (8, 9), (8, 10), (10, 13), (13, 16), (16, 16)]
    #         special  you    ` da`    mn      space   space   ` f`     ool      `, x`    special
    assert loss_mask(spans, tokens).tolist() == [
        *(True, True, False, False, True, True, False, False, True, True)
    ]
    assert loss_mask(spans, [(0, len(text))]).tolist() == [False]
    assert loss_mask([], tokens).all()
    assert loss_mask(spans, []).tolist() == []


@effort(max_examples=200, deadline=None)
@given(WORDS, st.sets(st.integers(0, 29)), st.data())
def test_the_mask_against_another_way(text, offsets, data):
    spans = spans_in(text, offsets)
    ends = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted).map(tuple)
    tokens = data.draw(st.lists(ends, max_size=8))
    toxic = {i for span in spans for i in range(span.start, span.end)}
    expected = [toxic.isdisjoint(range(*token)) for token in tokens]
    assert loss_mask(spans, tokens).tolist() == expected


# ----------------------------------------------------------------------------------- rewards


def test_penalties_by_hand():
    text = "you damn fool, x"  # 16 characters, 8 of them in spans
    spans = [Span(4, 8, "damn"), Span(9, 13, "fool")]
    assert reward_penalty(text, spans) == pytest.approx(0.08)
    assert reward_penalty(text, spans, COUNT) == 4.0
    assert reward_penalty(text, spans, RATIO) == 0.25
    assert reward_penalty(text, spans, PenaltySettings(weight=0.5, cap=3.0)) == 3.0
    assert reward_penalty(text, [*spans, Span(4, 8, "damn")], COUNT) == 4.0  # each once
    for settings in (None, COUNT, RATIO):
        assert reward_penalty(text, [], settings) == reward_penalty("", [], settings) == 0.0


@effort(max_examples=150, deadline=None)
@given(WORDS, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.booleans())
def test_more_spans_never_cost_less(text, offsets, more, ratio):
    settings = RATIO if ratio else COUNT
    costs = [reward_penalty(text, spans_in(text, o), settings) for o in (offsets, offsets | more)]
    assert 0 <= costs[0] <= costs[1]


@effort(max_examples=100, deadline=None)
@given(WORDS, st.sets(st.integers(0, 29)), st.text("xyz ", min_size=1))
def test_padding_lowers_the_ratio_and_not_the_count(text, offsets, padding):
    """Why ``count`` is the default: a model that is trained on the ratio learns to pad."""
    spans = spans_in(text, offsets)
    padded = text + padding
    assert reward_penalty(padded, spans, COUNT) == reward_penalty(text, spans, COUNT)
    if spans:
        assert reward_penalty(padded, spans, RATIO) < reward_penalty(text, spans, RATIO)
