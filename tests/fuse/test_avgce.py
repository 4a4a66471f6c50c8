import numpy as np
import pytest

from inarch.fuse import FuseSettings, avgce

COSTS = np.array([[1.0], [2.0], [3.0]])


def test_released_weights_are_a_softmax_of_inverse_perplexities():
    # C3: exp(-1, -2, -3) = .3679, .1353, .0498; their softmax, not their shares.
    made = avgce(COSTS, FuseSettings(method="avgce", weighting="released"))
    np.testing.assert_allclose(made[:, 0], [0.3968, 0.3145, 0.2887], atol=5e-5)


def test_weights_by_hand():
    # softmax(-cost / spread): with spread 1, exp(0, -1, -2) = 1, .36788, .13534; sum 1.50321
    made = avgce(COSTS, FuseSettings(method="avgce", spread=1.0))
    np.testing.assert_allclose(made[:, 0], [0.66524, 0.24473, 0.09003], atol=1e-5)


def test_who_is_not_comparable_or_above_the_floor_weighs_nothing():
    costs = np.array([[1.0, np.inf], [np.inf, np.inf], [1.0, np.inf]])
    made = avgce(costs, FuseSettings(method="avgce"))
    np.testing.assert_allclose(made, [[0.5, 0], [0, 0], [0.5, 0]])
    made = avgce(COSTS, FuseSettings(method="avgce", floor=2.5))
    assert made[2, 0] == 0
    assert made.sum() == pytest.approx(1)


def test_a_small_spread_is_mince():
    made = avgce(COSTS, FuseSettings(method="avgce", spread=1e-3))
    np.testing.assert_allclose(made[:, 0], [1, 0, 0], atol=1e-9)
