"""Bradley-Terry: how strong models are, from battles that need no common opponent.

    P(i beats j) = 1 / (1 + exp(s_j - s_i));   a tie is half a win for each

The strengths are those under which the battles are most likely. A score is the chance to beat the
anchor: a named model, or a model of mean strength. With one common opponent it is the weighted mean
of the outcomes against it, as `arena` gives.

Where some models have won or lost all battles with the others, no finite strengths are the most
likely. All are then fitted with a weak prior, about half a win and half a loss each, and such
models are marked: the battles bound their score on one side at most. Draws of the bootstrap, where
this happens by chance, always have the prior. Models that no chain of battles joins do not compare,
and are refused.

Source:  Bradley and Terry, 1952; Ford, "Solution of a Ranking Problem from Binary Comparisons",
         1957, for when strengths are finite; Hunter, "MM Algorithms for Generalized Bradley-Terry
         Models", 2004. The search is Newton's, with steps that cannot make the likelihood fall:
         Bach, "Self-concordant analysis for logistic regression", 2010, proposition 1.
Differs: public leaderboards leave unbounded strengths to where their optimiser stops.
Shapes:  B = fits, M = models, N = battles, E = entries: a battle's share for its winner, two for a
         tie; Q = prompts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError, SettingsError
from inarch.evaluate._logistic import sigmoid
from inarch.evaluate._resample import draw_counts, percentiles
from inarch.evaluate.arena.pairings import Pairings

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NUM_DRAWS = 1000
PRIOR = 0.1
"""Precision of the weak prior on strengths, which keeps them finite."""
ELO_PER_NAT = 400 / math.log(10)
ELO_OF_ANCHOR = 1000.0
_MAX_STEPS = 500
_TOGETHER = 50
"""Draws that are fitted at once."""


class Strength(NamedTuple):
    """What one model got."""

    score: float
    """Chance to beat the anchor, in percent."""
    lower: float
    """At 95 %, by a bootstrap over prompts; 0 or 100 where the battles set no bound."""
    upper: float
    n_prompts: int
    n_battles: int
    elo: float
    """Strength in Elo's unit; the anchor has 1000."""
    finite: bool
    """The battles bound its strength against the anchor's on both sides."""


def rate(pairings: Pairings, anchor: str | None = None) -> dict[str, Strength]:
    """Return all models' strengths, best first.

    Args:
        pairings: Battles.
        anchor: Whom the scores are against; without one, a model of mean strength.

    Raises:
        SettingsError: There are no battles of the anchor.
        DataError: Some models have no battle, and no chain of battles, with the others.
    """
    models = tuple(dict.fromkeys((*pairings.a, *pairings.b)))
    if anchor is not None and anchor not in models:
        raise SettingsError(
            f"anchor: found {anchor!r}, expected one of {', '.join(sorted(models))}"
        )
    entries = _entries(pairings, models)
    wins_MM = entries.wins(np.ones(entries.num_prompts))
    check_connected(wins_MM, models)
    reaches_MM = reaches(wins_MM)
    group_M = _anchor_group(reaches_MM & reaches_MM.T, wins_MM, models, anchor)
    _warn_of_unbounded(group_M, models)
    prior = 0.0 if group_M.all() else PRIOR
    at = models.index(anchor) if anchor else None
    strength_M = _against(fit_strengths(wins_MM[None], prior), at)[0]
    drawn_DM = 100 * sigmoid(_against(_drawn(entries), at))
    # What never loses to the anchor's group, by no chain of battles, may be better by any margin.
    wins_M = np.asarray(reaches_MM[:, group_M].any(1))
    loses_M = np.asarray(reaches_MM[group_M].any(0))
    found = {}
    for i, model in enumerate(models):
        lower, upper = percentiles(drawn_DM[:, i])
        found[model] = Strength(
            score=float(100 * sigmoid(strength_M[i : i + 1])[0]),
            lower=lower if wins_M[i] else 0.0,
            upper=upper if loses_M[i] else 100.0,
            n_prompts=entries.prompts_of(i),
            n_battles=round(float(wins_MM[i].sum() + wins_MM[:, i].sum())),
            elo=ELO_OF_ANCHOR + ELO_PER_NAT * float(strength_M[i]),
            finite=bool(group_M[i]),
        )
    return dict(sorted(found.items(), key=lambda item: -item[1].elo))


def fit_strengths(wins_BMM: Floats, prior: float = 0.0) -> Floats:
    """Return the strengths that maximise the likelihood, with mean 0, ``[B, M]``.

        sum_ij w_ij log sigma(s_i - s_j) - prior / 2 |s|^2

    Args:
        wins_BMM: How often the row's model beats the column's; half for a tie.
        prior: 0 where strengths are finite without it.
    """
    games_BMM = wins_BMM + wins_BMM.transpose(0, 2, 1)
    num_models = wins_BMM.shape[1]
    strength_BM = np.zeros(wins_BMM.shape[:2])
    # Adding the same to all strengths changes nothing; this keeps the mean where it is.
    hold_MM = np.full((num_models, num_models), 1 / num_models) + prior * np.eye(num_models)
    for _ in range(_MAX_STEPS):
        chance_BMM = sigmoid(strength_BM[:, :, None] - strength_BM[:, None, :])
        slope_BM = (wins_BMM - games_BMM * chance_BMM).sum(2) - prior * strength_BM
        bend_BMM = games_BMM * chance_BMM * (1 - chance_BMM)
        hessian_BMM = np.eye(num_models) * bend_BMM.sum(2)[:, :, None] - bend_BMM + hold_MM
        step_BM = np.linalg.solve(hessian_BMM, slope_BM[:, :, None])[:, :, 0]
        # A step that moves no difference by more than 1 makes the likelihood grow.
        step_BM /= np.maximum(np.ptp(step_BM, axis=1), 1.0)[:, None]
        strength_BM += step_BM
        if np.abs(step_BM).max() < 1e-11:
            break
    return strength_BM - strength_BM.mean(1, keepdims=True)


