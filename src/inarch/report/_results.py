"""What a demo found: the one place that knows how `inarch demo` writes it down.

A whole demo has a ``results.json``. One that was cut has only the scores that were taken so far,
each in the manifest of its own folder; what they tell is read from there, and the rest is missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from inarch.errors import DataError
from inarch.io.runs import MANIFEST
from inarch.report._runs import ModelFacts, read_json

RESULTS = "results.json"
SCORES = f"seed-*/scores/*/{MANIFEST}"
"""Where the scores of one model of one seed are."""
Kind = Literal["baseline", "fusion", "control", "merge"]
"""The fair comparison; what listens to the sources; what shows how far other means go; what is made
of the pairs without training."""
PAIR = "pair-"
"""How the name of a variant begins that listens to one source alone."""


class Score(NamedTuple):
    """One model on one skill of one seed."""

    piece_frac: float
    """Share of the pieces of the right answers that it writes at their place."""
    exact_frac: float
    """Share of the prompts that it answers right in full."""
    bits_per_byte: float


class Variant(NamedTuple):
    """One way to train the target on."""

    label: str
    kind: Kind


class Results(NamedTuple):
    """A demo, read."""

    whole: bool
    """It came to its end."""
    seeds: tuple[int, ...]
    skills: tuple[str, ...]
    models: tuple[ModelFacts, ...]
    """Sources, then the target; their sizes are those of the first seed."""
    variants: Mapping[str, Variant]
    """The ways to train the target on, in the order of the tables."""
    scores: Mapping[tuple[int, str, str], Score]
    """By seed, model or variant, and skill."""
    winners: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Variant to skill to who was believed in how many documents, over all seeds."""
    merges: Mapping[str, Mapping[str, Any]]
    """Variant that is a merge, to its method, parameters, and coefficients by source per seed."""
    match: Sequence[Mapping[str, Any]]
    """One report per source, over all seeds."""
    sentence: Mapping[str, Sequence[str]]
    """Model to the tokens of one sentence."""
    facts: Mapping[str, Any]
    """The rest of ``results.json``."""

    def over_seeds(self, model: str, skill: str, metric: str) -> dict[int, float]:
        """Return a metric of a model per seed, where there is a score.

        Args:
            model: Model or variant.
            skill: One of ``skills``, or ``""`` for their mean.
            metric: Field of Score.
        """
        skills = [skill] if skill else self.skills
        found = {}
        for seed in self.seeds:
            cells = [self.scores.get((seed, model, s)) for s in skills]
            values = [getattr(cell, metric) for cell in cells if cell is not None]
            if values and len(values) == len(skills):
                found[seed] = statistics.fmean(values)
        return found

    def gains(self, variant: str, skill: str, metric: str = "piece_frac") -> dict[int, float]:
        """Return the difference to the baseline per seed, where both have a score."""
        mine, plain = (self.over_seeds(v, skill, metric) for v in (variant, self.baseline))
        return {seed: mine[seed] - plain[seed] for seed in mine if seed in plain}

    def keys(self, kind: Kind) -> list[str]:
        """Return the variants of a kind."""
        return [key for key, variant in self.variants.items() if variant.kind == kind]

    @property
    def baseline(self) -> str:
        """Return the variant that the others are compared with: plain continued training."""
        return next(iter(self.keys("baseline")), "")

    def label(self, key: str) -> str:
        """Return what tables call a model or variant."""
        return self.variants[key].label if key in self.variants else key


def read_results(folder: Path) -> Results:
    """Return what a demo found, or what there is of it.

    Raises:
        DataError: A file is not what the demo writes.
    """
    path = folder / RESULTS
    found = read_json(path) if path.is_file() else _gathered(folder)
    try:
        return _results(found, whole=path.is_file())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is not what `inarch demo` writes ({type(error).__name__}: {error}); run the "
            "demo again, it goes on where it stopped"
        ) from None


