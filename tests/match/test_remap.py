"""Candidates under the target's ids: duplicates, mass without a home, order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.match.maps import VocabMap
from inarch.match.remap import remap


def vocab_map(ids, sum_duplicates=True):
    ids = np.array(ids, np.int32)
    return VocabMap("bytes", ids, ids >= 0, sum_duplicates)


def run(ids, probs, tail, table, **options):
    with np.errstate(divide="ignore"):
        out = remap(
            np.array([ids], np.int32),
            np.log(np.array([probs], np.float32)),
            np.log(np.array([tail], np.float32)),
            vocab_map(table, **options),
        )
    return out[0][0].tolist(), np.exp(out[1][0]), float(np.exp(out[2][0]))


class TestByHand:
    def test_b2_two_ids_that_meet_are_summed(self):
        # .4 stays, .3 and .2 both become id 7: .5 is now the best
        ids, probs, tail = run([0, 1, 2], [0.4, 0.3, 0.2], 0.1, [5, 7, 7])
        assert ids == [7, 5, -1]
        assert probs == pytest.approx([0.5, 0.4, 0.0])
        assert tail == pytest.approx(0.1)

    def test_the_released_code_keeps_the_first(self):
        ids, probs, tail = run([0, 1, 2], [0.4, 0.3, 0.2], 0.1, [5, 7, 7], sum_duplicates=False)
        assert ids == [5, 7, -1]
        assert probs == pytest.approx([0.4, 0.3, 0.0])
        assert tail == pytest.approx(0.1)

    def test_mass_without_a_home_joins_the_tail(self):
        ids, probs, tail = run([0, 1, 2], [0.5, 0.3, 0.1], 0.1, [-1, 3, -1])
        assert ids == [3, -1, -1]
        assert probs == pytest.approx([0.3, 0.0, 0.0])
        assert tail == pytest.approx(0.7)  # .1 + .5 + .1

    def test_ids_that_the_head_has_beyond_the_tokenizer(self):
        ids, probs, tail = run([9, 1, -1], [0.5, 0.4, 0.0], 0.1, [2, 3])
        assert ids == [3, -1, -1]
        assert probs == pytest.approx([0.4, 0.0, 0.0])
        assert tail == pytest.approx(0.6)

    def test_empty_slots_stay_empty(self):
        ids, probs, tail = run([0, -1], [0.9, 0.0], 0.1, [2, 3])
        assert ids == [2, -1]
        assert probs == pytest.approx([0.9, 0.0])
        assert tail == pytest.approx(0.1)

    def test_b3_whole_vocabulary_under_the_identity(self):
        probs = np.array([0.4, 0.3, 0.2, 0.1])
        ids, out, tail = run([2, 0, 3, 1], probs, 0.0, [0, 1, 2, 3])
        assert ids == [2, 0, 3, 1]
        assert out == pytest.approx(probs, abs=1e-6)
        assert tail == 0.0

    def test_the_arguments_stay_as_they_were(self):
        ids = np.array([[0, 1]], np.int32)
        logps, tail = np.log([[0.6, 0.3]]), np.log([0.1])
        remap(ids, logps, tail, vocab_map([4, 4]))
        assert ids.tolist() == [[0, 1]]
        assert np.exp(logps).tolist() == [[0.6, 0.3]]

    def test_no_positions(self):
        out = remap(np.zeros((0, 3), np.int32), np.zeros((0, 3)), np.zeros(0), vocab_map([0]))
        assert [part.shape for part in out] == [(0, 3), (0, 3), (0,)]


@given(st.data(), st.integers(1, 6), st.integers(1, 5))
def test_against_a_dictionary(data, k, num_rows):
    table = data.draw(st.lists(st.integers(-1, 6), min_size=8, max_size=8))
    ids = np.array(
        [data.draw(st.permutations(range(9)))[:k] for _ in range(num_rows)], np.int32
    )  # 8 is beyond the tokenizer
    weights = st.lists(st.floats(0.01, 1), min_size=k + 1, max_size=k + 1)
    rows = [sorted(data.draw(weights), reverse=True) for _ in range(num_rows)]
    mass = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    got = remap(
        ids, np.log(mass[:, :k]).astype("f4"), np.log(mass[:, k]).astype("f4"), vocab_map(table)
    )
    for n in range(num_rows):
        expected: dict[int, float] = {}
        for token, p in zip(ids[n].tolist(), mass[n, :k], strict=True):
            home = table[token] if token < 8 else -1
            expected[home] = expected.get(home, 0.0) + p
        tail = mass[n, k] + expected.pop(-1, 0.0)
        kept = {int(t): math.exp(p) for t, p in zip(got[0][n], got[1][n], strict=True) if t >= 0}
        assert kept == pytest.approx(expected, abs=1e-6)
        assert math.exp(got[2][n]) == pytest.approx(tail, abs=1e-6)
        assert (np.diff(got[1][n][got[0][n] >= 0]) <= 0).all()
        assert (got[1][n][got[0][n] < 0] == -np.inf).all()
