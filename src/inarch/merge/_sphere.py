"""Points on a sphere as weights of the vectors that span them: no vector is needed, only angles.

A vector without length has no direction; it counts as orthogonal to all others.

Shapes: K = vectors. Arrays of other shapes hold many pairs of vectors.
"""

from math import pi

import numpy as np

from inarch.merge._gram import Matrix
from inarch.merge._stack import Array, namespace

OPPOSITE = 1e-3
"""Vectors this many radians from pointing apart have no arc between them: every plane through them
is as good. Nearer, weights beyond 1000 would make noise of the rounding of float32."""

NO_LENGTH = 1e-7
"""A mean of unit vectors that is shorter is rounding: the vectors cancel out."""


def arc_weights(products: Array, t: float) -> tuple[Array, Array]:
    """Return the weights of two vectors on the arc between them: slerp.

    ``sin((1 - t) omega) / sin(omega)`` and ``sin(t omega) / sin(omega)``, without loss down to an
    angle omega of zero; ``1 - t`` and ``t`` where the vectors point apart.

    Args:
        products: Squared lengths of the first vectors, inner products, squared lengths of the
            second, float64 ``[3, ...]``.
        t: 0 for the first, 1 for the second; beyond them the arc goes on.
    """
    first, inner, second = products
    xp = namespace(products)
    across = xp.sqrt(xp.clip(first * second - inner * inner, 0.0, None))
    angle = xp.where((across == 0) & (inner == 0), pi / 2, xp.arctan2(across, inner))
    is_arc = angle < pi - OPPOSITE
    turns = xp.where(is_arc, angle, 0.0) / pi  # sinc(x) is sin(pi x) / (pi x)
    whole = xp.sinc(turns)
    return (1 - t) * xp.sinc((1 - t) * turns) / whole, t * xp.sinc(t * turns) / whole


def cosines(gram_KK: Matrix, lengths_K: Matrix) -> Matrix:
    """Return the inner products of the directions; zeros for vectors without length, ``[K, K]``."""
    return per_length(per_length(gram_KK, lengths_K).T, lengths_K)


def per_length(weights: Matrix, lengths_K: Matrix) -> Matrix:
    """Return the weights of vectors, given those of their directions; 0 for those without length.

    Args:
        weights: Any shape ``[..., K]``.
        lengths_K: Of the vectors.
    """
    return np.divide(weights, lengths_K, out=np.zeros_like(weights), where=lengths_K > 0)


def direction(point_K: Matrix, cosines_KK: Matrix) -> Matrix | None:
    """Return a sum of directions, given by its weights, at length one; None if it has no length."""
    length = _length(point_K, cosines_KK)
    return None if length < NO_LENGTH else point_K / length


def step(point_K: Matrix, weights_K: Matrix, cosines_KK: Matrix) -> tuple[Matrix, float]:
    """Return the point moved along the mean of the arcs to all directions, and how far.

    ``exp_p(sum_k w_k log_p(u_k))``: one step towards the weighted mean on the sphere. An arc to the
    opposite point, which has no direction, counts as none.

    Args:
        point_K: The point, of length one, as weights of the directions.
        weights_K: Of sum one.
        cosines_KK: Inner products of the directions u.
    """
    cos_K = np.clip((cosines_KK * point_K).sum(axis=1), -1.0, 1.0)
    angle_K = np.arccos(cos_K)
    is_arc_K = angle_K < pi - OPPOSITE
    stretch_K = weights_K * is_arc_K / np.sinc(np.where(is_arc_K, angle_K, 0.0) / pi)
    tangent_K = stretch_K - (stretch_K * cos_K).sum() * point_K
    length = _length(tangent_K, cosines_KK)
    return np.cos(length) * point_K + np.sinc(length / pi) * tangent_K, length


def _length(point_K: Matrix, cosines_KK: Matrix) -> float:
    return float(np.sqrt(max(0.0, (cosines_KK * point_K * point_K[:, None]).sum())))
