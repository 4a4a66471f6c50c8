"""A vote on characters over taggers that may split words differently.

A character is kept where at least ``min_votes`` of M members have a span over it; the default is a
strict majority, floor(M / 2) + 1, so that a tie keeps nothing. White space at the ends of what is
kept goes. Nothing is bridged: each member has done that.

Source:   "voting strategy" in the abstract of the paper (docs/methods/spans.md), which gives no
          rule; characters are the one thing on which four tokenizers agree.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inarch.errors import SettingsError
from inarch.spans.offsets import Span, runs, strip_range

_AT_ONCE = 256
"""Texts that are held while all members tag them."""


class StreamTagger(Protocol):
    """Anything that finds spans in a stream of texts."""

    def tag_stream(self, texts: Iterable[str]) -> Iterator[list[Span]]:
        """Yield the spans of each text, in order."""


def vote(
    text: str, members: Sequence[Sequence[Span]], *, min_votes: int | None = None
) -> list[Span]:
    """Return the spans that enough members agree on.

    A span's score is the mean over its characters and the members, 0 where a member has no span.

    Args:
        text: What was tagged.
        members: Spans of each of the M members; one may have none.
        min_votes: From 1, a union, to M, unanimity; None for a strict majority.

    Raises:
        SettingsError: ``min_votes`` is not in 1 ... M, or there are no members.
    """
    needed = votes_needed(len(members), min_votes)
    votes = np.zeros(len(text), np.int64)
    mass = np.zeros(len(text))
    for spans in members:
        has = np.zeros(len(text), np.bool_)
        for span in spans:
            has[span.start : span.end] = True
            mass[span.start : span.end] += span.score
        votes += has
    return _spans(text, votes >= needed, mass / len(members))


def votes_needed(num_members: int, min_votes: int | None) -> int:
    """Return how many votes keep a character.

    Raises:
        SettingsError: ``min_votes`` is not in 1 ... M, or there are no members.
    """
    if num_members < 1:
        raise SettingsError("found no members; expected at least one tagger to vote")
    needed = num_members // 2 + 1 if min_votes is None else min_votes
    if not 1 <= needed <= num_members:
        raise SettingsError(
            f"found min_votes {needed} for {num_members} members; expected 1 (a union) to"
            f" {num_members} (unanimity)"
        )
    return needed


class Ensemble:
    """Taggers that vote."""

    def __init__(self, members: Sequence[StreamTagger], min_votes: int | None = None) -> None:
        self._members = tuple(members)
        self._min_votes = votes_needed(len(members), min_votes)

    def tag(self, text: str) -> list[Span]:
        """Return the spans of a text."""
        return next(self.tag_stream([text]))

    def tag_stream(self, texts: Iterable[str]) -> Iterator[list[Span]]:
        """Yield the spans of each text, in order; holds a few hundred texts at a time."""
        rest = iter(texts)
        while batch := list(islice(rest, _AT_ONCE)):
            tagged = [member.tag_stream(batch) for member in self._members]
            for text, *spans in zip(batch, *tagged, strict=True):
                yield vote(text, spans, min_votes=self._min_votes)


def _spans(text: str, kept: NDArray[np.bool_], scores: NDArray[np.float64]) -> list[Span]:
    found = []
    for first, last in runs(np.flatnonzero(kept).tolist()):
        start, end = strip_range(text, first, last)
        if start < end:
            score = min(1.0, float(scores[start:end].mean()))
            found.append(Span(start, end, text[start:end], score))
    return found
