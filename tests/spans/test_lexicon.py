"""The ratio lexicon: by hand, as measured on the official files, saved and read again."""

import pytest

from inarch.errors import WeightsError
from inarch.spans.lexicon import LexiconSettings, LexiconTagger
from inarch.spans.metric import score
from inarch.spans.offsets import Span, spans_to_offsets
from inarch.spans.read import Post, read_posts, without

POSTS = [
    Post("You FOOL, fool!", (4, 5, 6, 7, 10, 11, 12, 13)),
    Post("fool you damn", (9, 10, 11, 12)),
    Post("damn dog", tuple(range(8))),
    Post("a dog", ()),
    Post("half halves half", (0, 1, 5, 6, 12)),  # 2 of 4 letters, 2 of 6, 1 of 4
]


def test_ratios_by_hand():
    # In spans and everywhere: fool 2/3, damn 2/2, dog 1/2, half 1/2, halves 0/1.
    assert LexiconTagger.fit(POSTS).ratios == {"damn": 1.0, "fool": 2 / 3}
    all_of_them = LexiconTagger.fit(POSTS, LexiconSettings(min_count=1, min_ratio=0.0))
    assert all_of_them.ratios == {"damn": 1.0, "dog": 0.5, "fool": 2 / 3, "half": 0.5}
    strict = LexiconTagger.fit(POSTS, LexiconSettings(min_count=1, min_ratio=0.6))
    assert strict.ratios == {"damn": 1.0, "fool": 2 / 3}


def test_both_bounds_are_kept():
    halves = Post("fool fool fool fool damn", (*range(9), *range(20, 24)))
    assert LexiconTagger.fit([halves]).ratios == {"fool": 0.5}  # damn is there once


def test_words_are_found_in_any_case_and_bridged():
    tagger = LexiconTagger({"damn": 1.0, "fool": 0.5})
    assert tagger.tag("Damn\n FOOL, fools") == [Span(0, 10, "Damn\n FOOL", 0.75)]
    texts = ["", " \t", "no", "fool"]
    assert list(tagger.tag_stream(iter(texts))) == [[], [], [], [Span(0, 4, "fool", 0.5)]]
    assert tagger.tag_batch(texts, 2) == [tagger.tag(text) for text in texts]


def test_the_official_files(toxic_spans):
    train, trial, test = (
        read_posts(toxic_spans / f"tsd_{name}.csv") for name in ("train", "trial", "test")
    )
    tagger = LexiconTagger.fit(without(train, trial))
    assert len(tagger.ratios) == 384
    for posts, expected in ((trial, (0.605730, 0.139535)), (test, (0.644228, 0.170051))):
        found = [spans_to_offsets(tagger.tag(post.text)) for post in posts]
        made = score(found, [post.offsets for post in posts])
        assert (made.f1, made.f1_empty) == pytest.approx(expected, abs=1e-6)


def test_what_is_saved_is_read(tmp_path):
    tagger = LexiconTagger.fit(POSTS)
    tagger.save_pretrained(tmp_path / "a")
    again = LexiconTagger.from_pretrained(tmp_path / "a")
    assert (again.ratios, again.cpu_s) == (tagger.ratios, tagger.cpu_s)
    for content in (None, "{", '{"ratios": [1]}', "[]"):
        if content is not None:
            (tmp_path / "lexicon.json").write_text(content)
        with pytest.raises(WeightsError, match=r"cannot read .*lexicon\.json"):
            LexiconTagger.from_pretrained(tmp_path)
