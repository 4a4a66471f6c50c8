"""A source's beliefs, carried over to positions and ids of the target.

Where both have read the same bytes (`boundary`), the target's next token takes the source's
distribution over its next token, summed by prefix: each candidate gives its mass to the target
token that it starts with. With `prefix`, two kinds of positions more are served:

    1-n  the target stands inside a source token v that began at a common boundary, having spelled
         the bytes s since.  P(next | s) = P(v) / P(s...) over the candidates v that go on from s,
         each given to the first target token of what is left of v.
    n-1  the target's next token covers several source tokens and ends with the last of them.  Its
         log-prob is the sum of theirs (chain rule), taken out of the first one's mass.

Source:   none published; the chain rule and Bayes.
Shapes:   T = tokens of the target's row, P = positions of the source, M = positions spoken for,
          k = candidates kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inarch.match.homes import Homes, homes_in
from inarch.match.maps import NO_HOME, VocabMap
from inarch.match.positions import pair_positions
from inarch.match.remap import gather, homes_of
from inarch.match.vocabulary import MatchSettings, build_map
from inarch.numerics import merged
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
    return Tables(target, source, build_map(target, source, settings, corpus), homes_in(target))


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
    return _in_order(at_boundary, _conditioned(row, beliefs, (mine, theirs), tables))


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
    their_next = beliefs.next_ids[theirs]
    ending = tables.target.special[next_ids] & tables.source.special[their_next]
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
    payer = np.arange(len(rows)), first.argmax(axis=1)
    listed = first.any(axis=1)
    mass = np.minimum(np.exp(list(chained.values())), np.where(listed, probs[payer], tail))
    probs[payer] -= np.where(listed, mass, 0.0)
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


def _conditioned(
    row: TokenRow,
    beliefs: Beliefs,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    tables: Tables,
) -> Aligned:
    """Return the distributions at positions inside a source token.

    Candidates that end with the bytes spelled so far, and the source's tail, are consistent with
    them but speak for no token: they are the tail. Positions that no candidate goes on from get
    nothing.
    """
    own, theirs = tables.target.pieces, tables.source.pieces
    heard: list[tuple[int, int]] = []
    rests: list[list[bytes | None]] = []  # of each candidate, None where it is not consistent
    for position, at, tokens in _inside(row, beliefs, *pairs):
        spelled = b"".join(own[token] or b"" for token in tokens)
        candidates = beliefs.ids[at].tolist()
        pieces = (theirs[t] if 0 <= t < len(theirs) else None for t in candidates)
        rest = [p[len(spelled) :] if p and p.startswith(spelled) else None for p in pieces]
        if any(rest) and len(spelled) == row.ends[position] - beliefs.ends[at]:
            heard.append((position, at))
            rests.append(rest)
    positions_M, at_M = np.array(heard, np.int32).reshape(-1, 2).T
    shape = (len(heard), beliefs.ids.shape[1])
    homes = [tables.homes.of(r) if r else NO_HOME for rest in rests for r in rest]
    consistent = [r is not None for rest in rests for r in rest]
    probs = np.exp(beliefs.logps[at_M], dtype=np.float64) * np.reshape(consistent, shape)
    tail = np.exp(beliefs.tail[at_M], dtype=np.float64)
    total = probs.sum(axis=1) + tail
    sure = total > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        logps, tail = np.log(probs / total[:, None]), np.log(tail / total)
    ids = np.reshape(homes, shape).astype(np.int32)
    return Aligned(positions_M[sure], *merged(ids[sure], logps[sure], tail[sure]))


def _inside(
    row: TokenRow, beliefs: Beliefs, mine: NDArray[np.int64], theirs: NDArray[np.int64]
) -> Iterator[tuple[int, int, list[int]]]:
    """Yield the target's positions inside a source token that begins at a common boundary.

    With each come the source's position before that token, and the target's tokens since.
    """
    alone = row.supervised.copy()
    alone[mine] = False
    positions = np.flatnonzero(alone)
    last = np.searchsorted(mine, positions) - 1  # the common boundary before each
    positions, last = positions[last >= 0], last[last >= 0]
    at, ends = theirs[last], row.ends[positions]
    inside = (beliefs.ends[at] < ends) & (ends < beliefs.next_ends[at])
    found = (part[inside].tolist() for part in (positions, at, mine[last]))
    for position, source, start in zip(*found, strict=True):
        yield position, source, row.ids[start + 1 : position + 1].tolist()


def _in_order(left: Aligned, right: Aligned) -> Aligned:
    """Return two sets of positions as one, in the order of the row."""
    order = np.argsort(np.concatenate([left.positions, right.positions]))
    return Aligned(
        positions=np.concatenate([left.positions, right.positions])[order],
        ids=np.concatenate([left.ids, right.ids])[order],
        logps=np.concatenate([left.logps, right.logps])[order],
        tail=np.concatenate([left.tail, right.tail])[order],
    )
