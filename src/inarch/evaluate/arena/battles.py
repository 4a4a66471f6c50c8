"""Arena-Hard: how often a model beats the baseline, over prompts that are hard.

A score is the mean of the outcomes, strong verdicts counted three times, in percent. Where all
battles are against one baseline this is also what the Bradley-Terry model of v0.1 gives: each model
has a coefficient of its own, so that the fitted win rate is the observed one.

Source:  Li et al., "From Crowdsourced Data to High-Quality Benchmarks", arXiv:2406.11939;
         lmarena/arena-hard-auto.
Differs: the score is that of the data, where v2 prints the mean of 100 unseeded draws; intervals
         are by prompts and at 95 %, unless the official ones by rows are asked for, which are too
         narrow by a factor of 1.6 and, under v2, at 90 %.
Shapes:  N = battles, a strong one three times; Q = prompts; D = draws.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.evaluate._resample import (
    LEVEL,
    draw_counts,
    percentiles,
    totals,
    weighted_means,
)
from inarch.evaluate.arena.verdicts import RULES, Version
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result
from inarch.settings import Settings

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

OFFICIAL_DRAWS = 100


class Battles(NamedTuple):
    """All that was judged, one row per battle and model that is not the baseline."""

    version: Version
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    categories: tuple[str, ...]
    """``""`` where the benchmark has none."""
    outcome_N: Floats
    """1 the model wins, 0 the baseline, 0.5 a tie."""
    baseline_of: Mapping[str, str]
    """By category."""
    judge: str = ""
    num_invalid: Mapping[tuple[str, str], int] = {}
    """Games that are left out, by model and category."""

    def only(self, keep_N: NDArray[np.bool_]) -> Battles:
        """Return some of the battles."""
        kept = np.flatnonzero(keep_N)
        return self._replace(
            prompts=tuple(self.prompts[i] for i in kept),
            models=tuple(self.models[i] for i in kept),
            categories=tuple(self.categories[i] for i in kept),
            outcome_N=self.outcome_N[kept],
        )

    def of_category(self, name: str) -> Battles:
        """Return the battles of a category that there are some of."""
        kept = self.only(_where(self.categories, name))
        invalid = {key: number for key, number in self.num_invalid.items() if key[1] == name}
        return kept._replace(baseline_of={name: self.baseline_of[name]}, num_invalid=invalid)

    def left_out(self, model: str) -> int:
        """Return how many of a model's games are left out."""
        return sum(number for (of, _), number in self.num_invalid.items() if of == model)


class ArenaSettings(Settings):
    """How scores are given."""

    intervals: Literal["prompts", "rows"] = "prompts"
    """What is drawn anew: all battles of a prompt together, or single rows as officially."""
    control: Literal["none", "style", "length", "markdown"] = "none"
    """What of the answers' style is held equal."""


class Score(NamedTuple):
    """In percent."""

    score: float
    lower: float
    upper: float
    n_prompts: int


class ArenaScore(NamedTuple):
    """What one model got."""

    whole: Score
    n_battles: int
    """Rows, strong ones three times."""
    n_invalid: int
    """Games without a verdict, left out."""
    by_category: Mapping[str, Score]
    """Empty where the benchmark has none."""

    def numbers(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        parts = {name: part._asdict() for name, part in self.by_category.items()}
        counts = {"n_battles": self.n_battles, "n_invalid": self.n_invalid}
        return self.whole._asdict() | counts | {"by_category": parts}


def score_battles(battles: Battles, settings: ArenaSettings) -> dict[str, ArenaScore]:
    """Return the scores of all models, best first, the baseline among them with 50.

    Style is not controlled here: see `inarch.evaluate.arena.style`.
    """
    names = sorted(set(battles.categories) - {""})
    if len(set(battles.baseline_of.values())) > 1:
        logger.warning(
            "the categories %s have different baselines, so a score over all is no published one;"
            " see each category",
            ", ".join(names),
        )
    whole = _scores(battles, settings)
    parts = {
        name: _scores(battles.only(_where(battles.categories, name)), settings) for name in names
    }
    count = {model: int(_where(battles.models, model).sum()) for model in whole}
    found = {
        model: ArenaScore(
            score,
            count[model],
            battles.left_out(model),
            {name: part[model] for name, part in parts.items() if model in part},
        )
        for model, score in whole.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].whole.score))


def results(
    battles: Battles,
    scores: Mapping[str, ArenaScore] | None = None,
    made: Mapping[str, Any] = MappingProxyType({}),
) -> list[Result]:
    """Return the score per prompt of each model, style not controlled, to compare.

    Args:
        battles: All that was judged.
        scores: What is told of each model; by default that of `score_battles`.
        made: How the battles came about.
    """
    scores = score_battles(battles, ArenaSettings()) if scores is None else scores
    record = ProtocolRecord(
        benchmark="arena_hard",
        version=battles.version,
        score="battles won against the baseline, in percent, strong verdicts three times",
        judge=battles.judge,
        baseline=", ".join(dict.fromkeys(battles.baseline_of.values())),
    )
    found = []
    for model in dict.fromkeys(battles.models):
        own = battles.only(_where(battles.models, model))
        index_N, prompts = _indexed(own.prompts)
        category_of = dict(zip(own.prompts, own.categories, strict=True))
        weights_Q = totals(index_N, np.ones(len(index_N)), len(prompts))
        sums_Q = totals(index_N, own.outcome_N, len(prompts))
        rows = tuple(
            PromptScore(prompt, category_of[prompt], float(100 * total / weight), float(weight))
            for prompt, total, weight in zip(prompts, sums_Q, weights_Q, strict=True)
        )
        invalid = {"n_invalid": battles.left_out(model)}
        found.append(Result(record, model, rows, scores[model].numbers(), {**made, **invalid}))
    return found


def _scores(battles: Battles, settings: ArenaSettings) -> dict[str, Score]:
    """Return the scores over some battles; models are drawn together, prompt by prompt."""
    index_N, prompts = _indexed(battles.prompts)
    num_prompts = len(prompts)
    counts_DQ = draw_counts(num_prompts)
    found: dict[str, Score] = {}
    for number, model in enumerate(dict.fromkeys(battles.models)):
        own_N = _where(battles.models, model)
        index_M, outcome_M = index_N[own_N], battles.outcome_N[own_N]
        weights_Q = totals(index_M, np.ones(len(index_M)), num_prompts)
        if settings.intervals == "prompts":
            sums_Q = totals(index_M, outcome_M, num_prompts)
            bounds = percentiles(weighted_means(sums_Q, weights_Q, counts_DQ), LEVEL)
        else:
            level = RULES[battles.version].row_level
            counts_DM = draw_counts(len(outcome_M), OFFICIAL_DRAWS, seed=42 + number)
            drawn_D = weighted_means(outcome_M, np.ones(len(outcome_M)), counts_DM)
            bounds = percentiles(drawn_D, level)
        mean = float(outcome_M.mean())
        found[model] = Score(
            100 * mean, 100 * bounds[0], 100 * bounds[1], int((weights_Q > 0).sum())
        )
    for baseline in dict.fromkeys(
        battles.baseline_of[c] for c in dict.fromkeys(battles.categories)
    ):
        # The baseline of one category may be a model in another.
        found.setdefault(baseline, Score(50.0, 50.0, 50.0, num_prompts))
    return found


def _indexed(names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return each name's number, and the names by number; in whatever order they come."""
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], np.int64), list(number)


def _where(names: Sequence[str], name: str) -> NDArray[np.bool_]:
    return np.array([found == name for found in names], np.bool_)
