"""How far scores are from shares, by hand and on the definition written out."""

from itertools import pairwise

import numpy as np
import pytest

from inarch.spans.calibration import Bin, reliability, span_reliability


def test_bins_by_hand():
    # .05 and .15 are in the first two of ten bins, .95 and 1 in the last.
    found = reliability([0.05, 0.15, 0.95, 1.0, 0.15], [0, 1, 1, 0, 0])
    empty = Bin(0, None, None)
    assert found.bins[0] == Bin(1, pytest.approx(0.05), 0.0)
    assert found.bins[1] == Bin(2, pytest.approx(0.15), 0.5)
    assert found.bins[2:9] == (empty,) * 7
    assert found.bins[9] == Bin(2, pytest.approx(0.975), 0.5)
    # (1 * .05 + 2 * .35 + 2 * .475) / 5
    assert found.ece == pytest.approx((0.05 + 0.7 + 0.95) / 5)


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_against_a_loop_over_edges(num_bins):
    random = np.random.default_rng(0)
    scores = random.random(500) ** 3
    toxic = random.random(500) < scores / 2
    edges = np.linspace(0, 1, num_bins + 1)
    ece = 0.0
    for low, high in pairwise(edges):
        inside = [(s, t) for s, t in zip(scores, toxic, strict=True) if low <= s < high]
        if inside:
            mean = sum(s for s, _ in inside) / len(inside)
            share = sum(t for _, t in inside) / len(inside)
            ece += len(inside) / 500 * abs(mean - share)
    found = reliability(scores, toxic, num_bins)
    assert found.ece == pytest.approx(ece)
    assert sum(row.num for row in found.bins) == 500


def test_of_a_span_the_share_of_gold_characters_counts():
    spans = [[(0, 4, 0.9), (6, 8, 0.9)], [], [(1, 2, 0.25)]]
    gold = [[2, 3, 4, 7], [0, 1], [1]]  # half of each of the first post's spans, all of the last
    found = span_reliability(spans, gold)
    assert found.bins[9] == Bin(2, pytest.approx(0.9), 0.5)
    assert found.bins[2] == Bin(1, 0.25, 1.0)
    assert found.ece == pytest.approx((2 * 0.4 + 0.75) / 3)


def test_nothing_is_no_error():
    assert reliability([], []).ece == 0.0
    assert {row.num for row in span_reliability([[]], [[]]).bins} == {0}
