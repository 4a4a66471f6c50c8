"""The model of the score: against formulas written otherwise, and by what it finds."""

import math

import numpy as np
import pytest

from inarch.flows._search import propose as _propose
from inarch.flows._search.propose import propose, spread, start


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_covariances_by_hand():
    a, b = np.array([[0.1, 0.2]]), np.array([[0.4, 0.2], [0.1, 0.9], [0.1, 0.6]])
    found = _propose._kernel(a, b, (0, 2), np.array([0.6, 2.0]))
    # first: .3 / .6 = .5 away; second and third: the other of two choices, 1 / 2 away
    r = math.sqrt(5) * 0.5
    by_hand = (1 + r + r * r / 3) * math.exp(-r)
    np.testing.assert_allclose(found, [[by_hand, by_hand, by_hand]], rtol=1e-12)
    assert _propose._kernel(a, a, (0, 2), np.array([0.6, 2.0])) == 1.0
    same = _propose._kernel(a, np.array([[0.1, 0.4]]), (0, 2), np.array([0.6, 2.0]))
    assert same == 1.0  # .2 and .4 are the same of two choices


def test_costs_are_tamed_above_the_median():
    found = _propose._tamed([1.0, 2.0, 3.0, 103.0, math.nan])
    # median 3, scale 3 - 1: (1 - 3) / 2, (2 - 3) / 2, 0, log(1 + 100 / 2); NaN is like the worst
    raw = np.array([-1.0, -0.5, 0.0, math.log(51), math.log(51)])
    np.testing.assert_allclose(found, (raw - raw.mean()) / raw.std(), rtol=1e-12)
    assert _propose._tamed([2.0, 2.0]).tolist() == [0.0, 0.0]
    assert _propose._tamed([math.inf, 2.0])[0] == _propose._tamed([math.nan, 2.0])[0]


def test_improvement_against_an_integral():
    points = rng(1).random((6, 2))
    goals = rng(2).standard_normal(6)
    goals = (goals - goals.mean()) / goals.std()
    candidates = rng(3).random((5, 2))
    lengths, noise = np.array([0.4, 0.9]), 1e-2
    found = _propose._improvement(points, goals, candidates, (0, 0), (lengths, noise))

    def covariance(x: np.ndarray, y: np.ndarray) -> float:
        r = math.sqrt(5) * math.hypot(*((x - y) / lengths))
        return (1 + r + r * r / 3) * math.exp(-r)

    matrix = [[covariance(x, y) for y in points] for x in points]
    inverse = np.linalg.inv(matrix + noise * np.eye(6))
    grid = np.linspace(-12, 12, 200_001)
    for candidate, improvement in zip(candidates, found, strict=True):
        cross = np.array([covariance(x, candidate) for x in points])
        mean, variance = cross @ inverse @ goals, 1 - cross @ inverse @ cross
        density = np.exp(-((grid - mean) ** 2) / 2 / variance) / math.sqrt(2 * math.pi * variance)
        gain = np.clip(goals.min() - grid, 0, None) * density
        assert improvement == pytest.approx(gain.sum() * (grid[1] - grid[0]), rel=1e-4)


def test_the_fit_is_the_best_of_its_grid():
    points = rng(4).random((12, 2))
    goals = _propose._tamed(np.sin(9 * points[:, 0]).tolist())  # the second number has no say
    lengths, noise = _propose._fit(points, goals, (0, 0))
    assert lengths[0] < lengths[1]
    assert noise == min(_propose._NOISES)

    grid = _propose._LENGTHS * math.sqrt(2)
    for d in (0, 1):
        others = [np.where(np.arange(2) == d, length, lengths) for length in grid]
        values = [_propose._evidence(points, goals, (0, 0), (other, noise)) for other in others]
        assert _propose._evidence(points, goals, (0, 0), (lengths, noise)) == max(values)


