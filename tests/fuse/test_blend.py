"""From weights and candidates to one sparse distribution per position."""

import math

import numpy as np
import pytest

from inarch.fuse import NOBODY, add_chunks, blend, timeline
from inarch.fuse._cost import Places
from inarch.records import Aligned
from tests.fuse.test_mince import beliefs


def aligned(positions: list[int], probs: list[dict[int, float]], k: int = 3) -> Aligned:
    """Distributions given as {id: probability}; what is missing to 1 is the tail."""
    ids = np.full((len(probs), k), -1, np.int32)
    logps = np.full((len(probs), k), -np.inf, np.float32)
    tail = np.full(len(probs), -np.inf, np.float32)
    for i, given in enumerate(probs):
        for j, (token, p) in enumerate(given.items()):
            ids[i, j], logps[i, j] = token, math.log(p)
        rest = 1 - sum(given.values())
        if rest > 1e-9:
            tail[i] = math.log(rest)
    return Aligned(np.array(positions, np.int32), ids, logps, tail)


def as_dict(lesson, position: int) -> dict[int, float]:
    return {
        int(i): math.exp(p)
        for i, p in zip(lesson.ids[position], lesson.logps[position], strict=True)
        if i >= 0
    }


AT = np.array([2, 3, 5], np.int32)


def test_one_voice_is_taken_as_it_is():
    one = aligned([2, 5], [{7: 0.5, 8: 0.25}, {9: 1.0}])
    other = aligned([3], [{1: 0.5}])
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    lesson = blend(weights, [one, other], AT, 3)
    assert as_dict(lesson, 0) == pytest.approx({7: 0.5, 8: 0.25}, abs=1e-3)
    assert math.exp(lesson.tail[0]) == pytest.approx(0.25, abs=1e-3)
    assert as_dict(lesson, 2) == pytest.approx({9: 1.0})
    # Position 3: the winner is silent there, and the loser was not chosen.
    assert lesson.winner.tolist() == [0, NOBODY, 0]
    assert as_dict(lesson, 1) == {}


def test_a_mixture_by_hand():
    # .75 * {1: .6, 2: .2, tail .2} + .25 * {2: .8, 3: .2} = {1: .45, 2: .35, 3: .05, tail .15}
    one, other = aligned([2], [{1: 0.6, 2: 0.2}]), aligned([2], [{2: 0.8, 3: 0.2}])
    weights = np.array([[0.75], [0.25]])
    lesson = blend(weights, [one, other], AT[:1], 4)
    assert as_dict(lesson, 0) == pytest.approx({1: 0.45, 2: 0.35, 3: 0.05}, abs=1e-3)
    assert math.exp(lesson.tail[0]) == pytest.approx(0.15, abs=1e-3)
    # With room for two, the third goes to the tail.
    lesson = blend(weights, [one, other], AT[:1], 2)
    assert as_dict(lesson, 0) == pytest.approx({1: 0.45, 2: 0.35}, abs=1e-3)
    assert math.exp(lesson.tail[0]) == pytest.approx(0.20, abs=1e-3)


def test_a_silent_candidates_weight_goes_to_those_that_speak():
    one, other = aligned([2], [{1: 1.0}]), aligned([3], [{2: 1.0}])
    lesson = blend(np.full((2, 3), 0.5), [one, other], AT, 3)
    assert as_dict(lesson, 0) == pytest.approx({1: 1.0})
    assert as_dict(lesson, 1) == pytest.approx({2: 1.0})
    assert lesson.winner.tolist() == [0, 1, NOBODY]


def test_a_mixture_against_a_dense_sum():
    rng = np.random.default_rng(0)
    dense = rng.dirichlet(np.ones(20), (3, 3))  # candidates, positions, ids
    candidates = []
    for probs in dense:
        best = np.argsort(-probs, axis=1)[:, :6]
        candidates.append(
            aligned(
                AT.tolist(),
                [{int(i): float(p[i]) for i in b} for p, b in zip(probs, best, strict=True)],
                6,
            )
        )
    weights = rng.dirichlet(np.ones(3), 3).T
    lesson = blend(weights, candidates, AT, 18)
    for p in range(3):
        expected = np.zeros(20)
        for k, candidate in enumerate(candidates):
            expected[candidate.ids[p]] += weights[k, p] * np.exp(candidate.logps[p])
        made = as_dict(lesson, p)
        assert made == pytest.approx({i: expected[i] for i in made}, rel=2e-3)
        assert math.exp(lesson.tail[p]) == pytest.approx(1 - expected.sum(), rel=5e-3)


def test_chunks_by_hand():
    # Target ends at 1 2 4, the winner at 2 4 with 1.0 and 0.5 nats: chunks {0, 1} and {2}.
    winner, loser = beliefs([0, 2, 4], [1.0, 0.5]), beliefs([0, 4], [9.0])
    target = Places(np.array([0, 1, 2], np.int32), np.array([1, 2, 4], np.int32))
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    silent = aligned([], [])
    lesson = blend(weights, [silent, silent], np.array([0, 1, 2], np.int32), 3)
    lesson = add_chunks(lesson, weights, [timeline(winner), timeline(loser)], target)
    assert lesson.chunk.tolist() == [0, 0, 1]
    assert lesson.chunk_logps.tolist() == [-1.0, -0.5]
    split = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    lesson = add_chunks(lesson, split, [timeline(winner), timeline(loser)], target)
    assert lesson.chunk.tolist() == [NOBODY, NOBODY, 0]


def test_the_weights_of_those_that_speak_sum_to_one():
    # .5 and .25 speak, .25 is silent: 2/3 and 1/3.
    candidates = [aligned([2], [{1: 1.0}]), aligned([2], [{2: 1.0}]), aligned([3], [{3: 1.0}])]
    lesson = blend(np.array([[0.5], [0.25], [0.25]]), candidates, AT[:1], 3)
    assert as_dict(lesson, 0) == pytest.approx({1: 2 / 3, 2: 1 / 3}, abs=1e-3)
