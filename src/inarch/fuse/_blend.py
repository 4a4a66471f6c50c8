"""From who is believed to what is taught: one sparse distribution per position.

Shapes: K = candidates, P = supervised positions of the target's row, k = kept ids per position,
J = chunks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.fuse._cost import Floats, Places, Timeline, between, filled, units
from inarch.numerics import merged
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
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return ids, log-probs and tail of the weighted sum at positions with several voices."""
    with np.errstate(divide="ignore"):
        log_shares_KP = np.log(shares_KP / shares_KP.sum(axis=0)).astype(np.float32)
    ids, logps, tails = [], [], []
    for log_share_P, candidate in zip(log_shares_KP, candidates, strict=True):
        if np.isneginf(log_share_P).all():
            continue
        # A silent candidate has no row here; any will do, since its share is zero.
        rows = np.searchsorted(candidate.positions, at_P).clip(max=len(candidate.positions) - 1)
        ids.append(candidate.ids[rows])
        logps.append(candidate.logps[rows] + log_share_P[:, None])
        tails.append(candidate.tail[rows] + log_share_P)
    mixed_ids, mixed_logps, tail = merged(
        np.hstack(ids), np.hstack(logps), np.logaddexp.reduce(tails)
    )
    kept = slice(0, top_k)
    width = max(top_k - mixed_ids.shape[1], 0)
    tail = np.logaddexp(tail, np.logaddexp.reduce(mixed_logps[:, top_k:], axis=1))
    return (
        np.pad(mixed_ids[:, kept], ((0, 0), (0, width)), constant_values=-1),
        np.pad(mixed_logps[:, kept], ((0, 0), (0, width)), constant_values=-np.inf),
        tail,
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
