"""Vocabulary maps: by bytes, by role, and the published baselines."""

import builtins
import sys

import numpy as np
import pytest

from inarch.errors import DataError, MissingExtra
from inarch.io.tokenizers import load_tokenizer
from inarch.match import MatchSettings, build_map
from inarch.match.homes import bytes_map, homes_in
from inarch.match.maps import NO_HOME
from inarch.match.statistics import (
    Counts,
    count_pairs,
    statistics_map,
    statistics_released_map,
)


def home_name(vocab_map, target, source, name):
    """The target's string that a source's string is mapped to."""
    home = int(vocab_map.ids[source.names.index(name)])
    return None if home == NO_HOME else target.names[home]


@pytest.fixture
def by_bytes():
    return lambda target, source: bytes_map(target, source, homes_in(target))


class TestBytes:
    def test_exact_bytes_across_alphabets(self, byte_level, spm, by_bytes):
        target = spm(("▁", "a"), words=["你"])
        source = byte_level(("Ġ", "a"), ("ä", "½"), ("ä½", "ł"))
        made = by_bytes(target, source)
        assert home_name(made, target, source, "Ġa") == "▁a"
        assert home_name(made, target, source, "Ċ") == "<0x0A>"
        assert home_name(made, target, source, "ä½ł") == "你"
        assert made.exact[source.names.index("ä½ł")]

    def test_a_normal_token_goes_before_a_byte_token(self, byte_level, spm, by_bytes):
        target, source = spm(), byte_level()
        assert home_name(by_bytes(target, source), target, source, "a") == "a"  # not <0x61>
        assert home_name(by_bytes(target, source), target, source, "c") == "<0x63>"

    def test_else_the_first_token_of_the_targets_own_encoding(self, byte_level, spm, by_bytes):
        # " bat" is written ▁ + ba + t or ▁b + ... : the target's merges decide, no dummy in front
        target = spm(("▁", "b"), ("a", "t"))
        source = byte_level(("a", "t"), ("b", "at"), ("Ġ", "bat"))
        made = by_bytes(target, source)
        assert home_name(made, target, source, "Ġbat") == "▁b"
        assert home_name(made, target, source, "bat") == "b"
        assert not made.exact[source.names.index("Ġbat")]

    def test_bytes_that_are_no_text_take_the_longest_prefix(self, byte_level, spm, by_bytes):
        target, source = spm(words=["你"]), byte_level(("ä", "½"))
        assert home_name(by_bytes(target, source), target, source, "ä½") == "<0xE4>"

    def test_the_longest_prefix(self, byte_level, by_bytes):
        target = byte_level(("ä", "½"))
        source = byte_level(
            ("ä", "½"), ("ä½", "ä")
        )  # the first two bytes of a letter, and one more
        assert home_name(by_bytes(target, source), target, source, "ä½ä") == "ä½"

    def test_specials_by_role_never_by_spelling(self, byte_level, spm, by_bytes):
        # the source has normal text "</s>" as a token and ends texts with <|end|>
        source = byte_level(("<", "/"), ("</", "s"), ("</s", ">"), eos_token="<|end|>")
        target = spm()
        made = by_bytes(target, source)
        assert made.ids[source.roles["eos"]] == target.roles["eos"]
        assert home_name(made, target, source, "</s>") != "</s>"
        assert target.roles["unk"] not in made.ids

    def test_one_id_with_many_roles_is_an_end(self, byte_level, spm, by_bytes):
        many = byte_level(
            bos_token="<|e|>", eos_token="<|e|>", unk_token="<|e|>", pad_token="<|e|>"
        )
        target = spm()
        end = many.roles["eos"]
        assert by_bytes(target, many).ids[end] == target.roles["eos"]
        back = by_bytes(many, target).ids
        # begin and end both go there; the unknown token does not, since <|e|> is no unknown token
        assert back[[1, 2, 0]].tolist() == [end, end, NO_HOME]

    def test_padding_goes_nowhere(self, spm, byte_level, by_bytes):
        source = byte_level(eos_token="<|e|>", unk_token="<|p|>", pad_token="<|p|>")
        assert by_bytes(spm(), source).ids[source.roles["pad"]] == NO_HOME

    def test_unknown_to_unknown(self, spm, by_bytes):
        target, source = spm(), spm(("a", "t"))
        made = by_bytes(target, source)
        assert made.ids[source.roles["unk"]] == target.roles["unk"]
        assert (made.ids == target.roles["unk"]).sum() == 1

    def test_a5_equal_tokenizers_map_to_themselves(self, spm, by_bytes):
        made = by_bytes(spm(("a", "t")), spm(("a", "t")))
        assert made.ids.tolist() == list(range(len(made.ids)))
        assert made.exact.all()

    def test_every_home_spells_a_prefix(self, byte_level, spm, by_bytes):
        source = byte_level(("a", "t"), ("b", "at"), ("Ġ", "bat"), ("ä", "½"))
        for target in (spm(("▁", "b")), byte_level(("b", "a"))):
            made = by_bytes(target, source)
            for token, home in enumerate(made.ids.tolist()):
                piece = source.pieces[token]
                if piece is not None:
                    assert piece.startswith(target.pieces[home])
                    assert made.exact[token] == (piece == target.pieces[home])


