"""The vote on characters: by hand, its properties, and members that are taggers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.errors import SettingsError
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.offsets import Span, offsets_to_spans, spans_to_offsets
from inarch.spans.vote import Ensemble, vote

TEXT = "you damn fool, shut up"


def spans(*ranges: tuple[int, int], score: float = 1.0) -> list[Span]:
    return [Span(start, end, TEXT[start:end], score) for start, end in ranges]


def test_a_vote_by_hand():
    #         you damn fool, shut up
    #            ____ ____                 the first, .9
    #            _________                 the second, .6
    #                 ____  _______        the third, .3
    # Votes: damn 2, the space 1, fool 3, shut up 1.
    members = [
        spans((4, 8), (9, 13), score=0.9),
        spans((4, 13), score=0.6),
        spans((9, 13), (15, 22), score=0.3),
    ]
    found = vote(TEXT, members)
    assert [span[:3] for span in found] == [(4, 8, "damn"), (9, 13, "fool")]
    assert [span.score for span in found] == pytest.approx([(0.9 + 0.6) / 3, (0.9 + 0.6 + 0.3) / 3])
    (first, second) = vote(TEXT, members, min_votes=1)
    assert (first.text, second.text) == ("damn fool", "shut up")
    assert first.score == pytest.approx((4 * 0.5 + 1 * 0.2 + 4 * 0.6) / 9)
    assert [span.text for span in vote(TEXT, members, min_votes=3)] == ["fool"]


def test_a_member_has_one_vote_however_many_spans():
    twice = spans((4, 8)) + spans((4, 13))
    assert vote(TEXT, [twice, []]) == []
    assert [span.text for span in vote(TEXT, [twice, spans((4, 8))])] == ["damn"]


def test_a_tie_keeps_nothing():
    assert vote(TEXT, [spans((4, 8)), []]) == []
    assert vote(TEXT, [spans((4, 8)), []], min_votes=1) != []
    assert vote(TEXT, [[], [], []]) == []


def test_what_is_kept_has_no_white_space_at_its_ends():
    members = [spans((4, 13)), spans((0, 8), (9, 13))]
    assert [span.text for span in vote("you damn fool", members)] == ["damn", "fool"]
    members = [spans((0, 8)), spans((4, 13)), spans((0, 3), (4, 13))]
    assert [s.text for s in vote("you damn fool", members, min_votes=2)] == ["you", "damn fool"]
    members = [spans((0, 8)), spans((3, 8)), spans((0, 4))]  # the space alone has 3 votes
    assert vote("you damn fool", members, min_votes=3) == []


LETTERS = "ab \nc👍 \u00a0d"


@st.composite
def votes(draw):
    text = draw(st.text(LETTERS, max_size=14))
    chosen = st.sets(st.integers(0, len(text) - 1)) if text else st.just(set())
    member = chosen.map(lambda offsets: offsets_to_spans(text, offsets))
    return text, draw(st.lists(member, min_size=1, max_size=5))


@effort(max_examples=150, deadline=None)
@given(votes())
def test_properties(case):
    text, members = case
    num = len(members)
    assert [s[:3] for s in vote(text, members[:1])] == [s[:3] for s in members[0]]  # identity
    kept = [set(spans_to_offsets(vote(text, members, min_votes=k))) for k in range(1, num + 1)]
    assert all(more >= fewer for more, fewer in itertools.pairwise(kept))  # monotone
    assert set(spans_to_offsets(vote(text, members))) == kept[num // 2]  # a strict majority
    turned = vote(text, members[::-1])
    assert [s[:3] for s in turned] == [s[:3] for s in vote(text, members)]
    assert [s.score for s in turned] == pytest.approx([s.score for s in vote(text, members)])
    for span in vote(text, members, min_votes=1):
        assert span.text == text[span.start : span.end] == span.text.strip() != ""
        assert 0 < span.score <= 1
    # Another way: count the members that hold a character, cut white space off what is left.
    held = [i for i in range(len(text)) if 2 * sum(_holds(m, i) for m in members) > num]
    assert [s[:3] for s in offsets_to_spans(text, held)] == [s[:3] for s in vote(text, members)]


def _holds(member: list[Span], offset: int) -> bool:
    return any(span.start <= offset < span.end for span in member)


def test_one_member_keeps_its_scores():
    member = spans((4, 8), score=0.3) + spans((9, 13), score=0.7)
    assert [span.score for span in vote(TEXT, [member])] == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("min_votes", [0, 3])
def test_other_numbers_of_votes_are_refused(min_votes):
    with pytest.raises(SettingsError, match=rf"found min_votes {min_votes} for 2 members"):
        vote(TEXT, [[], []], min_votes=min_votes)
    with pytest.raises(SettingsError, match="expected at least one tagger"):
        Ensemble([])


def test_taggers_vote_in_a_stream_that_is_read_as_it_goes():
    members = [LexiconTagger(dict.fromkeys(words, 1.0)) for words in ("ab", "bc", "bd")]
    texts = ["a b c d", "", "b", "c"] * 200
    expected = [["b"], [], ["b"], []] * 200
    ensemble = Ensemble(members)
    assert [[s.text for s in found] for found in ensemble.tag_stream(texts)] == expected
    read = []
    stream = ensemble.tag_stream(read.append(text) or text for text in texts)
    next(stream)
    assert len(read) == 256
    union = Ensemble(members, min_votes=1)
    assert [span.text for span in union.tag("a b, c")] == ["a b", "c"]
