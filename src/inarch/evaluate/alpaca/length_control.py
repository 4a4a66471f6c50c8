"""AlpacaEval 2's length-controlled win rate: what a model would win if answers were equally long.

    logit P(row n wins) = a tanh(delta_n / sd(delta)) + b difficulty_n + c [the row is the model's]

delta is the baseline's length minus the model's, in characters. The rows of two baselines that
were told to be verbose or concise keep a and b in check, at a tenth of the weight of the model's
rows. The win rate is the mean chance at delta = 0.

Source:  Dubois et al., "Length-Controlled AlpacaEval", arXiv:2404.04475; tatsu-lab/alpaca_eval,
         metrics/glm_winrate.py, whose numbers this gives to the digit at the same strength C.
Differs: difficulty belongs to the instruction; the package looks it up by the row's place in the
         file, which is another's where rows are missing (``align="position"`` does so too). The
         folds that choose C are the same under every version of scikit-learn, which the package
         needs. ``solver="exact"`` finds the optimum, up to 0.013 points from where liblinear stops.
         The standard error that the package gives is that of predictions that have no noise;
         `bootstrap_error` is that of the win rate, and twice as large.
Shapes:  N = the model's rows, G = gamed rows, R = rows of the regression, G + valid rows of N,
         D = draws;
         3 = features: length, difficulty, bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inarch.errors import DataError
from inarch.evaluate._logistic import Penalty, fit_logistic, sigmoid
from inarch.evaluate._resample import draw_counts
from inarch.evaluate.alpaca._liblinear import fit_liblinear
from inarch.evaluate.alpaca.preferences import Judged, win_chances
from inarch.settings import Settings

Floats = NDArray[np.float64]

GAMED_WEIGHT = 0.1
"""Of each gamed row: 0.2, shared by two gamed baselines."""
STRENGTHS = tuple(float(c) for c in np.logspace(-4, 4, 10))
"""Values of C among which cross-validation chooses."""
NUM_FOLDS = 5
_SEED = 123
"""Of liblinear's steps, in the package."""
_TOGETHER = 250
"""Draws that are fitted at once: few enough that their rows stay in the processor's cache."""


class Gamed(NamedTuple):
    """The rows of ``df_gamed.csv``, in its order."""

    chance_G: Floats
    """The gamed baseline's chance to win, in [0, 1]."""
    length_G: Floats
    """Stored in units of standard deviations."""
    difficulty_G: Floats
    difficulty_of: Mapping[int, float]
    """By instruction, from 0: the first row of each."""


class LengthControlSettings(Settings):
    """How the regression is fitted; the defaults are those of the published numbers."""

    c: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["cv"] = "cv"
    """Strength C of the fit against its L1 penalty, or chosen by cross-validation."""
    align: Literal["instruction", "position"] = "instruction"
    """What a row's difficulty is looked up by; the package does it by position in the file."""
    solver: Literal["liblinear", "exact"] = "liblinear"
    """liblinear stops where the published numbers are from; the other goes on to the optimum."""


class Design(NamedTuple):
    """The rows of the regression, gamed ones first."""

    features_R3: Floats
    chance_R: Floats
    weight_R: Floats
    at_equal_N3: Floats
    """Features of the model's rows, those without a preference too, at equal length."""
    valid_N: NDArray[np.bool_]
    """The model's rows with a preference."""


class LengthControlled(NamedTuple):
    """In percent, but for ``c`` and the weights."""

    win_rate: float
    standard_error: float
    """As published: of the mean of the predictions, which have no noise. Too small; see above."""
    c: float | None
    """None where nothing is fitted: the baseline against itself, or published weights."""
    weights: tuple[float, float, float]
    """Of length, difficulty, bias."""


def length_controlled(
    judged: Judged, gamed: Gamed, settings: LengthControlSettings
) -> LengthControlled:
    """Return the length-controlled win rate of a model; 50 for the baseline.

    Raises:
        DataError: A row does not fit the gamed file, or too few rows have a preference.
    """
    if judged.is_baseline:
        return LengthControlled(50.0, 0.0, None, (0.0, 0.0, 0.0))
    design = make_design(judged, gamed, settings.align)
    c = choose_c(design, settings.solver) if settings.c == "cv" else settings.c
    return predict(design, fit(design, c, settings.solver), c)


def from_weights(
    judged: Judged,
    gamed: Gamed,
    weights: tuple[float, float, float],
    align: Literal["instruction", "position"] = "instruction",
) -> LengthControlled:
    """Return the win rate that published weights give, without a fit."""
    return predict(make_design(judged, gamed, align), np.array(weights), None)


