"""What each candidate pays for the same bytes.

A model's surprise is known between the byte positions where its own tokens end. Candidates are
compared between positions that they share, so a finer tokenizer is no advantage.

Shapes: K = candidates, P = supervised positions of the target's row, C = boundaries of one model.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.fuse.settings import FuseSettings
from inarch.records import NO_BOUNDARY, Beliefs, TokenRow

Floats = NDArray[np.float64]
Coords = NDArray[np.int64]


class Places(NamedTuple):
    """Where the target's supervised positions and their next tokens end."""

    ends: NDArray[np.int32]
    """Coordinate at which each context ends, or NO_BOUNDARY, ``[P]``."""
    next_ends: NDArray[np.int32]
    """Coordinate at which the next token ends, or NO_BOUNDARY, ``[P]``."""

    def edges(self) -> Coords:
        """Return all known coordinates, increasing."""
        known = np.union1d(self.ends, self.next_ends).astype(np.int64)
        return known[known != NO_BOUNDARY]

    def num_bytes(self, edges: Coords) -> Floats:
        """Return the bytes between consecutive edges; the end of a turn counts as one.

        Coordinates between two answers of a chat belong to neither.
        """
        left, entered = self.next_ends[:-1].astype(np.int64), self.ends[1:].astype(np.int64)
        apart = (entered > left) & (left != NO_BOUNDARY)
        gaps = np.concatenate([[0], np.cumsum((entered - left)[apart])])
        before = gaps[np.searchsorted(entered[apart], edges, side="right")]
        return np.diff(edges - before).astype(np.float64)


def places(row: TokenRow) -> Places:
    """Return the places of a row's supervised positions."""
    at_P = np.flatnonzero(row.supervised)
    return Places(row.ends[at_P], row.ends[at_P + 1])


class Timeline(NamedTuple):
    """A model's running totals at the coordinates where its tokens end."""

    coords: Coords
    """Increasing, ``[C]``."""
    nats: Floats
    """Surprise at everything before each coordinate, ``[C]``."""
    num_tokens: Floats
    """Tokens before each coordinate, ``[C]``."""


def timeline(beliefs: Beliefs) -> Timeline:
    """Return the running cost of a model along the shared stream."""
    num_positions = len(beliefs.ends)
    totals = np.concatenate([[0.0], np.cumsum(-beliefs.next_logps.astype(np.float64))])
    counts = np.arange(num_positions + 1, dtype=np.float64)
    coords = np.concatenate([beliefs.ends, beliefs.next_ends]).astype(np.int64)
    nats = np.concatenate([totals[:-1], totals[1:]])
    tokens = np.concatenate([counts[:-1], counts[1:]])
    # Of several positions at one coordinate the last counts: what is in between spells nothing.
    order = np.lexsort((tokens, coords))
    order = order[coords[order] != NO_BOUNDARY]
    last = np.append(np.diff(coords[order]) > 0, True)[: len(order)]
    kept = order[last]
    return Timeline(coords[kept], nats[kept], tokens[kept])


def costs(timelines: Sequence[Timeline], target: Places, settings: FuseSettings) -> Floats:
    """Return what each candidate pays around each position of the target, ``[K, P]``.

    The unit around a position is the document, the span between boundaries that all candidates and
    the target share, or the smallest span that the candidate alone shares with the target.
    Costs are in nats per byte of the unit, or per token of the candidate's own (``compare``).
    Infinite where a candidate shares fewer than two boundaries.

    Args:
        timelines: One per candidate, in the order in which ties are decided.
        target: Where the target's tokens end.
        settings: ``granularity`` and ``compare``.
    """
    own = target.edges()
    match settings.granularity:
        case "sequence":
            shared = reduce(np.intersect1d, [t.coords for t in timelines])
            edges = [shared[[0, -1]] if len(shared) > 1 else shared[:0]] * len(timelines)
        case "span":
            edges = [reduce(np.intersect1d, [own, *(t.coords for t in timelines)])] * len(timelines)
        case "token":
            edges = [np.intersect1d(own, t.coords) for t in timelines]
    return np.stack(
        [_around(t, e, target, settings.compare) for t, e in zip(timelines, edges, strict=True)]
    )


def filled(ends: NDArray[np.int32]) -> Coords:
    """Return coordinates with unknown ones replaced by the last known before them."""
    return np.maximum.accumulate(ends.astype(np.int64)) if len(ends) else ends.astype(np.int64)


def units(edges: Coords, at_P: Coords) -> NDArray[np.int64]:
    """Return the number of the span between edges that holds each coordinate; ends are extended."""
    return np.clip(np.searchsorted(edges, at_P, side="right") - 1, 0, max(len(edges) - 2, 0))


def between(t: Timeline, edges: Coords) -> tuple[Floats, Floats]:
    """Return the nats and the tokens that a model spends between consecutive edges."""
    at = np.searchsorted(t.coords, edges)
    return np.diff(t.nats[at]), np.diff(t.num_tokens[at])


def _around(t: Timeline, edges: Coords, target: Places, compare: str) -> Floats:
    if len(edges) < 2:
        return np.full(len(target.ends), np.inf)
    nats, num_tokens = between(t, edges)
    size = target.num_bytes(edges) if compare == "byte" else num_tokens
    return (nats / np.maximum(size, 1))[units(edges, filled(target.ends))]
