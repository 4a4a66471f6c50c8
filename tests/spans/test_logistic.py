"""Logistic regression: against scikit-learn's own answer, on the official files, saved, extreme."""

import sys

import numpy as np
import pytest

from inarch.errors import MissingExtra, WeightsError
from inarch.spans.logistic import LogisticSettings, LogisticTagger, _examples
from inarch.spans.metric import score
from inarch.spans.offsets import spans_to_offsets
from inarch.spans.read import Post, read_posts, without
from inarch.spans.words import split_words

TEXTS = ["You damn fool, shut up!", "a nice day", "What a Fool I was", "damn   good dog", "x"]
POSTS = [
    Post("You damn fool, shut up!", tuple(range(4, 13))),
    Post("a nice day", ()),
    Post("What a Fool I was", (7, 8, 9, 10)),
    Post("damn good dog", (0, 1, 2, 3)),
] * 5


@pytest.fixture(scope="module")
def tagger() -> LogisticTagger:
    return LogisticTagger.fit(POSTS, LogisticSettings(epochs=3))


def test_kept_terms_add_up_to_the_product_with_the_features(tagger):
    for text in TEXTS:
        starts, indices, labels = _examples([Post(text, ())])
        rows = np.split(indices, starts[1:-1])
        expected = [tagger.bias + tagger.weights[row].astype(np.float64).sum() for row in rows]
        words, _ = split_words(text)
        np.testing.assert_allclose(tagger._logits(words), expected, atol=1e-6)
        assert len(labels) == len(words)


def test_a_word_sees_two_on_either_side_and_no_more(tagger):
    words = [*"abcdefg"]
    before = tagger._logits(words)
    for at in range(7):
        changed = [*words]
        changed[at] = "fool"
        moved = np.flatnonzero(tagger._logits(changed) != before)
        assert set(moved) <= set(range(at - 2, at + 3))
        if 2 <= at <= 4:
            assert at in moved
    assert tagger._logits(["a", "fool"])[0] != tagger._logits(["fool", "a"])[1]  # by place


def test_it_learns_what_it_is_shown(tagger):
    for post in POSTS[:4]:
        assert spans_to_offsets(tagger.tag(post.text)) == list(post.offsets)
    (span,) = tagger.tag("You damn fool, shut up!")
    probs = 1 / (1 + np.exp(-tagger._logits(split_words("You damn fool, shut up!")[0])))
    assert span.score == pytest.approx(probs[1:3].mean())
    assert tagger.tag("") == tagger.tag(" \n") == []
    assert list(tagger.tag_stream(iter(TEXTS))) == tagger.tag_batch(TEXTS, batch_size=2)


@pytest.mark.parametrize(
    ("posts", "found"),
    [
        ([Post("a fool", ()), Post("a day", ())], []),  # nothing to tell apart
        ([Post("fool", (0, 1, 2, 3))], ["a fool"]),
        ([Post(" \n", ()), Post("", ())], []),
        ([], []),
    ],
)
def test_words_all_of_one_kind_teach_that_kind(posts, found):
    tagger = LogisticTagger.fit(posts)
    assert [span.text for span in tagger.tag("a fool")] == found


def test_the_seed_names_the_run(tagger):
    again = LogisticTagger.fit(POSTS, LogisticSettings(epochs=3))
    np.testing.assert_array_equal(again.weights, tagger.weights)
    other = LogisticTagger.fit(POSTS, LogisticSettings(epochs=3, seed=1))
    assert not np.array_equal(other.weights, tagger.weights)


@pytest.mark.slow
def test_the_official_files(toxic_spans):
    train, trial, test = (
        read_posts(toxic_spans / f"tsd_{name}.csv") for name in ("train", "trial", "test")
    )
    tagger = LogisticTagger.fit(without(train, trial))
    for posts, least in ((trial, 0.585), (test, 0.640)):
        found = [spans_to_offsets(post_spans) for post_spans in map(tagger.tag, texts(posts))]
        assert score(found, [post.offsets for post in posts]).f1 >= least


def texts(posts: list[Post]) -> list[str]:
    return [post.text for post in posts]


def test_what_is_saved_is_read(tagger, tmp_path):
    tagger.save_pretrained(tmp_path / "a")
    again = LogisticTagger.from_pretrained(tmp_path / "a")
    assert again.tag_batch(TEXTS) == tagger.tag_batch(TEXTS)
    with pytest.raises(WeightsError, match=r"cannot read logistic\.json"):
        LogisticTagger.from_pretrained(tmp_path)
    LogisticTagger(np.zeros(8, np.float32), 0.0).save_pretrained(tmp_path / "b")
    with pytest.raises(WeightsError, match=r"found weights \[8\] of float32; expected \[1048576\]"):
        LogisticTagger.from_pretrained(tmp_path / "b")
    (tmp_path / "a" / "logistic.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="cannot read"):
        LogisticTagger.from_pretrained(tmp_path / "a")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtra, match=r"pip install 'inarch\[spans\]'"):
        LogisticTagger.fit(POSTS)