class TestHomes:
    @pytest.mark.parametrize("scheme", [None, "always", "first", "never"])
    def test_continuation_has_no_dummy_space(self, spm, scheme):
        # written b|ath, and ▁b|ath after a space, real or dummy; bat is the longest prefix
        target = spm(("▁", "b"), ("a", "t"), ("at", "h"), ("b", "at"), scheme=scheme)
        homes = homes_in(target)
        assert target.names[homes.of(b"bath")] == "b"
        assert target.names[homes.of(b" bath")] == "▁b"

    def test_nor_has_that_of_a_byte_level_target(self, byte_level):
        merges = ("Ġ", "b"), ("a", "t"), ("at", "h"), ("b", "at")
        target = byte_level(*merges, add_prefix_space=True)
        assert target.names[homes_in(target).of(b"bath")] == "b"

    def test_the_spelling_of_a_special_token_is_text(self, spm):
        target = spm(words=["<", "/", "s", ">", "</"])  # no merge makes </
        assert target.names[homes_in(target).of(b"</s>a")] == "<"

    def test_nothing_has_no_home(self, spm):
        assert homes_in(spm()).of(b"") == NO_HOME


class TestBaselines:
    def test_exact_translates_the_mark_of_a_space_and_drops_the_rest(self, byte_level, spm):
        target, source = spm(("▁", "a")), byte_level(("Ġ", "a"), ("b", "a"))
        made = build_map(target, source, MatchSettings(vocabulary="exact"))
        assert home_name(made, target, source, "Ġa") == "▁a"
        assert home_name(made, target, source, "ba") is None
        assert home_name(made, target, source, "Ċ") is None  # <0x0A> is another string

    def test_min_edit_takes_the_lowest_of_the_nearest(self, byte_level, spm):
        target = spm(("b", "a"), ("t", "a"))
        source = byte_level(("h", "a"))
        made = build_map(target, source, MatchSettings(vocabulary="min_edit"))
        # "ha" is at distance 1 from a, h, ba and ta; "a" has the lowest id
        assert home_name(made, target, source, "ha") == "a"
        assert home_name(made, target, source, "a") == "a"
        # a line break is at distance 1 from every single character: the ▁ comes first
        assert home_name(made, target, source, "Ċ") == "▁"
        assert (made.ids != NO_HOME).all()
        assert not made.exact[source.names.index("Ċ")]

    def test_equal_strings_of_different_bytes_are_not_exact(self, byte_level, spm):
        # "é" is the letter to one and the byte 0xE9 to the other
        target, source = spm(words=["é"]), byte_level()
        made = build_map(target, source, MatchSettings(vocabulary="exact"))
        assert home_name(made, target, source, "é") == "é"
        assert not made.exact[source.names.index("é")]

    def test_without_rapidfuzz(self, byte_level, spm, monkeypatch):
        real = builtins.__import__

        def absent(name, *rest):
            if name == "rapidfuzz":
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", absent)
        monkeypatch.delitem(sys.modules, "rapidfuzz", raising=False)
        with pytest.raises(MissingExtra, match=r"inarch\[baselines\]"):
            build_map(spm(), byte_level(), MatchSettings(vocabulary="min_edit"))


