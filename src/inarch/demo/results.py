"""What a demo found: every number with its seed, and what follows from them."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.demo.experiment import BASELINE, NOISE, VARIANTS, Size, fused, questions, taught
from inarch.demo.merges import MERGES, PAIRS, coefficients, merged
from inarch.demo.models import SOURCES, TARGET
from inarch.demo.scores import ModelCard, score
from inarch.demo.world import SKILLS
from inarch.io.runs import MANIFEST

ALL_SKILLS = "all"
"""In place of a skill: the mean over the skills."""


class Row(NamedTuple):
    """One model, over the seeds."""

    model: str
    label: str
    piece_frac: dict[str, tuple[float, ...]]
    """Skill, or ALL_SKILLS, to the share of right pieces, one number per seed."""
    exact_frac: dict[str, tuple[float, ...]]
    """The same for answers that are right in full."""
    bits_per_byte: dict[str, tuple[float, ...]]
    """The same for the surprise at the right answers."""
    gain: dict[str, tuple[float, ...]]
    """The same for the difference in ``piece_frac`` to plain training; empty for the baseline, and
    for models that saw no fusion corpus."""
    over_pairs: tuple[float, ...] = ()
    """Of a merge: the difference in ``piece_frac`` over all skills to the mean of the pairs that
    went in, one number per seed."""


class Results(NamedTuple):
    """All that a demo measured."""

    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    """Sources, the target before, plain training, the fusions, then the merges."""
    findings: tuple[str, ...]
    """What the numbers say about fusion, good or bad, a sentence each."""
    facts: dict[str, Any]
    """What else ``results.json`` tells."""

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain dicts and lists."""
        rows = [row._asdict() for row in self.rows]
        return {"seeds": self.seeds, "rows": rows, "findings": self.findings, **self.facts}


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation over seeds (n - 1); 0 for one seed."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def collect(folders: Mapping[int, Path], size: Size) -> Results:
    """Return what the seeds of a demo found, from their folders, all of which are complete.

    Args:
        folders: Seed to its folder.
        size: What was run.
    """
    cards = {seed: _cards(seed, folder, size) for seed, folder in folders.items()}
    labels = _labels(size)
    baseline = [cards[seed][BASELINE] for seed in folders]
    rows = against_pairs(
        compare(name, label, [cards[seed][name] for seed in folders], baseline)
        for name, label in labels.items()
    )
    first = next(iter(folders.values()))
    facts = {
        "skills": SKILLS,
        "baseline": BASELINE,
        "num_test": size.num_test,
        "num_chats": size.num_chats,
        "epochs": size.epochs,
        "noise": NOISE,
        "models": _models(cards[next(iter(folders))]),
        "variants": {name: label for name, label in labels.items() if name not in _BEFORE},
        "scores": [
            {"seed": seed, "model": name, **s._asdict()}
            for seed in folders
            for name in labels
            for s in cards[seed][name].scores
        ],
        "merges": {name: _merge(name, folders.values()) for name in size.merges},
        "winners": _winners(folders, size),
        "match": [
            {"seed": seed, **row}
            for seed, folder in folders.items()
            for row in _facts(folder / "data")["match"]
        ],
        "sentence": _facts(first / "data")["sentence"],
    }
    return Results(tuple(folders), rows, findings(rows), facts)


_BEFORE = (*(source.name for source in SOURCES), TARGET.name)
"""Models that saw nothing of the fusion corpus."""


def compare(
    name: str, label: str, cards: Sequence[ModelCard], baseline: Sequence[ModelCard]
) -> Row:
    """Return a model over the seeds, with its gains over the baseline.

    Args:
        name: A model before fusion, or one that a variant made.
        label: What tables call it.
        cards: Its scores, seed by seed.
        baseline: Those of plain training, in the same order.
    """
    pieces, plain = (_by_skill(some, "piece_frac") for some in (cards, baseline))
    gain = {
        skill: tuple(a - b for a, b in zip(pieces[skill], plain[skill], strict=True))
        for skill in pieces
    }
    is_compared = name != BASELINE and name not in _BEFORE
    return Row(
        name,
        label,
        pieces,
        _by_skill(cards, "exact_frac"),
        _by_skill(cards, "bits_per_byte"),
        gain if is_compared else {},
    )


