"""Beliefs carried over: by prefix, conditioned inside a token, chained over several tokens."""

import numpy as np
import pytest

from inarch.match import MatchSettings, align, build_tables
from inarch.records import NO_BOUNDARY, Beliefs, TokenRow

SETTINGS = MatchSettings()


def row_of(tokenizer, text, bos=None, eos=None):
    encoded = tokenizer.encode(text)
    begin = [] if bos is None else [bos]
    end = [] if eos is None else [eos]
    ids = np.array([*begin, *encoded.ids, *end], np.int32)
    first = -1 if encoded.pending_first else 0
    last = len(text.encode()) + 1
    ends = np.array([*[first] * len(begin), *encoded.ends, *[last] * len(end)], np.int32)
    return TokenRow(ids, ends, np.arange(len(ids)) < len(ids) - 1, encoded.exact)


def beliefs_of(row, says):
    """says: one (candidates {id: p}, p of the actual next token) per position but the last."""
    num, k = len(row.ids) - 1, max(len(candidates) for candidates, _ in says)
    ids, probs = np.full((num, k), -1, np.int32), np.zeros((num, k))
    for p, (candidates, _) in enumerate(says):
        ids[p, : len(candidates)] = list(candidates)
        probs[p, : len(candidates)] = list(candidates.values())
    with np.errstate(divide="ignore"):
        return Beliefs(
            ends=row.ends[:-1],
            next_ends=row.ends[1:],
            next_ids=row.ids[1:],
            next_logps=np.log([actual for _, actual in says]).astype("f4"),
            ids=ids,
            logps=np.log(probs).astype("f4"),
            tail=np.log(1 - probs.sum(axis=1) + 1e-12).astype("f4"),
        )


def shown(aligned):
    """{position: ({id: p}, tail)}"""
    return {
        int(p): (
            {int(t): float(np.exp(lp)) for t, lp in zip(i, lps, strict=True) if t >= 0},
            float(np.exp(tail)),
        )
        for p, i, lps, tail in zip(*aligned, strict=True)
    }


@pytest.fixture
def names():
    def look_up(tokenizer):
        return tokenizer.names.index

    return look_up


class TestBoundary:
    def test_a1_and_the_sum_by_prefix(self, byte_level, names):
        target = byte_level(("h", "a"))
        source = byte_level(("h", "a"), ("ha", "ha"), ("ha", "t"))
        t, s = names(target), names(source)
        row = row_of(target, "haha!", bos=t("x"))  # x | ha | ha | !
        theirs = row_of(source, "haha!", bos=s("x"))  # x | haha | !
        says = [({s("haha"): 0.5, s("hat"): 0.2, s("!"): 0.1}, 0.5), ({s("!"): 0.9}, 0.9)]
        out = shown(
            align(row, beliefs_of(theirs, says), build_tables(target, source, SETTINGS), "boundary")
        )
        # before: haha and hat both begin with ha, .5 + .2; inside haha: nothing; after it: !
        assert list(out) == [0, 2]
        assert out[0][0] == pytest.approx({t("ha"): 0.7, t("!"): 0.1}, abs=1e-6)
        assert out[0][1] == pytest.approx(0.2, abs=1e-6)
        assert out[2][0] == pytest.approx({t("!"): 0.9}, abs=1e-6)

    def test_a5_the_same_tokenizer(self, byte_level, names):
        same = byte_level(("h", "a"))
        n = names(same)
        row = row_of(same, "haha!", bos=n("x"), eos=same.roles["eos"])
        says = [
            ({n("ha"): 0.6, n("!"): 0.3}, 0.6),
            ({n("!"): 0.5, n("ha"): 0.4}, 0.4),
            ({n("!"): 0.7}, 0.7),
            ({same.roles["eos"]: 0.8, n("ha"): 0.1}, 0.8),
        ]
        beliefs = beliefs_of(row, says)
        for coverage in ("boundary", "prefix"):
            out = align(row, beliefs, build_tables(same, same, SETTINGS), coverage)
            assert out.positions.tolist() == [0, 1, 2, 3]
            assert (out.ids == beliefs.ids).all()
            assert out.logps[out.ids >= 0] == pytest.approx(beliefs.logps[beliefs.ids >= 0])
            assert out.tail == pytest.approx(beliefs.tail)

    def test_only_supervised_positions(self, byte_level, names):
        same = byte_level()
        n = names(same)
        row = row_of(same, "ab", bos=n("x"))
        row = row._replace(supervised=np.array([False, True, False]))
        beliefs = beliefs_of(row, [({n("a"): 0.6}, 0.6), ({n("b"): 0.6}, 0.6)])
        out = align(row, beliefs, build_tables(same, same, SETTINGS), "prefix")
        assert out.positions.tolist() == [1]

    def test_dummy_space_is_predicted_only_where_both_have_one(self, byte_level, spm, names):
        target, source = spm(("▁", "a")), byte_level()
        row = row_of(target, "ab", bos=1)  # <s> (before ▁: -1) | ▁a 1 | b 2
        theirs = row_of(source, "ab", bos=5)  # bos 0 | a 1 | b 2
        s = names(source)
        beliefs = beliefs_of(theirs, [({s("a"): 0.9}, 0.9), ({s("b"): 0.9}, 0.9)])
        out = shown(align(row, beliefs, build_tables(target, source, SETTINGS), "prefix"))
        assert list(out) == [1]


