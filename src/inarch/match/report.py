"""How well two tokenizers match on a text, and what a sentence looks like under both.

Shapes: T = tokens of the target, S = tokens of the source, k = made-up candidates.
"""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from inarch.io.spelling import METASPACE
from inarch.match.maps import NO_HOME
from inarch.match.positions import pair_positions
from inarch.match.remap import remap
from inarch.records import NO_BOUNDARY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from inarch.io.tokenizers import Encoded, Tokenizer
    from inarch.match.maps import VocabMap

_CANDIDATES = 10
_ROW_TOKENS = 2000
_TIMED_S = 0.5
"""Matching and remapping is repeated for at least this long."""


class MatchReport(NamedTuple):
    """Counts over the tokens of a text, begin and end tokens left out."""

    target_tokens: int
    source_tokens: int
    available: int
    """Bytes at which a token of both ends."""
    used: int
    """Target positions that take the source's distribution."""
    wrong: int
    """Used positions before which the two sides' tokens spell different bytes."""
    exact_share: float
    """Share of the source's tokens that have a target token of the same bytes."""
    mapped_mass: float
    """Share of the source's tokens that have any home."""
    tokens_per_second: float
    """Target tokens matched and remapped per second, k = 10, on one core."""
    texts: int
    inexact_rows: int
    """Texts whose bytes a tokenizer changed, matched by an alignment over characters."""


class ViewToken(NamedTuple):
    """A target token of a sentence and what the source has to say after it."""

    text: str
    state: Literal["used", "prefix", "none"]
    """``used``: a source token ends here too. ``prefix``: inside a source token."""
    source_text: str
    """The source tokens that end here, or the one that goes on."""


def match_report(
    target: Tokenizer, source: Tokenizer, vocab_map: VocabMap, texts: Sequence[str]
) -> MatchReport:
    """Return how target and source match on texts; no model is run.

    Args:
        target: The tokenizer that takes over distributions.
        source: The tokenizer that they come from.
        vocab_map: From the source's ids to the target's.
        texts: What is tokenised, each on its own.
    """
    mine, theirs = target.encode_many(texts), source.encode_many(texts)
    available = used = wrong = 0
    for a, b in zip(mine, theirs, strict=True):
        common = set(a.ends.tolist()) & set(b.ends.tolist()) - {NO_BOUNDARY}
        pairs = pair_positions(a.ends, b.ends)
        available += len(common)
        used += len(pairs[0])
        wrong += _num_wrong((target, a), (source, b), pairs)
    occurring = np.concatenate([np.zeros(0, np.int32), *(row.ids for row in theirs)])
    return MatchReport(
        target_tokens=sum(len(row.ids) for row in mine),
        source_tokens=len(occurring),
        available=available,
        used=used,
        wrong=wrong,
        exact_share=_share(vocab_map.exact[occurring]),
        mapped_mass=_share(vocab_map.ids[occurring] != NO_HOME),
        tokens_per_second=_speed(mine, theirs, vocab_map),
        texts=len(texts),
        inexact_rows=sum(not (a.exact and b.exact) for a, b in zip(mine, theirs, strict=True)),
    )


def view(target: Tokenizer, source: Tokenizer, text: str) -> list[ViewToken]:
    """Return the target's tokens of a sentence, each with the source's beside it."""
    mine, theirs = target.encode(text), source.encode(text)
    pairs = dict(
        zip(*(side.tolist() for side in pair_positions(mine.ends, theirs.ends)), strict=True)
    )
    shown, last = [], -1
    for position, token in enumerate(mine.ids.tolist()):
        state: Literal["used", "prefix", "none"] = "none"
        others: list[int] = []
        if position in pairs:
            state, others = "used", theirs.ids[last + 1 : pairs[position] + 1].tolist()
            last = pairs[position]
        elif last + 1 < len(theirs.ids) and 0 <= mine.ends[position] < theirs.ends[last + 1]:
            state, others = "prefix", [int(theirs.ids[last + 1])]
        shown.append(ViewToken(_shown(target, [token]), state, _shown(source, others)))
    return shown


def _shown(tokenizer: Tokenizer, ids: list[int]) -> str:
    pieces = [tokenizer.pieces[token] for token in ids]
    names = [str(tokenizer.names[token]).encode() for token in ids]
    spelled = b"".join(n if p is None else p for p, n in zip(pieces, names, strict=True))
    return spelled.decode("utf-8", "backslashreplace")


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0


