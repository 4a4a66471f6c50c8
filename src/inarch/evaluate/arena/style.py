"""Arena-Hard with style held equal: a Bradley-Terry model with features of how answers look.

    logit P(model beats baseline) = scale (c_model - c_baseline) + sum_f s_f z_f

    v0.1   (m - b) / (m + b + 1) of tokens, headers, lists, bolds; scale log 10; to the loss, in
           which each battle counts twice, |c|^2 / 2 + |s|^2 / 2 is added
    v2     (m - b) / (m + b) of tokens; of counts per token, (m - b) / (m + b + 1); no penalty

each z-scored over the battles. The score is the chance at z = 0.

Source:  lmarena/arena-hard-auto, utils_math.py at 0489bf3 and utils/math_utils.py at 196f6b8.
Differs: the fit is the optimum, where v2's 50 steps of LBFGS end up to 0.15 points away; ``length``
         controls for length, where v2's keeps the first model's indicator instead and stops, and
         ``markdown`` leaves out length, where v2's leaves out the first model. The score is that of
         the data, where v2 prints the median of 100 draws.
         Coefficients of style are shared, so a score depends on which other models are scored.
Shapes:  N = battles, P = pairs of a prompt and a model, M = models with the baseline, last,
         F = features, K = M + F coefficients (v2: the baseline's is 0, so M - 1 + F), D = draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError
from inarch.evaluate._logistic import Penalty, fit_logistic, sigmoid
from inarch.evaluate._resample import LEVEL, draw_counts, percentiles, totals
from inarch.evaluate.arena.battles import OFFICIAL_DRAWS, ArenaSettings, Battles, Score
from inarch.evaluate.arena.verdicts import RULES, Version

Floats = NDArray[np.float64]

NUM_DRAWS = 200
"""Of the bootstrap by prompts; each is a fit."""
FEATURES = ("length", "headers", "lists", "bolds")
_COLUMNS: Mapping[str, tuple[int, ...]] = {
    "style": (0, 1, 2, 3),
    "length": (0,),
    "markdown": (1, 2, 3),
}


class Style(NamedTuple):
    """What is counted in one answer."""

    num_tokens: float
    num_headers: float
    num_lists: float
    num_bolds: float


class Pairs(NamedTuple):
    """Battles by prompt and model, with features."""

    features_PK: Floats
    chance_P: Floats
    """Mean outcome."""
    weight_P: Floats
    """Battles."""
    prompt_P: NDArray[np.int64]
    model_P: NDArray[np.int64]
    models: tuple[str, ...]
    scale: float
    penalty: Penalty
    times: float
    """How often each battle counts."""


class StyleFit(NamedTuple):
    """All models but the baseline, in percent, M of them here."""

    models: tuple[str, ...]
    num_prompts: tuple[int, ...]
    score_M: Floats
    drawn_DM: Floats
    """Of each draw; prompts are drawn for all models together."""
    coefficients: Mapping[str, float]


class StyleScores(NamedTuple):
    """Scores with style held equal."""

    scores: Mapping[str, Score]
    """Best first, the baseline among them with 50."""
    coefficients: Mapping[str, float]
    """Of the features, per standard deviation; more than 0 where judges like more of it."""


def score_with_style(
    battles: Battles, styles: Mapping[tuple[str, str], Style], settings: ArenaSettings
) -> StyleScores:
    """Return all models' scores with style held equal.

    Args:
        battles: Against one baseline.
        styles: Counts of the answers of all models and the baseline, by prompt and model.
        settings: What is controlled, and how intervals are drawn.

    Raises:
        DataError: There are several baselines, or an answer has no counts.
    """
    found = fit_with_style(battles, styles, settings)
    level = LEVEL if settings.intervals == "prompts" else RULES[battles.version].row_level
    (baseline,) = set(battles.baseline_of.values())
    scores = {baseline: Score(50.0, 50.0, 50.0, len(set(battles.prompts)))}
    for number, model in enumerate(found.models):
        bounds = percentiles(found.drawn_DM[:, number], level)
        num_prompts = found.num_prompts[number]
        scores[model] = Score(float(found.score_M[number]), *bounds, num_prompts)
    return StyleScores(
        dict(sorted(scores.items(), key=lambda item: -item[1].score)), found.coefficients
    )


def fit_with_style(
    battles: Battles, styles: Mapping[tuple[str, str], Style], settings: ArenaSettings
) -> StyleFit:
    """Return the scores of all models but the baseline, and of each draw; see above."""
    if settings.control == "none":
        raise DataError("found no feature to control; choose style, length or markdown")
    pairs = make_pairs(battles, styles, settings.control)
    beta_K = _fit(pairs, pairs.weight_P[None])[0]
    drawn_DK = _drawn(pairs, battles, settings, beta_K)
    names = [FEATURES[i] for i in _COLUMNS[settings.control]]
    return StyleFit(
        models=pairs.models,
        num_prompts=tuple(map(int, np.bincount(pairs.model_P))),
        score_M=100 * _chances(pairs, beta_K[None])[0],
        drawn_DM=100 * _chances(pairs, drawn_DK),
        coefficients=dict(zip(names, map(float, beta_K[-len(names) :]), strict=True)),
    )


def make_pairs(
    battles: Battles,
    styles: Mapping[tuple[str, str], Style],
    control: Literal["style", "length", "markdown"],
) -> Pairs:
    """Return battles by prompt and model, with z-scored features.

    Raises:
        DataError: There are several baselines, or an answer has no counts.
    """
    baselines = set(battles.baseline_of.values())
    if len(baselines) > 1:
        raise DataError(
            f"found the baselines {', '.join(sorted(baselines))}; style is controlled against one:"
            " choose a category"
        )
    (baseline,) = baselines
    keys = dict.fromkeys(zip(battles.prompts, battles.models, strict=True))
    number = {key: i for i, key in enumerate(keys)}
    row_N = np.array([number[key] for key in zip(battles.prompts, battles.models, strict=True)])
    weight_P = totals(row_N, np.ones(len(row_N)), len(keys))
    chance_P = totals(row_N, battles.outcome_N, len(keys)) / weight_P
    own_P4 = np.array([_counts(styles, prompt, model) for prompt, model in keys])
    other_P4 = np.array([_counts(styles, prompt, baseline) for prompt, _ in keys])
    models, prompts = tuple(dict.fromkeys(battles.models)), sorted(set(battles.prompts))
    model_at = {model: i for i, model in enumerate(models)}
    prompt_at = {prompt: i for i, prompt in enumerate(prompts)}
    model_P = np.array([model_at[model] for _, model in keys])
    is_old = battles.version == "v0.1"
    differences_PF = _differences(own_P4, other_P4, battles.version)[:, _COLUMNS[control]]
    z_PF = _standardised(differences_PF, weight_P, ddof=0 if is_old else 1)
    scale = math.log(10) if is_old else 1.0
    indicator_PM = scale * np.eye(len(models))[model_P]
    baseline_P1 = np.full((len(keys), 1), -scale)
    columns = [indicator_PM, *([baseline_P1] if is_old else []), z_PF]
    return Pairs(
        features_PK=np.concatenate(columns, axis=1),
        chance_P=chance_P,
        weight_P=weight_P,
        prompt_P=np.array([prompt_at[prompt] for prompt, _ in keys]),
        model_P=model_P,
        models=models,
        scale=scale,
        penalty=Penalty(l2=1.0) if is_old else Penalty(),
        times=2.0 if is_old else 1.0,
    )


def _counts(styles: Mapping[tuple[str, str], Style], prompt: str, model: str) -> Style:
    if (prompt, model) not in styles:
        raise DataError(
            f"found no style of {model}'s answer to {prompt}; expected counts for each answer,"
            " the baseline's too"
        )
    return styles[prompt, model]


def _differences(own_P4: Floats, other_P4: Floats, version: Version) -> Floats:
    if version == "v0.1":
        return (own_P4 - other_P4) / (own_P4 + other_P4 + 1)
    length_P, other_length_P = own_P4[:, 0], other_P4[:, 0]
    # Two empty answers are equally long.
    both_P = np.maximum(length_P + other_length_P, 1)
    own_P3 = own_P4[:, 1:] / (length_P[:, None] + 1)
    other_P3 = other_P4[:, 1:] / (other_length_P[:, None] + 1)
    density_P3 = (own_P3 - other_P3) / (own_P3 + other_P3 + 1)
    return np.concatenate([((length_P - other_length_P) / both_P)[:, None], density_P3], axis=1)


def _standardised(x_PF: Floats, weight_P: Floats, ddof: int) -> Floats:
    """Return z-scores over the battles that the pairs stand for; 0 for what never differs."""
    total = weight_P.sum()
    centred_PF = x_PF - weight_P @ x_PF / total
    spread_F = np.sqrt(weight_P @ centred_PF**2 / (total - ddof))
    return np.divide(centred_PF, spread_F, out=np.zeros_like(x_PF), where=spread_F > 1e-12)


def _fit(pairs: Pairs, weight_DP: Floats, start_DK: Floats | None = None) -> Floats:
    start_DK = np.zeros((1, pairs.features_PK.shape[1])) if start_DK is None else start_DK
    rows = pairs.features_PK, pairs.chance_P
    return fit_logistic(*rows, pairs.times * weight_DP, pairs.penalty, start_DK)


def _drawn(pairs: Pairs, battles: Battles, settings: ArenaSettings, start_K: Floats) -> Floats:
    """Return the coefficients of each draw, ``[D, K]``; the z-scores stay."""
    if settings.intervals == "prompts":
        counts_DQ = draw_counts(int(pairs.prompt_P.max()) + 1, NUM_DRAWS)
        return _fit(pairs, counts_DQ[:, pairs.prompt_P] * pairs.weight_P, start_K[None])
    return np.concatenate(
        [_by_rows(pairs, battles, seed, start_K) for seed in range(OFFICIAL_DRAWS)]
    )


def _by_rows(pairs: Pairs, battles: Battles, seed: int, start_K: Floats) -> Floats:
    """Return the coefficients of one draw of battles, ``[1, K]``."""
    number = {
        (pairs.models[m], q): i
        for i, (m, q) in enumerate(zip(pairs.model_P, pairs.prompt_P, strict=True))
    }
    prompt_at = {prompt: i for i, prompt in enumerate(sorted(set(battles.prompts)))}
    keys = zip(battles.models, battles.prompts, strict=True)
    row_N = np.array([number[model, prompt_at[prompt]] for model, prompt in keys])
    drawn_N = draw_counts(len(row_N), 1, seed)[0]
    weight_P = totals(row_N, drawn_N, len(pairs.weight_P))
    won_P = totals(row_N, drawn_N * battles.outcome_N, len(pairs.weight_P))
    chance_P = np.divide(won_P, weight_P, out=np.zeros_like(won_P), where=weight_P > 0)
    return _fit(pairs._replace(chance_P=chance_P), weight_P[None], start_K[None])


def _chances(pairs: Pairs, beta_DK: Floats) -> Floats:
    """Return each model's chance against the baseline at equal style, ``[D, models]``."""
    num_models = len(pairs.models)
    own_DM = beta_DK[:, :num_models]
    has_baseline = pairs.penalty.l2 > 0
    baseline_D1 = beta_DK[:, num_models : num_models + 1] if has_baseline else np.zeros((1, 1))
    return sigmoid(pairs.scale * (own_DM - baseline_D1))
