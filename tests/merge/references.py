"""Formulas in float64, written once more."""

from collections.abc import Sequence

import numpy as np


def changes(models: Sequence[np.ndarray], base: np.ndarray) -> np.ndarray:
    """Float64 of what float32 holds, ``[K, N]``."""
    return (np.array(models, np.float32) - base).astype(np.float64).reshape(len(models), -1)


def elected(
    changes: np.ndarray, base: np.ndarray, weights: Sequence[float], normalize: bool, lambda_: float
) -> np.ndarray:
    """The election of TIES, element by element."""
    merged = np.zeros(base.size)
    for i, column in enumerate(changes.T):
        votes = [w * d for w, d in zip(weights, column, strict=True)]
        sign = 1 if sum(votes) >= 0 else -1
        agree = [k for k, vote in enumerate(votes) if vote * sign > 0]
        merged[i] = sum(votes[k] for k in agree)
        if normalize and sum(weights[k] for k in agree) != 0:
            merged[i] /= sum(weights[k] for k in agree)
    return base + lambda_ * merged.reshape(base.shape)


def summed(
    changes: np.ndarray, base: np.ndarray, weights: Sequence[float], normalize: bool, lambda_: float
) -> np.ndarray:
    """The weighted sum."""
    merged = np.tensordot(weights, changes, 1) / (sum(weights) if normalize else 1)
    return base + lambda_ * merged.reshape(base.shape)
