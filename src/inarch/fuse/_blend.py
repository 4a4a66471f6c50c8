"""From who is believed to what is taught: one sparse distribution per position.

Shapes: K = candidates, P = supervised positions of the target's row, k = kept ids per position,
J = chunks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.fuse._cost import Floats, Places, Timeline, between, filled, units
from inarch.records import Aligned

NOBODY = -1


class Lesson(NamedTuple):
    """What one document teaches the target, beside its labels."""

    ids: NDArray[np.int32]
    """Token ids of the target, -1 in empty slots, ``[P, k]``."""
    logps: NDArray[np.float16]
    """Log-probs, -inf in empty slots, ``[P, k]``."""
    tail: NDArray[np.float16]
    """Log of the mass that has no id, ``[P]``."""
    winner: NDArray[np.int8]
    """The candidate that weighs most and speaks here, or NOBODY, ``[P]``."""
    chunk: NDArray[np.int32]
    """Number of the byte chunk that a position belongs to, or NOBODY, ``[P]``."""
    chunk_logps: NDArray[np.float32]
    """The winner's log-prob of each whole chunk, ``[J]``."""


def blend(
    weights_KP: Floats, candidates: Sequence[Aligned], at_P: NDArray[np.int32], top_k: int
) -> Lesson:
    """Return the mixture of the candidates that speak at each position.

    P(v) = sum_k w_k P_k(v); where a weighted candidate is silent, its weight goes to the others
    that speak. A mixture of more than ``top_k`` ids keeps the most probable, the rest is tail.

    Args:
        weights_KP: Weight of each candidate, columns sum to 1 or 0, ``[K, P]``.
        candidates: Their distributions in the target's positions and ids.
        at_P: The supervised positions of the target's row, ``[P]``.
        top_k: Ids to keep per position.
    """
    num_positions = len(at_P)
    ids, logps, tail = _silent(num_positions, top_k)
    winner = np.full(num_positions, NOBODY, np.int8)
    speaks_KP = np.stack([np.isin(at_P, c.positions) for c in candidates])
    shares_KP = weights_KP * speaks_KP
    num_voices = (shares_KP > 0).sum(axis=0)
    winner[num_voices > 0] = shares_KP.argmax(axis=0)[num_voices > 0]
    for k, candidate in enumerate(candidates):
        alone = np.flatnonzero((num_voices == 1) & (winner == k))
        rows = np.searchsorted(candidate.positions, at_P[alone])
        width = min(candidate.ids.shape[1], top_k)
        ids[alone, :width] = candidate.ids[rows, :width]
        logps[alone, :width] = candidate.logps[rows, :width]
        tail[alone] = candidate.tail[rows]
    mixed = np.flatnonzero(num_voices > 1)
    if len(mixed):
        ids[mixed], logps[mixed], tail[mixed] = _mix(
            shares_KP[:, mixed], candidates, at_P[mixed], top_k
        )
    nothing = np.full(num_positions, NOBODY, np.int32)
    return Lesson(
        ids,
        logps.astype(np.float16),
        tail.astype(np.float16),
        winner,
        nothing,
        np.zeros(0, np.float32),
    )


def _silent(
    num_positions: int, top_k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    return (
        np.full((num_positions, top_k), -1, np.int32),
        np.full((num_positions, top_k), -np.inf, np.float32),
        np.full(num_positions, -np.inf, np.float32),
    )


def _mix(
    shares_KP: Floats, candidates: Sequence[Aligned], at_P: NDArray[np.int32], top_k: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return ids, log-probs and tail of the weighted sum at positions with several voices."""
    shares_KP = shares_KP / shares_KP.sum(axis=0)
    parts = []
    for share_P, candidate in zip(shares_KP, candidates, strict=True):
        if not share_P.any():
            continue
        rows = np.searchsorted(candidate.positions, at_P).clip(max=len(candidate.positions) - 1)
        here = (share_P > 0)[:, None]
        probs = np.where(here, np.exp(candidate.logps[rows].astype(np.float64)), 0.0)
        rest = np.where(here[:, 0], np.exp(candidate.tail[rows].astype(np.float64)), 0.0)
        found = np.where(here, candidate.ids[rows], -1)
        parts.append((found, probs * share_P[:, None], rest * share_P))
    ids = np.concatenate([p[0] for p in parts], axis=1)
    probs = np.concatenate([p[1] for p in parts], axis=1)
    order = np.argsort(ids, axis=1, kind="stable")
    ids, probs = np.take_along_axis(ids, order, 1), np.take_along_axis(probs, order, 1)

    # Sums over equal ids: the running total at an id's last slot, less that at the id before.
    total = np.cumsum(probs, axis=1)
    last = np.concatenate([ids[:, 1:] != ids[:, :-1], np.ones((len(ids), 1), bool)], axis=1)
    before = np.maximum.accumulate(np.where(last, total, 0.0), axis=1)
    before = np.concatenate([np.zeros((len(ids), 1)), before[:, :-1]], axis=1)
    summed = np.where(last & (ids >= 0), total - before, 0.0)

    best = np.argsort(-summed, axis=1, kind="stable")[:, :top_k]
    kept = np.take_along_axis(summed, best, 1)
    rest = sum(p[2] for p in parts) + summed.sum(axis=1) - kept.sum(axis=1)
    with np.errstate(divide="ignore"):
        kept_ids = np.where(kept > 0, np.take_along_axis(ids, best, 1), -1).astype(np.int32)
        width = top_k - kept.shape[1]
        return (
            np.pad(kept_ids, ((0, 0), (0, width)), constant_values=-1),
            np.pad(np.log(kept), ((0, 0), (0, width)), constant_values=-np.inf),
            np.log(np.maximum(rest, 0.0)),
        )


def add_chunks(
    lesson: Lesson, weights_KP: Floats, timelines: Sequence[Timeline], target: Places
) -> Lesson:
    """Return the lesson with the byte chunks between the boundaries of target and winner.

    A chunk counts where one candidate wins all of it. Its log-prob is the sum of the winner's
    log-probs of its own tokens in the chunk.

    Args:
        lesson: The lesson.
        weights_KP: One-hot weights of the candidates.
        timelines: Their running costs.
        target: Where the target's tokens end.
    """
    own = target.edges()
    at_P = filled(target.ends)
    winner_P = np.where(weights_KP.any(axis=0), weights_KP.argmax(axis=0), NOBODY)
    chunk = np.full(len(at_P), NOBODY, np.int32)
    chunk_logps: list[float] = []
    for k, t in enumerate(timelines):
        edges = np.intersect1d(own, t.coords)
        if len(edges) < 2:
            continue
        inside = (at_P >= edges[0]) & (at_P < edges[-1])
        unit_P = np.where(inside, units(edges, at_P), NOBODY)
        nats, _ = between(t, edges)
        for unit in np.unique(unit_P[inside]):
            here = unit_P == unit
            if (winner_P[here] == k).all():
                chunk[here] = len(chunk_logps)
                chunk_logps.append(-nats[unit])
    return lesson._replace(chunk=chunk, chunk_logps=np.array(chunk_logps, np.float32))
