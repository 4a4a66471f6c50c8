"""A source's beliefs, carried over to positions and ids of the target.

Where both have read the same bytes (`boundary`), the target's next token takes the source's
distribution over its next token, summed by prefix: each candidate gives its mass to the target
token that it starts with. With `prefix`, two kinds of positions more are served:

    1-n  the target stands inside a source token v that began at a common boundary, having spelled
         the bytes s since.  P(next | s) = P(v) / P(s...) over the candidates v that go on from s,
         each given to the first target token of what is left of v.
    n-1  the target's next token covers several source tokens and ends with the last of them.  Its
         log-prob is the sum of theirs (chain rule), taken out of the first one's mass.

Source:   the chain rule and Bayes; TRL's GOLD trainer and DSKD do likewise (facts, section 7).
Shapes:   T = tokens of the target's row, P = positions of the source, M = positions spoken for,
          k = candidates kept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inarch.match.homes import Homes
from inarch.match.maps import NO_HOME, VocabMap
from inarch.match.positions import pair_positions
from inarch.match.remap import gather, homes_of, merged
from inarch.match.vocabulary import MatchSettings, build_map
from inarch.records import NO_BOUNDARY, Aligned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from inarch.io.tokenizers import Encoded, Tokenizer
    from inarch.records import Beliefs, Coverage, TokenRow


class Tables(NamedTuple):
    """What carrying over from one source to the target looks up."""

    target: Tokenizer
    source: Tokenizer
    vocab_map: VocabMap
    homes: Homes


def build_tables(
    target: Tokenizer,
    source: Tokenizer,
    settings: MatchSettings,
    corpus: Iterable[tuple[Encoded, Encoded]] | None = None,
) -> Tables:
    """Return the tables for a pair of tokenizers; see `inarch.match.vocabulary.build_map`."""
    return Tables(target, source, build_map(target, source, settings, corpus), Homes(target))


def align(row: TokenRow, beliefs: Beliefs, tables: Tables, coverage: Coverage) -> Aligned:
    """Return the source's distributions at supervised positions of the target's row.

    Args:
        row: The target's tokens of a document.
        beliefs: What the source says about the same document.
        tables: Built for this target and source.
        coverage: Which positions are served.
    """
    supervised = np.flatnonzero(row.supervised)
    mine, theirs = pair_positions(row.ends[supervised], beliefs.ends)
    mine = supervised[mine]
    homes = homes_of(beliefs.ids[theirs], tables.vocab_map)
    _send_ends_by_role(homes, row.ids[mine + 1], beliefs, theirs, tables)
    summed = tables.vocab_map.sum_duplicates
    made = gather(homes, beliefs.logps[theirs], beliefs.tail[theirs], sum_duplicates=summed)
    at_boundary = Aligned(mine.astype(np.int32), *made)
    if coverage == "boundary":
        return at_boundary
    _chain(at_boundary, homes, row, beliefs, theirs)
    return _sorted(at_boundary, list(_inside(row, beliefs, (mine, theirs), tables)))


def _send_ends_by_role(
    homes_Mk: NDArray[np.int32],
    next_ids: NDArray[np.int32],
    beliefs: Beliefs,
    theirs: NDArray[np.int64],
    tables: Tables,
) -> None:
    """Send the special token that ends the source's turn or text to the one that ends the target's.

    One id may end both turns and texts for the source, but not for the target; which one it stands
    for is seen from the row: both models' actual next token is special at the same place.
    """
    own_special = np.isin(next_ids, list(tables.target.special_ids))
    their_next = beliefs.next_ids[theirs]
    ending = own_special & np.isin(their_next, list(tables.source.special_ids))
    for m in np.flatnonzero(ending):
        homes_Mk[beliefs.ids[theirs] == their_next[m]] = next_ids[m]


def _chain(
    served: Aligned,
    homes_Mk: NDArray[np.int32],
    row: TokenRow,
    beliefs: Beliefs,
    theirs: NDArray[np.int64],
) -> None:
    """Give labels that cover several source tokens their log-prob by the chain rule, in place.

    The first source token pays, or the tail where it is not among the candidates; no more is moved
    than the payer has. The label is one candidate more, so that the least of them joins the tail.
    """
    next_ends = row.ends[served.positions + 1]
    longer = (beliefs.next_ends[theirs] != NO_BOUNDARY) & (next_ends > beliefs.next_ends[theirs])
    chained = {
        m: logp
        for m in np.flatnonzero(longer).tolist()
        if (logp := _chain_logp(beliefs, int(theirs[m]), int(next_ends[m]))) is not None
    }
    if not chained:
        return
    rows = np.array(list(chained))
    at = theirs[rows]
    probs, tail = (np.exp(part[at], dtype=np.float64) for part in (beliefs.logps, beliefs.tail))
    first = beliefs.ids[at] == beliefs.next_ids[at][:, None]
    listed = first.any(axis=1)
    payer = np.where(listed, (probs * first).sum(axis=1), tail)
    mass = np.minimum(np.exp(list(chained.values())), payer)
    probs -= first * mass[:, None]
    tail -= np.where(listed, 0.0, mass)
    labels = row.ids[served.positions[rows] + 1]
    with np.errstate(divide="ignore"):
        logps = np.log(np.column_stack([probs, mass])).astype(np.float32)
        tail = np.log(tail).astype(np.float32)
    ids, logps, tail = merged(np.column_stack([homes_Mk[rows], labels]), logps, tail)
    served.ids[rows], served.logps[rows] = ids[:, :-1], logps[:, :-1]
    served.tail[rows] = np.logaddexp(tail, logps[:, -1])


def _chain_logp(beliefs: Beliefs, start: int, end: int) -> float | None:
    """Return the log-prob of the source's tokens up to a byte, None if none ends there."""
    logp = 0.0
    at = start
    while True:
        logp += float(beliefs.next_logps[at])
        reached = int(beliefs.next_ends[at])
        if reached == end:
            return logp
        follows = at + 1 < len(beliefs.ends) and beliefs.ends[at + 1] == reached
        if reached == NO_BOUNDARY or reached > end or not follows:
            return None
        at += 1