def make_design(
    judged: Judged, gamed: Gamed, align: Literal["instruction", "position"] = "instruction"
) -> Design:
    """Return the rows of the regression.

    Raises:
        DataError: A row's instruction is not in the gamed file, or fewer than ``NUM_FOLDS`` rows
            have a preference.
    """
    chance_N = win_chances(judged)
    valid_N = ~np.isnan(chance_N)
    if valid_N.sum() < NUM_FOLDS:
        raise DataError(
            f"{judged.where[0]}: found {valid_N.sum()} rows with a preference; length control needs"
            f" {NUM_FOLDS} or more"
        )
    difficulty_N = _difficulty(judged, gamed, align)
    delta_N = judged.baseline_chars_N - judged.model_chars_N
    spread = float(delta_N.std(ddof=1))
    length_N = np.tanh(delta_N / spread) if spread else np.zeros(len(delta_N))
    ones_N, zeros_N = np.ones(len(delta_N)), np.zeros(len(delta_N))
    zeros_G = np.zeros(len(gamed.chance_G))
    gamed_G3 = np.stack([np.tanh(gamed.length_G), gamed.difficulty_G, zeros_G], axis=1)
    model_N3 = np.stack([length_N, difficulty_N, ones_N], axis=1)
    return Design(
        features_R3=np.concatenate([gamed_G3, model_N3[valid_N]]),
        chance_R=np.concatenate([gamed.chance_G, chance_N[valid_N]]),
        weight_R=np.concatenate([np.full(len(zeros_G), GAMED_WEIGHT), ones_N[valid_N]]),
        at_equal_N3=np.stack([zeros_N, difficulty_N, ones_N], axis=1),
        valid_N=valid_N,
    )


def fit(design: Design, c: float, solver: Literal["liblinear", "exact"]) -> Floats:
    """Return the three weights that minimise |w|_1 + C (weighted cross-entropy)."""
    if solver == "exact":
        start_13, weight_1R = np.zeros((1, 3)), design.weight_R[None]
        rows = design.features_R3, design.chance_R
        return fit_logistic(*rows, weight_1R, Penalty(l1=1 / c), start_13)[0]
    return fit_liblinear(design.features_R3, design.chance_R, design.weight_R, c, seed=_SEED)


def choose_c(design: Design, solver: Literal["liblinear", "exact"]) -> float:
    """Return the strength with the best mean log-likelihood over folds; the least of equals.

    Every fifth row is held out together, as by GroupKFold of scikit-learn 1.9; older ones differ.
    """
    fold_R = np.arange(len(design.chance_R)) % NUM_FOLDS
    scores = [
        np.mean([_held_out(design, fold_R == k, c, solver) for k in range(NUM_FOLDS)])
        for c in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(scores))]


def predict(design: Design, weights_3: Floats, c: float | None) -> LengthControlled:
    """Return the mean chance of the model's rows at equal length."""
    chance_N = sigmoid(design.at_equal_N3 @ weights_3)
    error = chance_N.std(ddof=1) / math.sqrt(len(chance_N))
    length, difficulty, bias = map(float, weights_3)
    return LengthControlled(
        float(100 * chance_N.mean()), float(100 * error), c, (length, difficulty, bias)
    )


def bootstrap_error(
    judged: Judged, gamed: Gamed, settings: LengthControlSettings, c: float, num_draws: int = 300
) -> float:
    """Return the standard deviation of the win rate over draws of the instructions, in percent.

    Each draw is fitted anew at the same C. The gamed rows and the unit of length stay.
    """
    design = make_design(judged, gamed, settings.align)
    return float(drawn_rates(design, c, draw_counts(len(design.valid_N), num_draws)).std(ddof=1))


def drawn_rates(design: Design, c: float, counts_DN: Floats) -> Floats:
    """Return the win rate of each draw of the model's rows, fitted anew, in percent, ``[D]``."""
    num_gamed = len(design.chance_R) - int(design.valid_N.sum())
    gamed_1G = design.weight_R[None, :num_gamed]
    start_13 = fit(design, c, "exact")[None]
    rates = []
    for first in range(0, len(counts_DN), _TOGETHER):
        counts_BN = counts_DN[first : first + _TOGETHER]
        kept_BG = np.broadcast_to(gamed_1G, (len(counts_BN), num_gamed))
        weight_BR = np.concatenate([kept_BG, counts_BN[:, design.valid_N]], axis=1)
        rows = design.features_R3, design.chance_R
        weights_B3 = fit_logistic(*rows, weight_BR, Penalty(l1=1 / c), start_13)
        chance_BN = sigmoid(weights_B3 @ design.at_equal_N3.T)
        rates.append(100 * (chance_BN * counts_BN).mean(1))
    return np.concatenate(rates)


def _difficulty(judged: Judged, gamed: Gamed, align: str) -> Floats:
    index_N = np.arange(len(judged.where)) if align == "position" else judged.index_N
    for where, index in zip(judged.where, index_N, strict=True):
        if int(index) not in gamed.difficulty_of:
            known = f"instructions 0 to {max(gamed.difficulty_of, default=0)}"
            found = (
                "an instruction that is none of AlpacaEval's" if index < 0 else f"number {index}"
            )
            raise DataError(
                f"{where}: found {found}; the gamed file has {known}, and it belongs to one set"
            )
    return np.array([gamed.difficulty_of[int(index)] for index in index_N])


def _held_out(design: Design, held_R: NDArray[np.bool_], c: float, solver: str) -> float:
    """Return the log-likelihood per row of what a fit has not seen."""
    kept = design._replace(
        features_R3=design.features_R3[~held_R],
        chance_R=design.chance_R[~held_R],
        weight_R=design.weight_R[~held_R],
    )
    weights_3 = fit(kept, c, "exact" if solver == "exact" else "liblinear")
    seen_R = np.clip(sigmoid(design.features_R3[held_R] @ weights_3), 1e-15, 1 - 1e-15)
    truth_R = design.chance_R[held_R]
    loglik_R = truth_R * np.log(seen_R) + (1 - truth_R) * np.log(1 - seen_R)
    return float((design.weight_R[held_R] * loglik_R).mean())