class TestStatistics:
    def test_counts_are_of_tokens_that_share_bytes(self, byte_level):
        target, source = byte_level(("h", "a")), byte_level(("h", "a"), ("ha", "ha"))
        corpus = [(target.encode("haha!"), source.encode("haha!"))] * 3
        counts = count_pairs(corpus)
        seen = {
            (source.names[s], target.names[t]): n
            for s, t, n in zip(*(part.tolist() for part in counts), strict=True)
        }
        # two target tokens share bytes with haha, one with !, in each of three texts
        assert seen == {("haha", "ha"): 6, ("!", "!"): 3}

    def test_an_id_that_covers_a_token_twice_counts_once(self, byte_level):
        target, source = byte_level(("!", "!")), byte_level()
        counts = count_pairs([(target.encode("!!"), source.encode("!!"))])
        assert counts.seen.tolist() == [1]

    def test_unknown_ends_do_not_count(self, byte_level):
        same = byte_level()
        row = same.encode("abc")
        row.ends[1] = -2  # neither the token that ends there nor the one that begins there
        counts = count_pairs([(row, same.encode("abc"))])
        assert [same.names[n] for n in counts.target] == ["a"]

    def counts(self, target, source, own, seen):
        ids = np.array([target.names.index(name) for name in seen])
        order = np.argsort(ids)
        own_id = source.names.index(own)
        return Counts(np.full(len(ids), own_id), ids[order], np.array([*seen.values()])[order])

    def test_b4_frequency_decides_and_the_released_code_does_the_reverse(self, byte_level, spm):
        target, source = spm(("a", "t"), ("b", "t")), byte_level(("h", "t"))
        # at and bt are both at distance 1 from ht
        for often, rarely in (("at", "bt"), ("bt", "at")):
            counts = self.counts(target, source, "ht", {often: 1000, rarely: 1})
            made = statistics_map(target, source, counts)
            assert home_name(made, target, source, "ht") == often
            released = statistics_released_map(target, source, counts)
            # d x sigmoid(count), minimised: 1 x 1.0 for the frequent one, 1 x .731 for the other
            assert home_name(released, target, source, "ht") == rarely

    def test_released_distance_four_seen_once_beats_three_seen_often(self, byte_level, spm):
        # 3 x sigmoid(1000) = 3.000 > 4 x sigmoid(1) = 2.924
        target = spm(words=["xyz", "wxyz"])
        source = byte_level(("n", "n"), ("nn", "n"))
        counts = self.counts(target, source, "nnn", {"xyz": 1000, "wxyz": 1})
        released = statistics_released_map(target, source, counts)
        assert home_name(released, target, source, "nnn") == "wxyz"
        assert home_name(statistics_map(target, source, counts), target, source, "nnn") == "xyz"

    def test_released_tenth_for_contained_strings(self, byte_level, spm):
        # nnn in nnnxyz: 3 x .1 = .3 < 1 for nna
        target = spm(words=["nnnxyz", "nna"])
        source = byte_level(("n", "n"), ("nn", "n"))
        counts = self.counts(target, source, "nnn", {"nnnxyz": 9, "nna": 9})
        released = statistics_released_map(target, source, counts)
        assert home_name(released, target, source, "nnn") == "nnnxyz"

    def test_ties_by_distance_then_lowest_id(self, byte_level, spm):
        target = spm(words=["zzzz", "nna", "nnb"])
        source = byte_level(("n", "n"), ("nn", "n"))
        counts = self.counts(target, source, "nnn", {"zzzz": 5, "nna": 5, "nnb": 5})
        assert home_name(statistics_map(target, source, counts), target, source, "nnn") == "nna"

    def test_never_seen(self, byte_level, spm):
        target, source = spm(), byte_level(("q", "q"))
        nothing = count_pairs([])
        assert home_name(statistics_map(target, source, nothing), target, source, "qq") is None
        released = statistics_released_map(target, source, nothing)
        assert home_name(released, target, source, "qq") == "<unk>"
        assert home_name(released, target, source, "a") == "a"  # an equal string comes first
        assert released.ids[source.roles["eos"]] == target.roles["eos"]
        assert not released.sum_duplicates

    def test_a_corpus_is_needed(self, byte_level, spm):
        with pytest.raises(DataError, match="corpus"):
            build_map(spm(), byte_level(), MatchSettings(vocabulary="statistics"))

    def test_identical_tokenizers_on_a_corpus(self, byte_level):
        same = byte_level(("h", "a"))
        corpus = [(same.encode(text), same.encode(text)) for text in ("haha!", "that", "a")]
        made = build_map(same, same, MatchSettings(vocabulary="statistics"), corpus)
        seen = {token for row, _ in corpus for token in row.ids.tolist()}
        assert all(made.ids[token] == token for token in seen)