class TestInside:
    def test_conditioned_on_what_was_spelled(self, byte_level, names):
        target = byte_level(("h", "a"))
        source = byte_level(("h", "a"), ("ha", "ha"), ("ha", "t"))
        t, s = names(target), names(source)
        row, theirs = row_of(target, "haha!", bos=t("x")), row_of(source, "haha!", bos=s("x"))
        # tail of the first position: 1 - .5 - .2 - .1 - .05 = .15
        first = {s("haha"): 0.5, s("hat"): 0.2, s("ha"): 0.1, s("!"): 0.05}
        beliefs = beliefs_of(theirs, [(first, 0.5), ({s("!"): 0.9}, 0.9)])
        out = shown(align(row, beliefs, build_tables(target, source, SETTINGS), "prefix"))
        # after ha: haha goes on with ha, hat with t; ha itself and the tail say nothing.
        # Z = .5 + .2 + .1 + .15 = .95
        assert list(out) == [0, 1, 2]
        assert out[1][0] == pytest.approx({t("ha"): 0.5 / 0.95, t("t"): 0.2 / 0.95}, abs=1e-6)
        assert out[1][1] == pytest.approx(0.25 / 0.95, abs=1e-6)

    def test_a2_bayes_at_each_place_of_banana(self, byte_level, names):
        target = byte_level(("b", "a"), ("ba", "n"), ("n", "a"))
        source = byte_level(("n", "a"), ("b", "a"), ("ba", "na"), ("bana", "na"))
        t, s = names(target), names(source)
        row, theirs = row_of(target, "banana!", bos=t("x")), row_of(source, "banana!", bos=s("x"))
        assert [target.names[n] for n in row.ids] == ["x", "ban", "a", "na", "!"]
        assert [source.names[n] for n in theirs.ids] == ["x", "banana", "!"]
        beliefs = beliefs_of(theirs, [({s("banana"): 0.6, s("ba"): 0.3}, 0.6), ({s("!"): 1}, 1)])
        tables = build_tables(target, source, SETTINGS)
        assert list(shown(align(row, beliefs, tables, "boundary"))) == [0, 3]
        out = shown(align(row, beliefs, tables, "prefix"))
        # ban: "ba" is shorter, so that only banana (.6) and the tail (.1) are consistent.  What is
        # left of it is "ana", whose first token is a; after bana it is na.
        assert out[1][0] == pytest.approx({t("a"): 6 / 7}, abs=1e-6)
        assert out[2][0] == pytest.approx({t("na"): 6 / 7}, abs=1e-6)

    def test_no_consistent_candidate_no_belief(self, byte_level, names):
        target, source = byte_level(), byte_level(("h", "a"))
        t, s = names(target), names(source)
        row, theirs = row_of(target, "ha", bos=t("x")), row_of(source, "ha", bos=s("x"))
        beliefs = beliefs_of(theirs, [({s("z"): 0.9}, 0.05)])
        out = shown(align(row, beliefs, build_tables(target, source, SETTINGS), "prefix"))
        assert list(out) == [0]

    def test_only_supervised_positions(self, byte_level, names):
        target, source = byte_level(), byte_level(("h", "a"))
        t, s = names(target), names(source)
        row, theirs = row_of(target, "ha", bos=t("x")), row_of(source, "ha", bos=s("x"))
        row = row._replace(supervised=np.array([True, False, False]))
        beliefs = beliefs_of(theirs, [({s("ha"): 0.9}, 0.9)])
        out = align(row, beliefs, build_tables(target, source, SETTINGS), "prefix")
        assert out.positions.tolist() == [0]

    def test_consistent_candidates_without_any_mass(self, byte_level, names):
        target, source = byte_level(), byte_level(("h", "a"))
        t, s = names(target), names(source)
        row, theirs = row_of(target, "ha", bos=t("x")), row_of(source, "ha", bos=s("x"))
        beliefs = beliefs_of(theirs, [({s("ha"): 0.9}, 0.9)])
        nothing = beliefs._replace(
            logps=np.full((1, 1), -1e4, "f4"), tail=np.array([-np.inf], "f4")
        )
        out = align(row, nothing, build_tables(target, source, SETTINGS), "prefix")
        assert out.positions.tolist() == [0]


