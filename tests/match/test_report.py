"""The report: what is available is used, nothing is wrong, and the check itself can fail."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inarch.io.tokenizers import load_tokenizer
from inarch.match import MatchSettings, build_map
from inarch.match import report as module
from inarch.match.homes import bytes_map, homes_in
from inarch.match.maps import VocabMap
from inarch.match.report import match_report, view

TEXTS = [
    "Prose costs 42 dollars, or 3.14159; isn't it naïve?",
    "def f(x):\n\tif x:\n\t\treturn {'a':  1}\r\n\n\n    # four spaces\n",
    "你好，世界。今天天气很好，我们去公园散步吧！",
    "👩‍👩‍👧 😀😀 ok",
    "שלום עולם مرحبا بالعالم",
    "cafe\u0301 ﬁne Ｈｅｌｌｏ x\u00a0y\u200bz",
    " leading",
    "   ",
    "",
    "▁under a\x00b",
]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(module, "_TIMED_S", 0.0)


class TestByHand:
    def test_counts(self, byte_level):
        target = byte_level(("h", "a"))
        source = byte_level(("h", "a"), ("ha", "ha"))
        made = bytes_map(target, source, homes_in(target))
        report = match_report(target, source, made, ["haha!", "ha!"])
        # target ha|ha|! and ha|!, source haha|! and ha|!: bytes 4, 5 and 2, 3 are common
        assert report.target_tokens == 5
        assert report.source_tokens == 4
        assert report.available == report.used == 4
        assert report.wrong == 0
        assert report.exact_share == 3 / 4  # all but haha
        assert report.mapped_mass == 1.0
        assert report.tokens_per_second > 0
        assert (report.texts, report.inexact_rows) == (2, 0)

    def test_keys_come_in_the_order_that_is_printed(self, byte_level):
        same = byte_level()
        report = match_report(same, same, bytes_map(same, same, homes_in(same)), ["a"])
        assert list(report._asdict())[:8] == [
            "target_tokens",
            "source_tokens",
            "available",
            "used",
            "wrong",
            "exact_share",
            "mapped_mass",
            "tokens_per_second",
        ]

    def test_no_texts(self, byte_level):
        same = byte_level()
        report = match_report(same, same, bytes_map(same, same, homes_in(same)), [""])
        assert report.target_tokens == report.available == 0
        assert report.tokens_per_second == 0

    def test_view(self, byte_level):
        target = byte_level(("b", "a"), ("ba", "n"), ("n", "a"))
        source = byte_level(("n", "a"), ("b", "a"), ("ba", "na"), ("bana", "na"))
        assert view(target, source, "banana!") == [
            ("ban", "prefix", "banana"),
            ("a", "prefix", "banana"),
            ("na", "used", "banana"),
            ("!", "used", "!"),
        ]
        # the other way round banana is three of its tokens, all of which end with it
        assert view(source, target, "banana!")[0] == ("banana", "used", "banana")


class TestTheCheckCanFail:
    def test_a_shift_by_one_is_seen(self, byte_level, spm, monkeypatch):
        target, source = byte_level(("h", "a")), spm(("t", "h"))
        made = bytes_map(target, source, homes_in(target))
        text = ["that hat, that bath and the ban"]
        honest = module.pair_positions
        assert match_report(target, source, made, text).wrong == 0

        def shifted(mine, theirs):
            i, j = honest(mine, theirs)
            return i[:-1], j[1:]

        monkeypatch.setattr(module, "pair_positions", shifted)
        report = match_report(target, source, made, text)
        assert report.used == report.available - 1
        assert report.wrong == report.used

    def test_and_in_texts_that_a_tokenizer_changed(self, byte_level, spm, monkeypatch):
        target, source = byte_level(), spm()
        made = bytes_map(target, source, homes_in(target))
        text = ["▁that hat"]  # ▁ becomes a space for the source
        honest = module.pair_positions
        report = match_report(target, source, made, text)
        assert report.inexact_rows == 1
        assert report.wrong == 0
        assert report.used > 5

        def shifted(mine, theirs):
            i, j = honest(mine, theirs)
            return i[:-1], j[1:]

        monkeypatch.setattr(module, "pair_positions", shifted)
        assert match_report(target, source, made, text).wrong > 3


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a6_any_text(byte_level, spm, text):
    kinds = [byte_level(("a", "t"), ("Ġ", "a")), spm(("▁", "▁"), ("▁", "a")), spm(("a", "t"))]
    for target, source in itertools.permutations(kinds, 2):
        made = bytes_map(target, source, homes_in(target))
        report = match_report(target, source, made, [text])
        assert report.used == report.available
        assert report.wrong == 0


@pytest.fixture(scope="module")
def real(shared_data):
    folders = sorted((shared_data / "tokenizers").glob("*/tokenizer.json"))
    folders.append(shared_data / "models" / "stories260K" / "tokenizer.json")
    return [load_tokenizer(str(folder.parent)) for folder in folders]


def test_a6_every_pair_of_real_tokenizers(real):
    assert len(real) == 8
    for target, source in itertools.product(real, real):
        ids = np.full(source.size, -1, np.int32)  # ids do not matter to positions
        report = match_report(target, source, VocabMap("", ids, ids >= 0, True), TEXTS)
        where = f"{target.name} <- {source.name}"
        assert report.used == report.available > 0, where
        assert report.wrong == 0, where


@pytest.mark.slow
def test_every_pair_of_real_vocabularies(real):
    for target, source in itertools.product(real, real):
        made = build_map(target, source, MatchSettings())
        for token, home in enumerate(made.ids.tolist()):
            piece = source.pieces[token]
            if piece is not None and home >= 0:
                assert piece.startswith(target.pieces[home])
        if target is source:
            assert made.ids.tolist() == list(range(source.size))


def test_byte_fallback_and_byte_level_meet_in_every_character(real):
    """Where nothing is normalised, each character end that both have is used."""
    by_name = {tokenizer.name.rsplit("/", 1)[-1]: tokenizer for tokenizer in real}
    text = TEXTS[2]
    report = match_report(
        by_name["mistral-v1"],
        by_name["gpt2"],
        build_map(by_name["mistral-v1"], by_name["gpt2"], MatchSettings()),
        [text],
    )
    mine, theirs = (by_name[name].encode(text).ends for name in ("mistral-v1", "gpt2"))
    assert report.used == len(np.intersect1d(mine, theirs)) > 15
