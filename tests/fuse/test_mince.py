"""MinCE over costs, and the costs themselves."""

import numpy as np
import pytest

from inarch.fuse import FuseSettings, costs, mince, timeline
from inarch.fuse._cost import Places
from inarch.records import NO_BOUNDARY, Beliefs


def beliefs(edges: list[int], nats: list[float]) -> Beliefs:
    """A model whose tokens end at ``edges[1:]`` and cost ``nats``."""
    num = len(nats)
    return Beliefs(
        ends=np.array(edges[:-1], np.int32),
        next_ends=np.array(edges[1:], np.int32),
        next_ids=np.zeros(num, np.int32),
        next_logps=-np.array(nats, np.float32),
        ids=np.zeros((num, 1), np.int32),
        logps=np.zeros((num, 1), np.float32),
        tail=np.full(num, -np.inf, np.float32),
    )


def places(edges: list[int]) -> Places:
    return Places(np.array(edges[:-1], np.int32), np.array(edges[1:], np.int32))


def weights(*candidates: Beliefs, target: list[int], **settings: object) -> np.ndarray:
    chosen = FuseSettings(**settings)
    return mince(costs([timeline(c) for c in candidates], places(target), chosen), chosen)


def test_equal_bits_per_byte_tie_whatever_the_tokens():
    # C1: 12 bytes; 5 tokens of 1.2 nats and 6 tokens of 1.0 nat are both 6 nats, .5 per byte.
    coarse = beliefs([0, 2, 4, 7, 10, 12], [1.2] * 5)
    fine = beliefs([0, 2, 4, 6, 8, 10, 12], [1.0] * 6)
    for first, second in ((coarse, fine), (fine, coarse)):
        assert weights(first, second, target=[0, 4, 10, 12])[0].tolist() == [1, 1, 1]
    # Per token, as published, the finer one wins.
    published = weights(coarse, fine, target=[0, 4, 10, 12], compare="token")
    assert published[1].tolist() == [1, 1, 1]


def test_a_small_difference_decides():
    # C2: bfloat16 has 1.500 and 1.503 tie.
    worse, better = beliefs([0, 1], [1.503]), beliefs([0, 1], [1.500])
    assert weights(worse, better, target=[0, 1])[:, 0].tolist() == [0, 1]


def test_costs_by_hand_at_each_granularity():
    # One model ends tokens at 2 and 6, the other at 2, 4, 6; the target at 2, 4 and 6.
    one = beliefs([0, 2, 6], [1.0, 2.0])
    other = beliefs([0, 2, 4, 6], [2.0, 0.2, 1.0])
    lines, target = [timeline(one), timeline(other)], places([0, 2, 4, 6])

    def paid(granularity: str) -> np.ndarray:
        return costs(lines, target, FuseSettings(granularity=granularity))

    np.testing.assert_allclose(paid("sequence"), [[3 / 6] * 3, [3.2 / 6] * 3], rtol=1e-6)
    # Boundaries of all three: 0, 2, 6; spans of 2 and 4 bytes.
    np.testing.assert_allclose(
        paid("span"), [[1 / 2, 2 / 4, 2 / 4], [2 / 2, 1.2 / 4, 1.2 / 4]], rtol=1e-6
    )
    # The other alone shares 4 with the target.
    np.testing.assert_allclose(
        paid("token"), [[1 / 2, 2 / 4, 2 / 4], [2 / 2, 0.2 / 2, 1 / 2]], rtol=1e-6
    )


def test_span_sends_each_part_to_its_expert():
    one, other = beliefs([0, 2, 6], [0.1, 4.0]), beliefs([0, 2, 6], [3.0, 0.1])
    assert weights(one, other, target=[0, 1, 2, 6], granularity="span").tolist() == [
        [1, 1, 0],
        [0, 0, 1],
    ]


def test_only_the_shared_bytes_count():
    # The second model has no begin token: it says nothing about the first two bytes.
    whole, headless = beliefs([0, 2, 6], [9.0, 1.0]), beliefs([2, 6], [1.1])
    assert weights(whole, headless, target=[0, 2, 6])[0].tolist() == [1, 1]


def test_nobody_is_believed_above_the_floor():
    model = beliefs([0, 4], [4.0])
    assert weights(model, target=[0, 4], floor=0.9).sum() == 0
    assert weights(model, target=[0, 4], floor=1.1).sum() == 1


def test_a_candidate_without_shared_boundaries_leaves_the_label():
    lost = beliefs([NO_BOUNDARY, NO_BOUNDARY], [1.0])
    assert weights(lost, target=[0, 4]).sum() == 0


def test_a_lone_dummy_space_costs_what_is_behind_it():
    # [BOS] [▁] [a]: both BOS and ▁ end at 0; what counts from 0 on is the cost of `a` alone.
    line = timeline(beliefs([0, 0, 1], [5.0, 0.5]))
    assert line.coords.tolist() == [0, 1]
    assert (line.nats[1] - line.nats[0]) == pytest.approx(0.5)


@pytest.mark.parametrize("granularity", ["sequence", "span", "token"])
def test_any_number_of_candidates_and_order_of_ties(granularity: str):
    rng = np.random.default_rng(0)
    edges = [0, 3, 5, 9, 12]
    models = [beliefs(edges, list(rng.uniform(0.1, 3, 4))) for _ in range(5)]
    made = weights(*models, target=edges, granularity=granularity)
    assert (made.sum(axis=0) == 1).all()
    twice = weights(*models, *models, target=edges, granularity=granularity)
    np.testing.assert_array_equal(twice[:5], made)


def test_what_is_between_two_answers_is_no_byte():
    # Answers of 3 and 2 bytes: coordinates 0..3, 4 after the turn; 6..8, 9. Seven nats for
    # 3 + 1 + 2 + 1 bytes and ends of turns are one nat per byte, not 7 / 9.
    ends, nexts = [0, 3, 6, 8], [3, 4, 8, 9]
    model = beliefs([0, 1], [1.0])._replace(
        ends=np.array(ends, np.int32),
        next_ends=np.array(nexts, np.int32),
        next_logps=-np.array([3, 1, 2, 1], np.float32),
    )
    target = Places(np.array(ends, np.int32), np.array(nexts, np.int32))
    paid = costs([timeline(model)], target, FuseSettings())
    np.testing.assert_allclose(paid, [[1.0] * 4], rtol=1e-6)
    for granularity in ("span", "token"):
        paid = costs([timeline(model)], target, FuseSettings(granularity=granularity))
        np.testing.assert_allclose(paid, [[1.0] * 4], rtol=1e-6)
