"""Offsets, spans and tokens, each into the other: by hand, for hard texts, for real tokenizers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from inarch.errors import DataError
from inarch.spans.metric import f1
from inarch.spans.offsets import (
    Span,
    offsets_to_spans,
    runs,
    spans_to_offsets,
    to_utf16,
    token_labels,
    token_shares,
    tokens_to_spans,
)
from inarch.spans.read import read_posts
from inarch.spans.words import split_words

# ----------------------------------------------------------------------------------- by hand


def test_runs_by_hand():
    assert runs([7, 3, 4, 4, 5]) == [(3, 6), (7, 8)]
    assert runs([]) == []


def test_offsets_become_spans_without_white_space_at_their_ends():
    # 0123456789
    # you idiot!
    assert offsets_to_spans("you idiot!", range(3, 9)) == [Span(4, 9, "idiot")]
    assert offsets_to_spans("a b", [1]) == []
    assert offsets_to_spans("a b", [2, 0]) == [Span(0, 1, "a"), Span(2, 3, "b")]  # not bridged
    assert spans_to_offsets(offsets_to_spans("ab cd", [0, 1, 3])) == [0, 1, 3]


@pytest.mark.parametrize("offset", [-1, 3])
def test_an_offset_outside_the_text_is_refused(offset):
    with pytest.raises(DataError, match=r"found the range .* in a text of 3 characters"):
        offsets_to_spans("abc", [0, offset])
    for tokens, offsets in (([(0, 3)], [0, offset]), ([(0, 4)], [0]), ([(2, 1)], [0])):
        with pytest.raises(DataError, match="in a text of 3 characters"):
            token_labels("abc", tokens, offsets)
    with pytest.raises(DataError, match="in a text of 3 characters"):
        tokens_to_spans("abc", [(1, 4)], [True])


def test_labels_of_tokens_by_hand():
    #       0123456789
    text = "a fool \nb"
    tokens = [(0, 0), (0, 1), (1, 4), (4, 7), (6, 8), (8, 9)]
    # Without white space: nothing, a, fo, ol, nothing, b. The second letter of "ol", a space and b:
    assert token_labels(text, tokens, [5, 6, 8]).tolist() == [False] * 3 + [True, False, True]
    assert token_shares(text, tokens, [5, 6, 8]).tolist() == [0, 0, 0, 0.5, 0, 1]
    assert token_labels(text, [], [5]).tolist() == []
    assert token_labels("", [(0, 0)], []).tolist() == [False]


def test_tokens_become_spans_joined_over_white_space():
    text = "you  damn\nfool, you"
    tokens = [(0, 0), (0, 3), (3, 9), (9, 14), (14, 15), (15, 19)]
    toxic = [False, False, True, True, False, True]
    assert tokens_to_spans(text, tokens, toxic, [0, 0, 0.5, 1.0, 0, 0.25]) == [
        Span(5, 14, "damn\nfool", 0.75),
        Span(16, 19, "you", 0.25),
    ]


def test_the_bytes_of_one_character_are_one_span():
    # Byte-level tokenizers give the tokens of 👍 the same range; one of them is enough.
    tokens = [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    found = tokens_to_spans("a👍b", tokens, [False, True, False, True, True], [0, 0.6, 0, 0.9, 0.3])
    assert [span[:3] for span in found] == [(1, 3, "👍b")]
    assert found[0].score == pytest.approx(0.6)


def test_utf16_counts_two_for_astral_characters():
    text = "a😀b👍🏽c"
    spans = [Span(1, 2, "😀"), Span(3, 5, "👍🏽"), Span(5, 6, "c")]
    assert to_utf16(text, spans) == [(1, 3), (4, 8), (8, 9)]


# -------------------------------------------------------------------------------- hard texts

HARD = [
    "👍🏽 you 👩‍👩‍👧 fool 🇩🇪!",  # a skin tone, zero-width joiners, a flag
    "e\u0301tat i\u0307diot",  # combining marks
    "damn\r\nfool\r\n",
    "damn\u00a0fool\u2003x",  # NBSP, EM SPACE
    "\tdamn\t\tfool",
    "a\u200bb\u200d c\ufeffd",  # zero-width: no white space
    "אתה \u200fטיפש\u200e you",  # right to left, with marks
    "",
    " \n",
    "\ud83d lone",
    "ﬁne ǅ ß",
]
PIECES = "ab. \n\r\t\u00a0\u3000\u200d\u0301👍🏽ת😀"


@st.composite
def tokenized(draw):
    """A text with characters, and tokens with gaps, white space, overlaps and repetitions."""
    text = draw(st.one_of(st.sampled_from(HARD), st.text(PIECES, max_size=20)))
    ends = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted).map(tuple)
    tokens = draw(st.lists(ends, max_size=12))
    chosen = draw(st.sets(st.integers(0, len(text) - 1))) if text else set()
    return text, tokens, chosen


@effort(max_examples=300, deadline=None)
@given(tokenized())
def test_promises_of_spans(case):
    text, tokens, chosen = case
    labels = token_labels(text, tokens, chosen)
    for found in (offsets_to_spans(text, chosen), tokens_to_spans(text, tokens, labels)):
        ends = [-1, *(end for span in found for end in span[:2])]
        assert ends == sorted(set(ends))  # disjoint, in order, not empty, not even touching
        for span in found:
            assert span.text == text[span.start : span.end] == span.text.strip() != ""
            assert (span.score, span.label) == (1.0, "TOXIC")
        units = to_utf16(text, found)
        wide = text.encode("utf-16-le", "surrogatepass")
        for span, (start, end) in zip(found, units, strict=True):
            assert wide[2 * start : 2 * end] == span.text.encode("utf-16-le", "surrogatepass")


@effort(max_examples=300, deadline=None)
@given(tokenized())
def test_labels_and_spans_against_another_way(case):
    text, tokens, chosen = case
    inked = [
        {i for i in range(a, b) if text[a:b].strip() and _inside(text, a, b, i)} for a, b in tokens
    ]
    labels = token_labels(text, tokens, chosen)
    assert labels.tolist() == [bool(ink & chosen) for ink in inked]
    shares = [len(ink & chosen) / len(ink) if ink else 0 for ink in inked]
    np.testing.assert_allclose(token_shares(text, tokens, chosen), shares)
    # Characters of toxic tokens, and white space that stands between two of them.
    on = set().union(*(ink for ink, label in zip(inked, labels, strict=True) if label))
    for start in on:
        end = next((i for i in range(start + 1, len(text)) if not text[i].isspace()), len(text))
        if end in on:
            on = on | set(range(start, end))
    assert spans_to_offsets(tokens_to_spans(text, tokens, labels)) == sorted(on)


def _inside(text: str, start: int, end: int, i: int) -> bool:
    """Whether a character is not of the white space at the ends of a range."""
    return bool(text[start : i + 1].strip()) and bool(text[i:end].strip())


@pytest.mark.parametrize("text", HARD)
def test_words_of_hard_texts_come_back(text):
    _, offsets = split_words(text)
    for start, end in offsets:
        (span,) = tokens_to_spans(text, [(start, end)], [True])
        assert (span.start, span.end) == (start, end)
        labels = token_labels(text, offsets, range(start, end))
        assert labels.sum() == 1


# --------------------------------------------------------------------- what a round trip keeps


def byte_level() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return made, trainers.BpeTrainer(
        vocab_size=8000, initial_alphabet=alphabet, show_progress=False
    )


def word_piece() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made, trainers.WordPieceTrainer(
        vocab_size=8000, special_tokens=["[UNK]"], show_progress=False
    )


def unigram() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made, trainers.UnigramTrainer(
        vocab_size=8000, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )


@pytest.mark.parametrize(
    ("kind", "train_least", "test_least"),
    [
        (byte_level, 0.998, 0.999),
        pytest.param(word_piece, 0.998, 0.999, marks=pytest.mark.slow),
        pytest.param(unigram, 0.984, 0.984, marks=pytest.mark.slow),
    ],
)
def test_ceilings(toxic_spans, kind, train_least, test_least):
    train, test = (read_posts(toxic_spans / f"tsd_{name}.csv") for name in ("train", "test"))
    tokenizer, trainer = kind()
    tokenizer.train_from_iterator([post.text for post in train], trainer)
    for posts, least in ((train, train_least), (test, test_least)):
        scores = []
        for post, made in zip(
            posts, tokenizer.encode_batch([post.text for post in posts]), strict=True
        ):
            labels = token_labels(post.text, made.offsets, post.offsets)
            found = tokens_to_spans(post.text, made.offsets, labels)
            scores.append(f1(spans_to_offsets(found), post.offsets))
        assert np.mean(scores) >= least
    if kind is byte_level:  # tokens of 8k that hold the bytes of one character share its range
        encoded = tokenizer.encode("a 🤦 b")
        assert len(set(encoded.offsets)) < len(encoded.offsets)
