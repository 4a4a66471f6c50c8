"""Sparse distributions as numpy arrays: a few candidates per position, and a tail.

Shapes: N = positions, k = candidates per position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Candidates = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]
    """Ids ``[N, k]``, log-probs ``[N, k]`` and tail ``[N]``."""

NO_ID = -1


def merged(
    ids: NDArray[np.int32],
    logps: NDArray[np.float32],
    tail: NDArray[np.float32],
    *,
    sum_duplicates: bool = True,
) -> Candidates:
    """Return candidates with equal ids made one and the mass of id -1 in the tail, best first.

    Empty slots, id -1 and log-prob -inf, are last.

    Args:
        ids: Token ids in any order, -1 where the mass has none, ``[N, k]``.
        logps: Log-probs in nats, ``[N, k]``.
        tail: Log of the mass of all other tokens, in nats, ``[N]``.
        sum_duplicates: Sum the mass of equal ids, else keep that of the first.
    """
    order = np.argsort(ids, axis=1, kind="stable")  # equal ids become neighbours, best first
    ids = np.take_along_axis(ids, order, axis=1)
    mass = np.exp(np.take_along_axis(logps, order, axis=1), dtype=np.float64)
    first = np.ones(ids.shape, np.bool_)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    homeless = ids == NO_ID
    lost = np.where(homeless, mass, 0.0).sum(axis=1)
    if sum_duplicates:
        groups = np.flatnonzero(first)
        mass.ravel()[groups] = np.add.reduceat(mass.ravel(), groups)
    mass[~first | homeless] = 0.0

    rank = np.argsort(-mass, axis=1, kind="stable")
    mass = np.take_along_axis(mass, rank, axis=1)
    ids = np.where(mass > 0, np.take_along_axis(ids, rank, axis=1), NO_ID)
    with np.errstate(divide="ignore"):
        logps, tail = np.log(mass), np.log(np.exp(tail, dtype=np.float64) + lost)
    return ids.astype(np.int32), logps.astype(np.float32), tail.astype(np.float32)
