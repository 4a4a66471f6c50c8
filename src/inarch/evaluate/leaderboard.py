"""Many results as leaderboards: who is first, how sure that is, and what length has to do with it.

Results stand in one leaderboard if their protocol records are equal. Two intervals that overlap say
little about which model is better, so the first is also compared with each other one, prompt by
prompt; these intervals hold for all at once.

Shapes:  Q = prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from inarch.evaluate._resample import (
    FEWEST,
    LEVEL,
    NUM_DRAWS,
    Floats,
    draw_counts,
    draws_for,
    percentiles,
    weighted_means,
)
from inarch.evaluate.compare import Difference, difference
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, mean_score
from inarch.io.progress import track


class Mean(NamedTuple):
    """Of scores, by weight, with a 95 % interval by a bootstrap over prompts."""

    mean: float
    lower: float
    upper: float
    n: int
    """Prompts."""


class Standing(NamedTuple):
    """One model's place."""

    result: Result
    whole: Mean
    by_category: dict[str, Mean]
    """Empty where there are fewer than two."""
    behind: Difference | None
    """The first model's score less this one's, on the prompts that both have; None for the first,
    and where they share none."""


class Leaderboard(NamedTuple):
    """All models under one protocol, the best first."""

    protocol: ProtocolRecord
    standings: tuple[Standing, ...]


class LengthBin(NamedTuple):
    """The prompts on which the answer is longer than the other one by about as much."""

    low: int
    """Characters of the model's answer less those of the baseline's, the least."""
    high: int
    score: Mean


def leaderboards(results: Sequence[Result]) -> list[Leaderboard]:
    """Return a leaderboard per protocol record, in the order in which they come."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.protocol.model_dump_json(), []).append(result)
    boards = []
    with track("leaderboards", len(results), "models") as advance:
        for some in found.values():
            boards.append(_leaderboard(some))
            advance(len(some))
    return boards


def less_is_better(protocol: ProtocolRecord) -> bool:
    """Tell whether the scores are losses."""
    return protocol.benchmark == "likelihood"


def mean_of(scores: Sequence[PromptScore]) -> Mean:
    """Return the mean of at least one score."""
    weights_Q = np.array([row.weight for row in scores])
    sums_Q = weights_Q * [row.score for row in scores]
    lower, upper = percentiles(weighted_means(sums_Q, weights_Q, _counts(len(scores))))
    return Mean(mean_score(scores), lower, upper, len(scores))


def by_length(scores: Sequence[PromptScore], num_bins: int = 8) -> list[LengthBin]:
    """Return the mean score of bins of about as many prompts, from the shortest answers on.

    Prompts with the same difference of length are in one bin. Those whose lengths are not known are
    left out; there are no bins where fewer than two could be filled.
    """
    known = [
        (row.length - row.baseline_length, row)
        for row in scores
        if row.length is not None and row.baseline_length is not None
    ]
    num_bins = min(num_bins, len(known) // FEWEST)
    if num_bins < 2:
        return []
    known.sort(key=lambda pair: pair[0])
    bins: list[list[tuple[int, PromptScore]]] = []
    last = -1
    for number, pair in enumerate(known):
        place = number * num_bins // len(known)
        if not bins or (place > last and pair[0] != bins[-1][-1][0]):
            bins.append([])
            last = place
        bins[-1].append(pair)
    return [LengthBin(some[0][0], some[-1][0], mean_of([row for _, row in some])) for some in bins]


def mean_length(scores: Sequence[PromptScore]) -> tuple[float | None, float | None]:
    """Return the mean characters of the answers and of the baseline's, None where one is missing.

    A prompt counts once, whatever its weight.
    """
    own, other = [row.length for row in scores], [row.baseline_length for row in scores]
    return _mean(own), _mean(other)


@lru_cache(maxsize=1)
def _counts(num_prompts: int, num_draws: int = NUM_DRAWS) -> Floats:
    # Models mostly have as many prompts as each other, and drawing takes longer than all else.
    return draw_counts(num_prompts, num_draws)


def _mean(lengths: Sequence[int | None]) -> float | None:
    known = [length for length in lengths if length is not None]
    return sum(known) / len(known) if known and len(known) == len(lengths) else None


def _leaderboard(results: Sequence[Result]) -> Leaderboard:
    protocol = results[0].protocol
    sign = 1 if less_is_better(protocol) else -1
    order = sorted(results, key=lambda result: sign * mean_score(result.scores))
    level = 1 - (1 - LEVEL) / max(1, len(order) - 1)
    # All of one kind after each other, as they share their draws.
    wholes = [mean_of(result.scores) for result in order]
    behind = [None, *(_behind(order[0], result, level) for result in order[1:])]
    parts = [_by_category(result.scores) for result in order]
    _counts.cache_clear()
    return Leaderboard(protocol, tuple(map(Standing, order, wholes, parts, behind)))


def _by_category(scores: Sequence[PromptScore]) -> dict[str, Mean]:
    parts: dict[str, list[PromptScore]] = {}
    for row in scores:
        parts.setdefault(row.category, []).append(row)
    return {name: mean_of(rows) for name, rows in parts.items()} if len(parts) > 1 else {}


def _behind(first: Result, other: Result, level: float) -> Difference | None:
    of_other = {row.prompt: row for row in other.scores}
    pairs = [(row, of_other[row.prompt]) for row in first.scores if row.prompt in of_other]
    return difference(pairs, level, _counts(len(pairs), draws_for(level))) if pairs else None
