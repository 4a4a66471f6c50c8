"""Where liblinear stops: scikit-learn's own coefficients, to the last digits, and the optimum."""

import numpy as np
import pytest

from inarch.evaluate._logistic import Penalty, fit_logistic, sigmoid
from inarch.evaluate.alpaca._liblinear import _Draws, fit_liblinear


def rows(seed, num_features):
    """Soft labels of which some are certain, of features of unlike size, some of them idle."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(120, num_features)) * random.uniform(0.1, 3, num_features)
    pull = features @ (random.normal(size=num_features) * random.integers(0, 2, num_features))
    target = sigmoid(pull + random.normal(size=120))
    sure = random.random(120)
    target[sure < 0.2], target[sure > 0.7] = 1.0, 0.0
    return features, target, random.choice([0.1, 1.0], size=120)


def by_scikit_learn(features, target, weight, c, seed):
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression(
        C=c, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=seed, tol=1e-4
    )
    labels = np.repeat([1, 0], len(target))
    shares = np.r_[target * weight, (1 - target) * weight]
    return model.fit(np.r_[features, features], labels, sample_weight=shares).coef_[0]


@pytest.mark.parametrize("num_features", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_place_as_liblinear(seed, num_features):
    """Over all strengths: from all coefficients 0 to hardly any penalty."""
    given = rows(seed, num_features)
    zeros = 0
    for c in np.logspace(-3, 4, 8):
        found = fit_liblinear(*given, c, seed)
        right = by_scikit_learn(*given, c, seed)
        assert found == pytest.approx(right, rel=1e-9, abs=1e-9)
        assert ((found == 0) == (right == 0)).all()
        zeros += (found == 0).sum()
    assert zeros  # of which some are set aside on the way


def test_it_is_near_the_optimum_and_not_on_it():
    features, target, weight = rows(0, 3)
    found = fit_liblinear(features, target, weight, 2.0, 123)
    best = fit_logistic(features, target, weight[None], Penalty(l1=0.5), np.zeros((1, 3)))[0]
    assert found == pytest.approx(best, abs=0.02)
    assert np.abs(found - best).max() > 1e-9


def test_the_seed_changes_the_path():
    given = rows(1, 6)
    found = [fit_liblinear(*given, 1.0, seed) for seed in (1, 2, 1)]
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()
    assert found[0] == pytest.approx(found[1], abs=0.02)


def test_random_numbers_are_below_their_bound_and_even():
    draw = _Draws(0)
    drawn = [draw.below(3) for _ in range(3000)]
    assert set(drawn) == {0, 1, 2}
    assert np.bincount(drawn) == pytest.approx(1000, abs=110)  # 4 sd
    assert {draw.below(1) for _ in range(9)} == {0}