class TestCache:
    @pytest.fixture
    def pair(self, byte_level, spm):
        return spm(), byte_level(("h", "a"))

    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "cache"

    def test_second_time_from_the_file(self, pair, folder, monkeypatch):
        built = build_map(*pair, MatchSettings())
        (file,) = folder.iterdir()
        monkeypatch.setattr("inarch.match.vocabulary.bytes_map", None)  # would fail if called
        again = build_map(*pair, MatchSettings())
        assert again.method == built.method
        assert again.sum_duplicates == built.sum_duplicates
        assert (again.ids == built.ids).all()
        assert (again.exact == built.exact).all()
        assert again.ids.dtype == np.int32
        assert file.suffix == ".npz"

    @pytest.mark.parametrize("damage", [b"", b"not a zip file", None])
    def test_a_damaged_file_is_built_again(self, pair, folder, damage):
        built = build_map(*pair, MatchSettings())
        (file,) = folder.iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
        again = build_map(*pair, MatchSettings())
        assert (again.ids == built.ids).all()
        assert file.read_bytes() == whole
        assert list(folder.iterdir()) == [file]

    def test_method_and_content_are_in_the_name(self, pair, byte_level, folder):
        target, source = pair
        build_map(target, source, MatchSettings())
        build_map(target, source, MatchSettings(vocabulary="exact"))
        build_map(source, target, MatchSettings())
        build_map(target, byte_level(("h", "b")), MatchSettings())
        assert len(list(folder.iterdir())) == 4

    def test_a_folder_that_cannot_be_written_only_costs_time(self, pair, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "file"))
        assert build_map(*pair, MatchSettings()).method == "bytes"


def test_b1_real_pairs(shared_data):
    load = {
        name: load_tokenizer(str(shared_data / "tokenizers" / name))
        for name in ("gpt-neox-20b", "mistral-v1", "minimind", "gpt2")
    }
    target = load["mistral-v1"]
    for name in ("gpt-neox-20b", "minimind", "gpt2"):
        source = load[name]
        made = build_map(target, source, MatchSettings())
        assert home_name(made, target, source, "Ċ") == "<0x0A>"
        assert target.roles["unk"] not in made.ids
        assert made.ids[source.roles["eos"]] == target.roles["eos"]
        text = [token for token, piece in enumerate(source.pieces) if piece]
        assert (made.ids[text] != NO_HOME).all()
    neox = load["gpt-neox-20b"]
    made = build_map(target, neox, MatchSettings())
    assert home_name(made, target, neox, "ä½ł") == "你"
    assert home_name(made, target, neox, "âĢĻ") == "’"
    assert home_name(made, target, neox, "Ġantibodies") == "▁antib"
    assert home_name(made, target, neox, "Ġ42") == "▁"


@pytest.mark.slow
def test_min_edit_real_pair(shared_data):
    """The maps that FuseLLM's procedure gives for Llama-like <- NeoX, as facts 2.3 lists them."""
    target, source = (
        load_tokenizer(str(shared_data / "tokenizers" / name))
        for name in ("mistral-v1", "gpt-neox-20b")
    )
    made = build_map(target, source, MatchSettings(vocabulary="min_edit"))
    for name, home in {
        "Ċ": "▁",
        "Ġantibodies": "▁activities",
        "Ġphysicist": "▁physics",
        "ä½ł": "är",
        "Ġ42": "▁▁",
    }.items():
        assert home_name(made, target, source, name) == home
    text = [token for token, piece in enumerate(source.pieces) if piece]
    assert (made.ids[text] != NO_HOME).all()