def _num_wrong(
    target: tuple[Tokenizer, Encoded],
    source: tuple[Tokenizer, Encoded],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> int:
    """Return at how many pairs the two sides have spelled different bytes.

    It looks at the tokens' own bytes and never at ``ends``. Where a tokenizer changed the text,
    what was spelled between one pair and the next is compared without case, white space and
    compatibility forms, unless an unknown token is in it. Characters that nobody sees are left
    out, since normalisers drop them, and ``▁`` is white space to tokenizers that use it so.
    """
    if not (target[1].exact and source[1].exact):
        return _num_wrong_folded(target, source, pairs)
    mine, lengths = _spelled(*target)
    theirs, other_lengths = _spelled(*source)
    shorter = min(len(mine), len(theirs))
    differs = np.frombuffer(mine[:shorter], np.uint8) != np.frombuffer(theirs[:shorter], np.uint8)
    same = int(differs.argmax()) if differs.any() else shorter
    before, other_before = lengths[pairs[0]], other_lengths[pairs[1]]
    return int(((before != other_before) | (before > same)).sum())


def _spelled(tokenizer: Tokenizer, row: Encoded) -> tuple[bytes, NDArray[np.int64]]:
    """Return all bytes of a row without the dummy space, and how many each token has reached."""
    pieces = [tokenizer.pieces[token] or b"" for token in row.ids.tolist()]
    spelled = b"".join(pieces)
    return spelled[row.pending_first :], np.cumsum([len(p) for p in pieces]) - row.pending_first


def _num_wrong_folded(
    target: tuple[Tokenizer, Encoded],
    source: tuple[Tokenizer, Encoded],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> int:
    wrong = 0
    last = (-1, -1)
    for pair in zip(*(side.tolist() for side in pairs), strict=True):
        spans = [
            [tokenizer.pieces[token] for token in row.ids[start + 1 : stop + 1].tolist()]
            for (tokenizer, row), start, stop in zip((target, source), last, pair, strict=True)
        ]
        if all(None not in span for span in spans):
            a, b = (_folded(b"".join(piece or b"" for piece in span)) for span in spans)
            wrong += a != b
        last = pair
    return wrong


def _folded(spelled: bytes) -> str:
    text = spelled.decode("utf-8", "surrogateescape").replace(METASPACE, " ")
    folded = unicodedata.normalize("NFKC", text).casefold()
    hidden = ("Cc", "Cf", "Zs", "Zl", "Zp")
    return "".join(c for c in folded if unicodedata.category(c) not in hidden)


def _speed(mine: Sequence[Encoded], theirs: Sequence[Encoded], vocab_map: VocabMap) -> float:
    """Return target tokens matched and remapped per second.

    The texts are laid end to end, as often as it takes to make a row of the usual length; the
    made-up candidates are the source's actual next token and random ones.
    """
    num_tokens = sum(len(row.ids) for row in mine)
    if not num_tokens:
        return 0.0
    rows = list(zip(mine, theirs, strict=True)) * -(-_ROW_TOKENS // num_tokens)
    ends, other_ends = [], []
    base = 0
    for a, b in rows:
        ends.append(np.where(a.ends == NO_BOUNDARY, NO_BOUNDARY, a.ends + base))
        other_ends.append(np.where(b.ends == NO_BOUNDARY, NO_BOUNDARY, b.ends + base))
        base += int(max(a.ends.max(initial=0), b.ends.max(initial=0))) + 1
    target_ends, source_ends = np.concatenate(ends), np.concatenate(other_ends)
    ids, logps, tail = made_up(np.concatenate([b.ids for _, b in rows]), len(vocab_map.ids))
    start, rounds = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < _TIMED_S or not rounds:
        _, at = pair_positions(target_ends, source_ends)
        remap(ids[at], logps[at], tail[at], vocab_map)
        rounds += 1
    return rounds * len(target_ends) / spent


def made_up(
    ids: NDArray[np.int32], num_ids: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return candidates, log-probs and tail like a model's: the next token and nine random ones.

    Args:
        ids: The source's tokens, ``[S]``.
        num_ids: Size of the source's vocabulary.
    """
    rng = np.random.default_rng(0)
    candidates = rng.integers(0, num_ids, (len(ids), _CANDIDATES), dtype=np.int32)
    candidates[:, 0] = np.roll(ids, -1)
    mass = -np.sort(-rng.dirichlet(np.ones(_CANDIDATES + 1), len(ids)), axis=1)
    logps = np.log(np.maximum(mass, 1e-6)).astype(np.float32)
    return candidates, logps[:, :-1], logps[:, -1]