class TestChain:
    def chained(self, byte_level, names, first, actual):
        """Target token ana, source tokens a|n|a; the source says `first` before them."""
        target, source = byte_level(("a", "n"), ("an", "a")), byte_level()
        t, s = names(target), names(source)
        row, theirs = row_of(target, "bana!", bos=t("x")), row_of(source, "bana!", bos=s("x"))
        first = {s(name): p for name, p in first.items()}
        says = [({s("b"): 0.9}, 0.9), (first, actual[0]), ({}, actual[1]), ({}, actual[2])]
        beliefs = beliefs_of(theirs, [*says, ({s("!"): 0.9}, 0.9)])
        out = align(row, beliefs, build_tables(target, source, SETTINGS), "prefix")
        found, tail = shown(out)[1]
        return {target.names[n]: p for n, p in found.items()}, tail

    def test_a3_label_of_three_source_tokens(self, byte_level, names):
        # P(ana) = .8 x .5 x .9 = .36, taken out of P(a) = .8, which keeps .44
        found, tail = self.chained(byte_level, names, {"a": 0.8, "e": 0.1}, (0.8, 0.5, 0.9))
        assert found == pytest.approx({"a": 0.44, "ana": 0.36}, abs=1e-6)
        assert tail == pytest.approx(0.2, abs=1e-6)  # k = 2: the e, .1, gave way

    def test_first_token_not_among_the_candidates(self, byte_level, names):
        # P(ana) = .2 x .5 x .5 = .05 out of the tail, 1 - .6 = .4
        found, tail = self.chained(byte_level, names, {"e": 0.6}, (0.2, 0.5, 0.5))
        assert found == pytest.approx({"e": 0.6}, abs=1e-6)
        assert tail == pytest.approx(0.4, abs=1e-6)  # k = 1, and e is the better one
        found, tail = self.chained(byte_level, names, {"e": 0.4, "i": 0.01}, (0.5, 0.5, 0.5))
        assert found == pytest.approx({"e": 0.4, "ana": 0.125}, abs=1e-6)
        assert tail == pytest.approx(0.59 - 0.125 + 0.01, abs=1e-6)

    def test_never_more_than_the_payer_has(self, byte_level, names):
        # the beliefs were taken at another temperature: P(a) is .3 here, the chain says .72
        found, tail = self.chained(byte_level, names, {"a": 0.3, "e": 0.1}, (0.9, 0.8, 1.0))
        assert found == pytest.approx({"ana": 0.3, "e": 0.1}, abs=1e-6)
        assert tail == pytest.approx(0.6, abs=1e-6)

    def test_a_hole_in_the_source_breaks_the_chain(self, byte_level, names):
        target, source = byte_level(("a", "n"), ("an", "a")), byte_level()
        t, s = names(target), names(source)
        row, theirs = row_of(target, "bana!", bos=t("x")), row_of(source, "bana!", bos=s("x"))
        says = [({s("b"): 0.9}, 0.9), ({s("a"): 0.9}, 0.9), ({}, 0.5), ({}, 0.5), ({s("!"): 1}, 1)]
        whole = beliefs_of(theirs, says)
        holed = Beliefs(*(np.delete(part, 2, axis=0) for part in whole[:-1]))
        out = shown(align(row, holed, build_tables(target, source, SETTINGS), "prefix"))
        assert out[1][0] == pytest.approx({t("a"): 0.9}, abs=1e-6)


class TestEndsByRole:
    def test_one_end_of_turn_or_text(self, byte_level, spm):
        """The source ends turns and texts with </s>, the target has a token for each."""
        target = byte_level(eos_token="<|end|>", additional_special_tokens=["<|turn|>"])
        target.roles["eot"] = turn = target.names.index("<|turn|>")
        end = target.roles["eos"]
        source = spm()
        tables = build_tables(target, source, SETTINGS)
        for token in (turn, end):
            row = row_of(target, "ab", eos=token)
            theirs = row_of(source, "ab", eos=2)
            says = [({260: 0.5}, 0.5)] * (len(theirs.ids) - 2) + [({2: 0.7, 261: 0.2}, 0.7)]
            out = shown(align(row, beliefs_of(theirs, says), tables, "boundary"))
            assert out[1][0][token] == pytest.approx(0.7, abs=1e-6)


def test_mass_is_kept(byte_level, spm, names):
    """Every position that is spoken for sums to one, candidates and tail."""
    rng = np.random.default_rng(0)
    target = byte_level(("h", "a"), ("Ġ", "t"), ("b", "a"), ("t", "h"))
    source = spm(("h", "a"), ("t", "h"), ("th", "a"), ("▁", "th"), ("tha", "t"))
    text = "that ban hath bat that that! hahat than"
    row, theirs = row_of(target, text, bos=3), row_of(source, text, bos=1)
    num = len(theirs.ids) - 1
    says = []
    for p in range(num):
        mass = rng.dirichlet(np.ones(9))
        others = rng.choice(np.arange(259, source.size), 8, replace=False)
        candidates = dict(zip(others.tolist(), mass[:8], strict=True))
        actual = candidates.get(int(theirs.ids[p + 1]), mass[8] / 2)
        says.append((candidates, actual))
    out = align(row, beliefs_of(theirs, says), build_tables(target, source, SETTINGS), "prefix")
    assert (row.ends[out.positions] != NO_BOUNDARY).all()
    assert len(out.positions) > 15
    total = np.exp(out.logps).sum(axis=1) + np.exp(out.tail)
    assert total == pytest.approx(np.ones(len(total)), abs=1e-5)
    for ids in out.ids:
        kept = ids[ids >= 0]
        assert len(set(kept.tolist())) == len(kept)