def _inside(
    row: TokenRow,
    beliefs: Beliefs,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    tables: Tables,
) -> Iterator[tuple[int, list[int], list[float], float]]:
    """Yield position, ids, probs and tail of the positions inside a source token."""
    mine, theirs = pairs
    for position in np.setdiff1d(np.flatnonzero(row.supervised), mine):
        m = int(np.searchsorted(mine, position)) - 1
        end = int(row.ends[position])
        if m < 0 or not beliefs.ends[theirs[m]] < end < beliefs.next_ends[theirs[m]]:
            continue
        tokens = row.ids[mine[m] + 1 : position + 1].tolist()
        spelled = b"".join(tables.target.pieces[token] or b"" for token in tokens)
        if len(spelled) != end - beliefs.ends[theirs[m]]:
            continue
        made = _conditioned(spelled, beliefs, int(theirs[m]), tables)
        if made is not None:
            yield (int(position), *made)


def _conditioned(
    spelled: bytes, beliefs: Beliefs, at: int, tables: Tables
) -> tuple[list[int], list[float], float] | None:
    """Return ids, probs and tail of the next token given the first bytes of the source's.

    The mass of candidates that end right there, and the source's tail, speak for no token: they
    are the tail. None if no candidate goes on from the bytes.
    """
    ids: list[int] = []
    masses: list[float] = []
    tail = float(np.exp(beliefs.tail[at]))
    for candidate, logp in zip(beliefs.ids[at].tolist(), beliefs.logps[at].tolist(), strict=True):
        piece = tables.source.pieces[candidate] if 0 <= candidate < tables.source.size else None
        goes_on = piece is not None and piece != spelled and piece.startswith(spelled)
        ids.append(tables.homes.of(piece[len(spelled) :]) if piece and goes_on else NO_HOME)
        masses.append(math.exp(logp) if goes_on else 0.0)
        tail += math.exp(logp) if piece == spelled else 0.0
    total = sum(masses) + tail
    if not any(masses):
        return None
    return ids, [mass / total for mass in masses], tail / total


def _sorted(
    at_boundary: Aligned, inside: list[tuple[int, list[int], list[float], float]]
) -> Aligned:
    """Return both kinds of positions in one record, in the order of the row."""
    if not inside:
        return at_boundary
    positions, ids, probs, tails = (np.array(part) for part in zip(*inside, strict=True))
    with np.errstate(divide="ignore"):
        made = merged(ids.astype(np.int32), np.log(probs), np.log(tails))
    order = np.argsort(np.concatenate([at_boundary.positions, positions]))
    return Aligned(
        positions=np.concatenate([at_boundary.positions, positions]).astype(np.int32)[order],
        ids=np.concatenate([at_boundary.ids, made[0]])[order],
        logps=np.concatenate([at_boundary.logps, made[1]])[order],
        tail=np.concatenate([at_boundary.tail, made[2]])[order],
    )