def against_pairs(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows, those of merges with their difference to the mean of the pairs."""
    rows = tuple(rows)
    names = fused(PAIRS, Path())
    pairs = [row.piece_frac[ALL_SKILLS] for row in rows if row.model in names]
    means = tuple(map(statistics.fmean, zip(*pairs, strict=True)))

    def with_pairs(row: Row) -> Row:
        whole = zip(row.piece_frac[ALL_SKILLS], means, strict=True)
        return row._replace(over_pairs=tuple(merge - mean for merge, mean in whole))

    return tuple(with_pairs(row) if row.model in MERGES else row for row in rows)


def findings(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what the comparisons with plain training show, and those of merges with the pairs.

    A gain counts as shown when it is there in every seed. Skills that were lost are named, except
    of merges.
    """
    sentences = []
    for row in rows:
        if not row.gain:
            continue
        gains = row.gain[ALL_SKILLS]
        sentences.append(f"{row.label}: {_verdict(gains)} ({points(gains)} points).")
        if row.over_pairs:
            sentences[-1] = (
                f"{sentences[-1][:-1]}; against the mean of its pairs {points(row.over_pairs)}."
            )
            continue
        lost = [s for s in SKILLS if statistics.fmean(row.gain[s]) < 0]
        sentences += [f"{row.label} did not help in {s}: {points(row.gain[s])}." for s in lost]
    return tuple(sentences)


def _verdict(gains: Sequence[float]) -> str:
    if len(gains) == 1:
        return "one seed, which shows little about the difference to plain training"
    num_better, num_worse = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    if num_better == len(gains):
        return "better than plain training in every seed"
    if num_worse == len(gains):
        return "worse than plain training in every seed"
    return f"no clear difference to plain training, better in {num_better} of {len(gains)} seeds"


def beside(gains: Sequence[float]) -> str:
    """Return how a model stands to another one, by its differences seed by seed."""
    if len(gains) == 1:
        return "in one seed, against"
    if min(gains) > 0:
        return "better in every seed than"
    if max(gains) < 0:
        return "worse in every seed than"
    if not any(gains):
        return "the same as"
    return f"better in {sum(gain > 0 for gain in gains)} of {len(gains)} seeds than"


def points(gains: Sequence[float]) -> str:
    """Return differences of shares, one per seed, in points: their mean, then each."""
    mean = f"{100 * statistics.fmean(gains):+.1f}"
    each = ", ".join(f"{100 * gain:+.1f}" for gain in gains)
    return mean if len(gains) == 1 else f"{mean} on average; {each}"


def _labels(size: Size) -> dict[str, str]:
    labels = {source.name: f"source {source.name}" for source in SOURCES}
    labels[TARGET.name] = "target before"
    for name in size.variants:
        variant = VARIANTS[name]
        if variant.is_pairwise:
            labels |= {f"pair-{s}": f"{variant.label} + {s}" for s in variant.listens_to}
        else:
            labels[name] = variant.label
    return labels | {name: MERGES[name].label for name in size.merges}


def _cards(seed: int, folder: Path, size: Size) -> dict[str, ModelCard]:
    folders = {name: taught(name, folder) for name in _BEFORE}
    for name in size.variants:
        folders |= fused(name, folder)
    folders |= {name: merged(name, folder) for name in size.merges}
    tasks = questions(seed, size)
    return {name: score(path, tasks, folder / "scores" / name) for name, path in folders.items()}


def _by_skill(cards: Sequence[ModelCard], metric: str) -> dict[str, tuple[float, ...]]:
    found = {
        skill: tuple(float(getattr(card.scores[i], metric)) for card in cards)
        for i, skill in enumerate(SKILLS)
    }
    return found | {ALL_SKILLS: tuple(map(statistics.fmean, zip(*found.values(), strict=True)))}


def _models(cards: Mapping[str, ModelCard]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "role": "target" if name == TARGET.name else "source",
            "architecture": cards[name].architecture,
            "num_params": cards[name].num_params,
            "vocabulary": cards[name].vocabulary,
        }
        for name in _BEFORE
    ]


def _merge(name: str, folders: Iterable[Path]) -> dict[str, object]:
    """Return how a merge was made, and the weight of each source's pair, seed by seed."""
    return {
        "method": MERGES[name].method,
        "parameters": MERGES[name].parameters,
        "coefficients": [coefficients(name, folder) for folder in folders],
    }


def _winners(folders: Mapping[int, Path], size: Size) -> dict[str, dict[str, dict[str, int]]]:
    """Return, for each fused model, skill to who was believed in how many documents."""
    found: dict[str, defaultdict[str, Counter[str]]] = {}
    for folder in folders.values():
        for variant in size.variants:
            if VARIANTS[variant].fuse is None:
                continue
            for name, model in fused(variant, folder).items():
                counts = found.setdefault(name, defaultdict(Counter))
                for skill, winners in _facts(model.parent)["winners"].items():
                    counts[skill].update(winners)
    return {
        name: {skill: dict(counts[skill]) for skill in SKILLS if skill in counts}
        for name, counts in found.items()
    }


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["facts"]
    return facts
