"""The optimum of a logistic regression: by hand, and by the conditions that only it meets."""

import numpy as np
import pytest

from inarch.evaluate._logistic import Penalty, fit_logistic, sigmoid


def rows(seed, num_rows=60, num_features=3):
    random = np.random.default_rng(seed)
    features = random.normal(size=(num_rows, num_features))
    target = sigmoid(features @ np.linspace(1, -1, num_features) + random.normal(size=num_rows))
    return features, target, random.uniform(0.1, 2, size=(1, num_rows))


def gradient(features, target, weight, beta):
    """Of the loss alone, by its definition."""
    return (weight * (1 / (1 + np.exp(-features @ beta)) - target)) @ features


def test_one_feature_is_the_logit_of_the_weighted_mean():
    # mean (1 * 0.2 + 3 * 0.8) / 4 = 0.65, logit log(0.65 / 0.35)
    rows = np.ones((2, 1)), np.array([0.2, 0.8]), np.array([[1.0, 3.0]])
    beta = fit_logistic(*rows, Penalty(), np.zeros((1, 1)))
    assert beta[0, 0] == pytest.approx(np.log(0.65 / 0.35), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(l2=1.0), Penalty(l1=2.0), Penalty(1.0, 3)])
def test_the_result_meets_the_conditions_of_the_optimum(seed, penalty):
    features, target, weight = rows(seed)
    (beta,) = fit_logistic(features, target, weight, penalty, np.full((1, 3), 4.0))
    slope = gradient(features, target, weight[0], beta) + penalty.l2 * beta
    for pull, coefficient in zip(slope, beta, strict=True):
        if coefficient:
            assert pull == pytest.approx(-penalty.l1 * np.sign(coefficient), abs=1e-7)
        else:
            assert abs(pull) <= penalty.l1 + 1e-7


def test_a_strong_l1_leaves_nothing_and_a_weaker_one_the_first_feature():
    features, target, weight = rows(0)
    at_zero = np.abs(gradient(features, target, weight[0], np.zeros(3)))
    first, second = np.sort(at_zero)[::-1][:2]
    none = fit_logistic(features, target, weight, Penalty(l1=first + 1e-6), np.ones((1, 3)))
    one = fit_logistic(features, target, weight, Penalty(l1=(first + second) / 2), np.ones((1, 3)))
    assert not none.any()
    assert list(np.flatnonzero(one[0])) == [int(at_zero.argmax())]


def test_weights_count_rows_and_fits_do_not_mix():
    features, target, _ = rows(1)
    counts = np.random.default_rng(2).integers(0, 4, size=(3, len(target)))
    together = fit_logistic(features, target, counts.astype(float), Penalty(), np.zeros((1, 3)))
    for beta, count in zip(together, counts, strict=True):
        repeated = np.repeat(features, count, axis=0), np.repeat(target, count)
        ones = np.ones((1, count.sum()))
        alone = fit_logistic(*repeated, ones, Penalty(), np.zeros((1, 3)))[0]
        assert beta == pytest.approx(alone, abs=1e-9)


def test_rows_that_a_feature_tells_apart_end_at_certainty():
    features = np.array([[1.0], [1.0], [-1.0]])
    beta = fit_logistic(
        features, np.array([1.0, 1.0, 0.0]), np.ones((1, 3)), Penalty(), np.zeros((1, 1))
    )
    assert np.isfinite(beta).all()
    assert sigmoid(features @ beta[0]) == pytest.approx([1, 1, 0], abs=1e-9)