def test_evidence_against_the_density():
    points, goals = rng(4).random((7, 2)), rng(5).standard_normal(7)

    def log_probability(lengths: list[float], noise: float) -> float:
        cov = _propose._kernel(points, points, (0, 0), np.array(lengths)) + noise * np.eye(7)
        sign, log_det = np.linalg.slogdet(cov)
        assert sign == 1
        offs = [math.log(length) - math.sqrt(2) - math.log(2) / 2 for length in lengths]
        prior = sum(-(off**2) / 2 / 3 for off in offs)
        return -(goals @ np.linalg.inv(cov) @ goals) / 2 - log_det / 2 + prior

    for lengths, noise in (([0.3, 2.0], 1e-2), ([5.0, 0.1], 1e-1), ([1.0, 1.0], 1e-4)):
        found = _propose._evidence(points, goals, (0, 0), (np.array(lengths), noise))
        assert found == pytest.approx(log_probability(lengths, noise), rel=1e-6)


def cost(point: np.ndarray) -> float:
    """A bowl whose bottom is at (.2, .7) for the third choice, and higher for the others."""
    choice = int(point[2] * 3)
    return (point[0] - 0.2) ** 2 + 3 * (point[1] - 0.7) ** 2 + (0.0, 0.1, -0.1)[choice]


def searched(seed: int, num_trials: int, by_model: bool) -> float:
    choices = (0, 0, 3)
    points = [start(choices, number, seed) for number in range(4)]
    while len(points) < num_trials:
        if by_model:
            costs = [cost(point) for point in points]
            points.append(propose(np.array(points), costs, choices, rng(len(points)))[0])
        else:
            points.append(spread(choices, len(points), seed))
    return min(map(cost, points)) + 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bottom_is_found(seed):
    assert searched(seed, 20, by_model=True) < 1e-3
    assert searched(seed, 20, by_model=False) > 5e-3


def test_proposals_are_ordered_and_within_the_cube():
    points, choices = rng(5).random((8, 3)), (0, 0, 3)
    costs = [cost(point) for point in points]
    found = propose(points, costs, choices, rng(6))
    assert ((found >= 0) & (found < 1)).all()
    fitted = _propose._fit(points, _propose._tamed(costs), choices)
    gains = _propose._improvement(points, _propose._tamed(costs), found, choices, fitted)
    assert (np.diff(gains) <= 1e-12).all()
    assert {int(point[2] * 3) for point in found} == {0, 1, 2}


def test_the_same_numbers_come_again():
    points = rng(7).random((6, 3))
    costs = [cost(point) for point in points]
    first, again = (propose(points, costs, (0, 0, 3), rng(8)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_failed_trial_keeps_others_away():
    points = np.array([[0.3], [0.5], [0.9]])
    gains = [propose(points, [1.0, 0.9, last], (0,), rng(9))[0, 0] for last in (0.8, math.nan)]
    assert gains[0] > 0.55  # towards the better end
    assert gains[1] < 0.75


@pytest.mark.parametrize("seed", [0, 3])
def test_spread_points_fill_the_cube_evenly(seed):
    points = np.array([spread((0, 0, 4), number, seed) for number in range(16)])
    # any 16 = 2^4 points of a Sobol sequence from its start: one in each sixteenth of each side
    for d in range(3):
        assert sorted((points[:, d] * 16).astype(int)) == list(range(16))


def test_the_first_trials_are_near_the_middle_and_make_every_choice():
    choices = (0, 3, 3)
    points = np.array([start(choices, number, 0) for number in range(9)])
    assert ((points[:, 0] >= 0.25) & (points[:, 0] <= 0.75)).all()
    assert np.ptp(points[:, 0]) > 0.3
    pairs = [(int(3 * x), int(3 * y)) for _, x, y in points]
    assert len(set(pairs)) == 9  # two choices are not in step
    assert [x for x, _ in pairs[:3]] == [0, 1, 2]
