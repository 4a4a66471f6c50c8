"""From beliefs to lessons: match every candidate onto the target's tokens, and fuse them.

The same code serves stored beliefs, shard by shard, and teachers that run in the training step.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from inarch.data import Corpus
from inarch.flows._corpus import reader_of
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.fuse import (
    METHODS,
    NOBODY,
    FuseSettings,
    Lesson,
    add_chunks,
    blend,
    costs,
    places,
    timeline,
)
from inarch.io.tokenizers import Encoded
from inarch.match.coverage import Tables, align, build_tables
from inarch.match.positions import pair_positions
from inarch.records import Aligned, Beliefs, Coverage, Document, TokenRow

_STATISTICS_DOCUMENTS = 10_000
"""Documents that mapping statistics are counted on."""


class Panel(NamedTuple):
    """The candidates of a run and how they are heard."""

    names: tuple[str, ...]
    tables: tuple[Tables | None, ...]
    """What carries a source over to the target; None for the target itself."""
    coverage: Coverage
    fuse: FuseSettings
    top_k: int


class Tally:
    """What the target reads, and who is believed where, by domain."""

    def __init__(self) -> None:
        self.winners: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.num_tokens = 0
        self.num_spoken = 0
        self.num_empty = 0
        self.num_inexact = 0

    def add(self, panel: Panel, document: Document, row: TokenRow, lesson: Lesson | None) -> None:
        """Count one document, for the candidate that wins most of its positions."""
        self.num_empty += not row.supervised.any()
        self.num_inexact += not row.exact
        self.num_tokens += int(row.supervised.sum())
        if lesson is None:
            return
        voices = lesson.winner[lesson.winner != NOBODY]
        self.num_spoken += len(voices)
        name = panel.names[int(np.bincount(voices).argmax())] if len(voices) else "label"
        self.winners[document.domain][name] += 1

    def facts(self) -> dict[str, object]:
        """Return the counts for a manifest."""
        return {
            "num_tokens": self.num_tokens,
            "num_rows_without_a_prediction": self.num_empty,
            "num_inexact_rows": self.num_inexact,
            "spoken_frac": self.num_spoken / max(self.num_tokens, 1),
            "winners": {domain: dict(names) for domain, names in sorted(self.winners.items())},
        }


def panel_of(settings: FuseRun, corpus: Corpus) -> Panel:
    """Return the candidates of a run, with a vocabulary map per source."""
    target = reader_of(settings, settings.target).tokenizer
    tables: list[Tables | None] = []
    for model in settings.candidates:
        if model is settings.target:
            tables.append(None)
            continue
        source = reader_of(settings, model).tokenizer
        texts = _encoded_pairs(settings, model, corpus)
        tables.append(build_tables(target, source, settings.match, texts))
    return Panel(
        tuple(model.label for model in settings.candidates),
        tuple(tables),
        settings.match.coverage,
        settings.fuse,
        settings.teach.top_k,
    )


def lessons(
    panel: Panel, rows: Sequence[TokenRow], beliefs: Sequence[Sequence[Beliefs]]
) -> list[Lesson]:
    """Return what each document teaches the target.

    Args:
        panel: The candidates.
        rows: The documents as the target's tokens.
        beliefs: Of each candidate, about each document.
    """
    return [
        _lesson(panel, row, own) for row, own in zip(rows, zip(*beliefs, strict=True), strict=True)
    ]


def _lesson(panel: Panel, row: TokenRow, beliefs: Sequence[Beliefs]) -> Lesson:
    at_P = np.flatnonzero(row.supervised).astype(np.int32)
    target = places(row)
    timelines = [timeline(b) for b in beliefs]
    weights_KP = METHODS[panel.fuse.method](costs(timelines, target, panel.fuse), panel.fuse)
    if panel.fuse.when_target_wins == "gold":
        weights_KP[[i for i, tables in enumerate(panel.tables) if tables is None]] = 0.0
    aligned = [
        _aligned(panel, row, b, tables) for b, tables in zip(beliefs, panel.tables, strict=True)
    ]
    lesson = blend(weights_KP, aligned, at_P, panel.top_k)
    if panel.fuse.objective == "chunk":
        return add_chunks(lesson, weights_KP, timelines, target)
    return lesson


def _aligned(panel: Panel, row: TokenRow, beliefs: Beliefs, tables: Tables | None) -> Aligned:
    at_P = np.flatnonzero(row.supervised).astype(np.int32)
    if tables is None:
        return Aligned(at_P, beliefs.ids, beliefs.logps, beliefs.tail)
    if panel.fuse.objective in ("uld", "chunk"):  # no ids are matched there
        mine, theirs = pair_positions(row.ends[at_P], beliefs.ends)
        nameless = np.full_like(beliefs.ids[theirs], -1)
        return Aligned(at_P[mine], nameless, beliefs.logps[theirs], beliefs.tail[theirs])
    return align(row, beliefs, tables, panel.coverage)


def _encoded_pairs(
    settings: FuseRun, model: ModelSettings, corpus: Corpus
) -> Iterator[tuple[Encoded, Encoded]]:
    target, source = (reader_of(settings, m).tokenizer for m in (settings.target, model))
    for document in islice(_documents(corpus), _STATISTICS_DOCUMENTS):
        messages = document.messages or ()
        text = document.text or "\n".join(m.content for m in messages if m.role == "assistant")
        yield target.encode(text), source.encode(text)


def _documents(corpus: Corpus) -> Iterator[Document]:
    for start in range(0, len(corpus), 1024):
        yield from corpus[start : start + 1024]