def _results(found: Mapping[str, Any], whole: bool) -> Results:
    models = tuple(ModelFacts(**row) for row in found["models"])
    sources = {model.name for model in models if model.role == "source"}
    winners, merges = found["winners"], found.get("merges", {})
    variants = {
        key: Variant(label, _kind(key, found["baseline"], sources, winners.get(key, {})))
        for key, label in found["variants"].items()
    } | {key: Variant(found["variants"][key], "merge") for key in merges}
    scores = {
        (row["seed"], row["model"], row["skill"]): Score(*(row[name] for name in Score._fields))
        for row in found["scores"]
    }
    told = set(Results._fields)
    return Results(
        whole,
        tuple(found["seeds"]),
        tuple(found["skills"]),
        models,
        variants,
        scores,
        winners,
        merges,
        _over_seeds(found["match"]),
        found["sentence"],
        {key: value for key, value in found.items() if key not in told},
    )


def _kind(
    key: str, baseline: str, sources: set[str], winners: Mapping[str, Mapping[str, float]]
) -> Kind:
    """Return what a variant is for: it fuses where a source was believed at all."""
    if key == baseline:
        return "baseline"
    believed = {name for counts in winners.values() for name in counts}
    return "fusion" if believed & sources else "control"


def _over_seeds(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one match report per source: counts are added up, shares averaged over seeds."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        grouped.setdefault(report["source"], []).append(report)
    return [
        {"source": source}
        | {key: sum(report[key] for report in rows) for key in _COUNTS}
        | {key: statistics.fmean(report[key] for report in rows) for key in _SHARES}
        for source, rows in grouped.items()
    ]


_COUNTS = ("target_tokens", "available", "used", "wrong")
_SHARES = ("exact_share", "mapped_mass")


# --------------------------------------------------------------------------- a demo that was cut


def _gathered(folder: Path) -> dict[str, Any]:
    """Return, in the shape of ``results.json``, what the folders of a demo hold so far."""
    scores: list[dict[str, Any]] = []
    models: dict[str, dict[str, Any]] = {}
    variants: dict[str, str] = {}
    winners: dict[str, dict[str, dict[str, float]]] = {}
    merges: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(SCORES)):
        home, name = path.parents[2], path.parent.name
        facts = read_json(path).get("facts") or {}
        seed = int(home.name.removeprefix("seed-"))
        scores += [{"seed": seed, "model": name, **row} for row in facts.get("scores", ())]
        taught = home / "taught" / name
        if taught.is_dir():
            size = {key: facts.get(key) for key in ("architecture", "num_params", "vocabulary")}
            models.setdefault(name, {"name": name, "role": "source", **size})
            continue
        variants[name] = name
        if (home / "merged" / name).is_dir():
            merges[name] = {}
        for domain, counts in _believed_in(home, name).items():
            total = winners.setdefault(name, {}).setdefault(domain, {})
            for who, number in counts.items():
                total[who] = total.get(who, 0) + number
    if "target" in models:
        models["target"] = models.pop("target") | {"role": "target"}
    seeds = sorted(int(p.name.removeprefix("seed-")) for p in folder.glob("seed-*") if p.is_dir())
    return {
        "seeds": seeds,
        "skills": list(dict.fromkeys(row["skill"] for row in scores)),
        "baseline": "plain",
        "models": list(models.values()),
        "variants": variants,
        "scores": scores,
        "winners": winners,
        "merges": merges,
        "match": [],
        "sentence": {},
    }


def _believed_in(home: Path, name: str) -> Mapping[str, Mapping[str, float]]:
    """Return who was believed in a variant of one seed, as its run folder notes it."""
    own = home / "fused" / name
    pair = home / "fused" / "pairs" / "pairs" / name.removeprefix(PAIR)
    manifest = next((f / MANIFEST for f in (own, pair) if (f / MANIFEST).is_file()), None)
    facts = read_json(manifest).get("facts") or {} if manifest else {}
    return dict(facts.get("winners") or {})