def check_connected(wins_MM: Floats, models: Sequence[str]) -> None:
    """Check that a chain of battles joins all models.

    Raises:
        DataError: There are groups without a battle between them; their models are named.
    """
    joined_MM = reaches(wins_MM + wins_MM.T)
    groups = dict.fromkeys(
        tuple(model for model, is_in in zip(models, row, strict=True) if is_in) for row in joined_MM
    )
    if len(groups) > 1:
        names = "; ".join(", ".join(group) for group in groups)
        raise DataError(
            f"found {len(groups)} groups of models without a battle between them: {names}; they do"
            " not compare: judge some across, or rate each group alone"
        )


def reaches(wins_MM: Floats) -> Bools:
    """Return whether the row's model beats the column's by a chain of wins or ties, ``[M, M]``."""
    found_MM = (wins_MM > 0) | np.eye(len(wins_MM), dtype=bool)
    for _ in range(max(1, len(wins_MM).bit_length())):
        found_MM = found_MM.astype(np.float64) @ found_MM > 0
    return np.asarray(found_MM, np.bool_)


class _Entries(NamedTuple):
    """Battles as shares of wins."""

    prompt_E: NDArray[np.int64]
    cell_E: NDArray[np.int64]
    """Winner times M plus loser."""
    share_E: Floats
    num_prompts: int
    num_models: int

    def wins(self, counts_Q: Floats) -> Floats:
        """Return the wins over prompts that count so often, ``[M, M]``."""
        share_E = self.share_E * counts_Q[self.prompt_E]
        size = self.num_models
        wins = np.bincount(self.cell_E, share_E, minlength=size**2)
        return np.asarray(wins, np.float64).reshape(size, size)

    def prompts_of(self, model: int) -> int:
        """Return on how many prompts a model has battles."""
        has_E = (self.cell_E // self.num_models == model) | (self.cell_E % self.num_models == model)
        return len(np.unique(self.prompt_E[has_E]))


def _entries(pairings: Pairings, models: Sequence[str]) -> _Entries:
    prompts = {prompt: i for i, prompt in enumerate(sorted(set(pairings.prompts)))}
    number = {model: i for i, model in enumerate(models)}
    prompt_N = np.array([prompts[prompt] for prompt in pairings.prompts])
    a_N, b_N = (np.array([number[model] for model in side]) for side in (pairings.a, pairings.b))
    share_E = np.concatenate([pairings.outcome_N, 1 - pairings.outcome_N])
    cell_E = np.concatenate([a_N * len(models) + b_N, b_N * len(models) + a_N])
    won_E = share_E > 0
    prompt_E = np.concatenate([prompt_N, prompt_N])
    return _Entries(prompt_E[won_E], cell_E[won_E], share_E[won_E], len(prompts), len(models))


def _drawn(entries: _Entries) -> Floats:
    """Return the strengths of each draw of the prompts, ``[D, M]``."""
    found = []
    for first in range(0, NUM_DRAWS, _TOGETHER):
        counts_BQ = draw_counts(entries.num_prompts, _TOGETHER, seed=42 + first)
        found.append(fit_strengths(np.stack([entries.wins(row) for row in counts_BQ]), PRIOR))
    return np.concatenate(found)


def _against(strength_BM: Floats, anchor: int | None) -> Floats:
    if anchor is None:
        return strength_BM - strength_BM.mean(1, keepdims=True)
    return strength_BM - strength_BM[:, anchor : anchor + 1]


def _anchor_group(
    mutual_MM: Bools, wins_MM: Floats, models: Sequence[str], anchor: str | None
) -> Bools:
    """Return whose strength is finite against the anchor; without one, against most battles."""
    if anchor is not None:
        return mutual_MM[models.index(anchor)]
    battles_M = wins_MM.sum(0) + wins_MM.sum(1)
    return mutual_MM[int(np.argmax(mutual_MM @ battles_M))]


def _warn_of_unbounded(group_M: Bools, models: Sequence[str]) -> None:
    names = [model for model, is_in in zip(models, group_M, strict=True) if not is_in]
    if names:
        logger.warning(
            "%s: all battles with the others go one way, so that no finite strength is the most"
            " likely; a weak prior keeps it finite, and the score is a bound",
            ", ".join(names),
        )


def numbers(found: Mapping[str, Strength]) -> dict[str, dict[str, object]]:
    """Return what ``--json`` prints."""
    return {model: row._asdict() for model, row in found.items()}
