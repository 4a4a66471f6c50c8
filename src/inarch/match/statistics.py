"""Mapping statistics: which target tokens a source token was seen together with.

Source:   FuseChat (arXiv:2402.16107, 2408.07990), mapping statistics (MS), and its released code.
Differs:  tokens are seen together where they share bytes; the paper's dynamic time warping pairs
          tokens of different places. `statistics` lets the normalised frequency p(target | source)
          decide. `statistics_released` is what the released code computes: edit distance, times 0.1
          where one string contains the other, times sigmoid(count), *minimised*, so that a frequent
          pair scores worse than a rare one.
Shapes:   T, S = tokens of a text; V_s = ids of the source.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inarch.match.baselines import edit_distance, exact_map
from inarch.match.maps import NO_HOME, VocabMap, marked_names, with_roles
from inarch.records import NO_BOUNDARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from inarch.io.tokenizers import Encoded, Tokenizer


class Counts(NamedTuple):
    """How often pairs of tokens share bytes, sorted by source id, then target id."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    seen: NDArray[np.int64]


def count_pairs(corpus: Iterable[tuple[Encoded, Encoded]]) -> Counts:
    """Return how many target tokens of a corpus share bytes with each source token.

    A source id that covers one target token twice counts once there, as in the released code.

    Args:
        corpus: Pairs (target's tokens, source's tokens) of the same texts.
    """
    found = [np.zeros((0, 2), np.int64)]
    for target, source in corpus:
        positions, others = _overlaps(target, source)
        distinct = np.unique(np.stack([positions, source.ids[others]], axis=1), axis=0)
        found.append(np.stack([distinct[:, 1], target.ids[distinct[:, 0]]], axis=1))
    pairs, seen = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return Counts(pairs[:, 0], pairs[:, 1], seen)


def _overlaps(target: Encoded, source: Encoded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the index pairs of tokens that share a byte, where both their ends are known."""
    own, starts, stops = _spans(target)
    others, other_starts, other_stops = _spans(source)
    low = np.searchsorted(other_stops, starts, side="right")
    high = np.searchsorted(other_starts, stops, side="left")
    sizes = np.maximum(high - low, 0)
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(own, sizes), others[np.repeat(low, sizes) + offsets]


def _spans(
    row: Encoded,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return index, start and stop of the tokens that spell a byte and whose ends are known."""
    starts = np.concatenate([[0], row.ends[:-1]]).astype(np.int32)[: len(row.ends)]
    known = (starts != NO_BOUNDARY) & (row.ends > starts)
    return np.flatnonzero(known), starts[known], row.ends[known]


def statistics_map(target: Tokenizer, source: Tokenizer, counts: Counts) -> VocabMap:
    """Return for each source id the target id with the greatest p(target | source).

    Ties go to the lesser edit distance, then to the lowest id; ids never seen have no home.
    """
    distance = edit_distance()
    names, others = marked_names(source, ""), marked_names(target, "")
    ids = np.full(source.size, NO_HOME, np.int32)
    for own, candidates, seen in _by_source(counts):
        best = candidates[seen == seen.max()].tolist()
        ids[own] = min(best, key=lambda other: distance(names[own] or "", others[other] or ""))
    return with_roles("statistics", ids, target, source)


def statistics_released_map(target: Tokenizer, source: Tokenizer, counts: Counts) -> VocabMap:
    """Return the map of FuseChat's released code, defects included.

    Ids never seen become the unknown token, else the end of text. An equal string comes first at
    use time. Candidates that meet in one id are not summed: the first is kept.
    """
    distance = edit_distance()
    names, others = marked_names(source, ""), marked_names(target, "")
    unseen = target.roles.get("unk", target.roles.get("eos", NO_HOME))
    ids = np.full(source.size, unseen, np.int32)
    for own, candidates, seen in _by_source(counts):
        scores = []
        for other, num in zip(candidates.tolist(), seen.tolist(), strict=True):
            a, b = names[own] or "", others[other] or ""
            contained = 0.1 if a in b or b in a else 1.0
            scores.append(distance(a, b) * contained / (1.0 + math.exp(-num)))
        ids[own] = candidates[int(np.argmin(scores))]
    by_string = exact_map(target, source).ids
    ids = np.where(by_string != NO_HOME, by_string, ids)
    return with_roles("statistics_released", ids, target, source, sum_duplicates=False)


def _by_source(
    counts: Counts,
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each source id that was seen, the target ids seen with it, and how often."""
    cuts = np.flatnonzero(np.diff(counts.source)) + 1
    for group in np.split(np.arange(len(counts.source)), cuts):
        if len(group):
            yield int(counts.source[group[0]]), counts.target[group], counts.seen[group]
