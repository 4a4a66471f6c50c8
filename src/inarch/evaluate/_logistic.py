"""Logistic regression on soft labels, to the optimum: an L1 or L2 penalty, many weightings.

Source:  proximal Newton steps: the loss by its second-order expansion, the penalty as it is, and
         half as long a step where the objective would grow.
Differs: liblinear, which the published length-controlled win rates are made with, stops when its
         own tolerance is met, up to 0.013 points away.
Shapes:  B = weightings of the same rows (draws of a bootstrap), N = rows, K = features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MAX_STEPS = 100
_SMALL = 1e-14
"""The search ends where the next step promises less than this, per row, of the objective: steps
that make good on it leave an error of its square."""


class Penalty(NamedTuple):
    """l1 sum |beta| + l2 / 2 sum beta^2, against a loss summed over rows."""

    l1: float = 0.0
    l2: float = 0.0


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), np.float64)


def fit_logistic(
    features_NK: Floats, target_N: Floats, weight_BN: Floats, penalty: Penalty, start_BK: Floats
) -> Floats:
    """Return the coefficients that minimise the weighted cross-entropy and the penalty, ``[B, K]``.

        sum_n w_n [log(1 + exp(x_n beta)) - p_n x_n beta] + l1 |beta|_1 + l2 / 2 |beta|_2^2

    Without a penalty a coefficient that has no finite optimum ends where more of it is no gain.

    Args:
        features_NK: One row per case.
        target_N: Probability of the label 1, in [0, 1].
        weight_BN: How much each row counts, per fit.
        penalty: The same for all fits.
        start_BK: Where the search begins.
    """
    beta_BK = np.broadcast_to(start_BK, (len(weight_BN), features_NK.shape[1])).copy()
    eye_KK = np.eye(features_NK.shape[1])
    for _ in range(_MAX_STEPS):
        mean_BN = sigmoid(beta_BK @ features_NK.T)
        gradient_BK = (weight_BN * (mean_BN - target_N)) @ features_NK + penalty.l2 * beta_BK
        curvature_BN = weight_BN * mean_BN * (1 - mean_BN)
        hessian_BKK = np.stack([(features_NK.T * bend_N) @ features_NK for bend_N in curvature_BN])
        scale = np.maximum(np.trace(hessian_BKK, axis1=1, axis2=2), 1e-8)[:, None, None]
        hessian_BKK += (penalty.l2 + 1e-12 * scale) * eye_KK
        step_BK = _step(beta_BK, gradient_BK, hessian_BKK, penalty.l1)
        grown_B = np.abs(beta_BK + step_BK).sum(1) - np.abs(beta_BK).sum(1)
        promised_B = -(gradient_BK * step_BK).sum(1) - penalty.l1 * grown_B
        step_BK *= _shrink(beta_BK, step_BK, (features_NK, target_N, weight_BN), penalty)[:, None]
        beta_BK += step_BK
        if (promised_B <= _SMALL * weight_BN.sum(1)).all():
            break
    return beta_BK


def _step(beta_BK: Floats, gradient_BK: Floats, hessian_BKK: Floats, l1: float) -> Floats:
    """Return the step to the optimum of the expansion: by coordinates, where there is an L1."""
    if l1 == 0.0:
        newton_BK1 = np.linalg.solve(hessian_BKK, gradient_BK[:, :, None])
        return np.asarray(-newton_BK1[:, :, 0], np.float64)
    new_BK = beta_BK.copy()
    for _ in range(500):
        before_BK = new_BK.copy()
        for k in range(beta_BK.shape[1]):
            slope_B = gradient_BK[:, k] + np.einsum("bk,bk->b", hessian_BKK[:, k], new_BK - beta_BK)
            bend_B = hessian_BKK[:, k, k]
            free_B = new_BK[:, k] - slope_B / bend_B
            new_BK[:, k] = np.sign(free_B) * np.maximum(np.abs(free_B) - l1 / bend_B, 0.0)
        if np.abs(new_BK - before_BK).max() < 1e-12:
            break
    return np.asarray(new_BK - beta_BK, np.float64)


def _shrink(
    beta_BK: Floats, step_BK: Floats, rows: tuple[Floats, Floats, Floats], penalty: Penalty
) -> Floats:
    """Return the share of each step that does not make the objective grow, ``[B]``."""
    share_B = np.ones(len(beta_BK))
    before_B = _objective(beta_BK, rows, penalty)
    for _ in range(30):
        after_B = _objective(beta_BK + share_B[:, None] * step_BK, rows, penalty)
        worse_B = after_B > before_B + 1e-9 * np.abs(before_B)
        if not worse_B.any():
            break
        share_B[worse_B] /= 2
    return share_B


def _objective(beta_BK: Floats, rows: tuple[Floats, Floats, Floats], penalty: Penalty) -> Floats:
    features_NK, target_N, weight_BN = rows
    logit_BN = beta_BK @ features_NK.T
    loss_B = (weight_BN * (np.logaddexp(0.0, logit_BN) - target_N * logit_BN)).sum(1)
    size_B = np.abs(beta_BK).sum(1)
    return loss_B + penalty.l1 * size_B + penalty.l2 / 2 * (beta_BK**2).sum(1)
