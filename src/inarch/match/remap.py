"""Top-k candidates of the source as candidates of the target.

Shapes: N = positions, k = kept candidates per position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inarch.match.maps import NO_HOME
from inarch.numerics import merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inarch.match.maps import VocabMap
    from inarch.numerics.candidates import Candidates


def remap(
    ids: NDArray[np.int32],
    logps: NDArray[np.float32],
    tail: NDArray[np.float32],
    vocab_map: VocabMap,
) -> Candidates:
    """Return the candidates under the target's ids, best first, empty slots -1 and -inf last.

    The mass of candidates that meet in one id is summed (or the first keeps its own and the others'
    is lost, where the map says so); the mass of candidates without a home joins the tail. Ids that
    the source's head has beyond its tokenizer have no home.

    Args:
        ids: Ids of the source, -1 in empty slots, ``[N, k]``.
        logps: Their log-probs in nats, ``[N, k]``.
        tail: Log of the mass of all other tokens, in nats, ``[N]``.
        vocab_map: Where each id goes.
    """
    homes = homes_of(ids, vocab_map)
    return gather(homes, logps, tail, sum_duplicates=vocab_map.sum_duplicates)


def homes_of(ids: NDArray[np.int32], vocab_map: VocabMap) -> NDArray[np.int32]:
    """Return where each id of the source goes, -1 for empty slots and ids beyond the tokenizer."""
    known = (ids >= 0) & (ids < len(vocab_map.ids))
    return np.where(known, vocab_map.ids[np.where(known, ids, 0)], np.int32(NO_HOME))


def gather(
    ids: NDArray[np.int32],
    logps: NDArray[np.float32],
    tail: NDArray[np.float32],
    *,
    sum_duplicates: bool = True,
) -> Candidates:
    """Return `merged`, faster where most rows are in order: only those that need it are touched.

    Args:
        ids: Ids of the target, -1 without a home, best first, ``[N, k]``.
        logps: Log-probs in nats, ``[N, k]``.
        tail: Log of the mass of all other tokens, in nats, ``[N]``.
        sum_duplicates: Sum the mass of equal ids, else keep that of the first.
    """
    ids, logps, tail = ids.copy(), logps.astype(np.float32), tail.astype(np.float32)
    by_id = np.sort(ids, axis=1)
    meet = (by_id[:, 1:] == by_id[:, :-1]).any(axis=1)
    rows = np.flatnonzero(meet | (by_id == NO_HOME).any(axis=1))
    if len(rows):
        made = merged(ids[rows], logps[rows], tail[rows], sum_duplicates=sum_duplicates)
        ids[rows], logps[rows], tail[rows] = made
    return ids, logps, tail
