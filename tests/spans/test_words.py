"""Words and their forms."""

import numpy as np
import pytest

from inarch.errors import WeightsError
from inarch.spans.words import PADDING, UNKNOWN, WordVocabulary, split_words


def test_words_keep_the_marks_that_hide_letters():
    text = "You F**K, don't\u00a0a$$ \U0001f44d\U0001f3fd!\r\nol' na\u0308h"
    forms, offsets = split_words(text)
    assert forms[:5] == ["You", "F**K", ",", "don't", "a"]
    assert forms[5:7] == ["$", "$"]  # no letter behind them
    assert "\U0001f44d" in forms
    assert all(text[start:end] == form for form, (start, end) in zip(forms, offsets, strict=True))
    covered = {i for start, end in offsets for i in range(start, end)}
    assert {i for i in range(len(text)) if not text[i].isspace()} == covered


def test_half_of_a_surrogate_pair_is_a_sign_like_any_unknown_one(tmp_path):
    forms, offsets = split_words("fool\ud83d \ude00!")  # JSON can spell it, UTF-8 cannot
    assert forms == ["fool", "\ufffd", "\ufffd", "!"]
    assert offsets == [(0, 4), (4, 5), (6, 7), (7, 8)]
    vocabulary = WordVocabulary.of(forms * 2, min_count=2)
    vocabulary.save(tmp_path)
    assert WordVocabulary.load(tmp_path).characters == vocabulary.characters


def test_a_vocabulary_counts_in_lower_case(tmp_path):
    vocabulary = WordVocabulary.of(["Bad", "bad", "dog", "BAD"], min_count=2)
    assert vocabulary.words == ("bad",)
    assert vocabulary.characters == ("d", "B", "a")  # by count, then by code point
    table = vocabulary.table(["bAd", "dog"])
    assert table.words_U.tolist() == [PADDING, 2, UNKNOWN]
    assert table.chars_UC[1, :4].tolist() == [UNKNOWN, UNKNOWN, 2, PADDING]
    vocabulary.save(tmp_path)
    again = WordVocabulary.load(tmp_path)
    for a, b in zip(again.table(["bAd", "x"]), vocabulary.table(["bAd", "x"]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_flags_tell_how_a_word_is_written():
    vocabulary = WordVocabulary.of([], 1)
    flags = vocabulary.table(["bad", "BAD", "I", "b4d", "f*k", "!", "é"]).flags_UF[1:]
    assert flags.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("content", [None, "{", '{"words": []}', "[]"])
def test_a_broken_vocabulary_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "words.json").write_text(content)
    with pytest.raises(WeightsError, match=r"cannot read .*words\.json"):
        WordVocabulary.load(tmp_path)
