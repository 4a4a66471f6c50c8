"""Logistic regression with an L1 penalty as liblinear leaves it: close to the optimum, not on it.

Published length-controlled win rates are where liblinear stopped, up to 0.013 points from the
optimum, after coordinate steps in an order of its own random numbers. This takes the same steps in
the same order, so that it stops at the same place, with one row per soft label instead of two, and
with the expansion of the loss in K x K numbers.

Source:  Yuan, Ho and Lin, "An Improved GLMNET for L1-regularized Logistic Regression", JMLR 2012,
         algorithm 3, with liblinear's constants; seeds as scikit-learn's LogisticRegression.
Shapes:  N = rows, K = features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.evaluate._logistic import sigmoid

Floats = NDArray[np.float64]

_TOLERANCE = 1e-4
_MAX_NEWTON, _MAX_SWEEPS, _MAX_HALVINGS = 100, 1000, 20
_RIDGE = 1e-12
"""Added to each coordinate's curvature; also the shortest move."""
_LONGEST = 10.0
"""Step of one coordinate."""
_DECREASE = 0.01
"""Share of the promised decrease that a step has to keep."""


def fit_liblinear(
    features_NK: Floats, target_N: Floats, weight_N: Floats, c: float, seed: int
) -> Floats:
    """Return the coefficients at which liblinear stops, ``[K]``.

        |beta|_1 + c sum_n w_n [log(1 + exp(x_n beta)) - p_n x_n beta]

    Args:
        features_NK: One row per case.
        target_N: Probability of the label 1, in [0, 1]; a row stands for one of each label.
        weight_N: How much each row counts.
        c: Strength against the penalty.
        seed: ``random_state`` of scikit-learn.
    """
    draw = _Draws(seed)
    beta_K = np.zeros(features_NK.shape[1])
    order = list(range(len(beta_K)))
    # A row stands for two, one of each label, and one without weight for none.
    num_right = int((target_N * weight_N > 0).sum())
    num_rows = num_right + int(((1 - target_N) * weight_N > 0).sum())
    tolerance = _TOLERANCE * max(min(num_right, num_rows - num_right), 1) / num_rows
    enough, first, largest = 0.0, 0.0, np.inf
    for number in range(_MAX_NEWTON):
        chance_N = sigmoid(features_NK @ beta_K)
        slope_K = (c * weight_N * (chance_N - target_N)) @ features_NK
        violation_K = _violations(slope_K, beta_K)
        if number == 0:
            first = enough = violation_K.sum()
        if violation_K.sum() <= tolerance * first:
            break
        num_active = _set_aside(order, slope_K, beta_K, largest / num_rows)
        bend_N = c * weight_N * chance_N * (1 - chance_N)
        expansion = _Expansion(beta_K, slope_K, (features_NK.T * bend_N) @ features_NK)
        step_K, num_sweeps = _step(expansion, order, num_active, (enough, num_rows), draw)
        beta_K = _shortened(beta_K, step_K, slope_K, (features_NK, target_N, c * weight_N))
        enough *= 0.25 if num_sweeps == 1 else 1.0
        largest = violation_K.max()
    return beta_K


class _Expansion(NamedTuple):
    """The loss near some coefficients."""

    beta_K: Floats
    slope_K: Floats
    hessian_KK: Floats


def _set_aside(order: list[int], slope_K: Floats, beta_K: Floats, margin: float) -> int:
    """Put coordinates last that are 0 and stay so by a margin; return how many are left."""
    num_active, place = len(order), 0
    while place < num_active:
        k = order[place]
        if beta_K[k] == 0 and abs(slope_K[k]) < 1 - margin:
            num_active -= 1
            order[place], order[num_active] = order[num_active], order[place]
        else:
            place += 1
    return num_active


def _step(
    at: _Expansion, order: list[int], num_active: int, limits: tuple[float, int], draw: _Draws
) -> tuple[Floats, int]:
    """Return a step on the expansion, by coordinates, and how many sweeps it took."""
    enough, num_rows = limits
    bend_K = np.diag(at.hessian_KK) + _RIDGE
    new_K = at.beta_K.copy()
    num_left, largest, num_sweeps = num_active, np.inf, 0
    while num_sweeps < _MAX_SWEEPS:
        num_sweeps += 1
        for place in range(num_left):
            other = place + draw.below(num_left - place)
            order[place], order[other] = order[other], order[place]
        total, highest, place = 0.0, 0.0, 0
        while place < num_left:
            k = order[place]
            moved_K = new_K - at.beta_K
            slope = float(at.slope_K[k] + at.hessian_KK[k] @ moved_K + _RIDGE * moved_K[k])
            if new_K[k] == 0 and abs(slope) < 1 - largest / num_rows:
                num_left -= 1
                order[place], order[num_left] = order[num_left], order[place]
                continue
            violation = float(_violations(slope, new_K[k]))
            total, highest, place = total + violation, max(highest, violation), place + 1
            new_K[k] += _move(slope, float(new_K[k]), float(bend_K[k]))
        largest = highest
        if total <= enough:
            if num_left == num_active:
                break
            num_left, largest = num_active, np.inf
    return new_K - at.beta_K, num_sweeps


def _move(slope: float, beta: float, bend: float) -> float:
    """Return a coordinate's way to the optimum of its parabola and |beta|."""
    if slope + 1 < bend * beta:
        move = -(slope + 1) / bend
    elif slope - 1 > bend * beta:
        move = -(slope - 1) / bend
    else:
        move = -beta
    return 0.0 if abs(move) < _RIDGE else min(max(move, -_LONGEST), _LONGEST)


def _shortened(
    beta_K: Floats, step_K: Floats, slope_K: Floats, rows: tuple[Floats, Floats, Floats]
) -> Floats:
    """Return where a step leads, halved until the objective falls far enough."""
    before = _objective(beta_K, rows)
    promised = slope_K @ step_K + np.abs(beta_K + step_K).sum() - np.abs(beta_K).sum()
    for _ in range(_MAX_HALVINGS):
        if _objective(beta_K + step_K, rows) - before <= _DECREASE * promised:
            return beta_K + step_K
        step_K, promised = step_K / 2, promised / 2
    return beta_K


def _violations(slope: Floats | float, beta: Floats | float) -> Floats:
    """Return by how much each coordinate misses the condition of the optimum."""
    at_zero = np.maximum(np.maximum(-(slope + 1), slope - 1), 0.0)
    return np.asarray(np.where(beta == 0, at_zero, np.abs(slope + np.sign(beta))))


def _objective(beta_K: Floats, rows: tuple[Floats, Floats, Floats]) -> float:
    features_NK, target_N, weight_N = rows
    logit_N = features_NK @ beta_K
    loss = (weight_N * (np.logaddexp(0.0, logit_N) - target_N * logit_N)).sum()
    return float(loss + np.abs(beta_K).sum())


class _Draws:
    """liblinear's random numbers as scikit-learn seeds them: MT19937, and Lemire's bounds."""

    def __init__(self, seed: int) -> None:
        drawn = np.random.RandomState(seed).randint(np.iinfo(np.int32).max)
        self._source = np.random.RandomState(drawn)

    def below(self, bound: int) -> int:
        """Return a whole number from 0 to below a bound."""
        while True:
            product = int(self._source.randint(0, 2**32, dtype=np.uint32)) * bound
            if product % 2**32 >= (2**32 - bound) % bound:
                return product >> 32
