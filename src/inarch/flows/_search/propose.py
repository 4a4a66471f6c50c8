"""Which point to try next: a model of the score, asked where it may be better than the best so far.

Source:  Gaussian process and expected improvement (Jones, Schonlau, Welch 1998); kernel Matern 5/2
         with a length per variable, under the prior of arXiv:2402.02229.
Differs: costs above the median enter by their logarithm, so that one ruined merge does not flatten
         the differences among good ones; lengths and noise come from a grid, no solver is needed.
Shapes:  N = trials so far, M = candidates, D = variables. A point has one number in [0, 1) per
         variable; a choice among c owns c equal stretches of it.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LENGTHS = np.geomspace(0.05, 6.4, 8)
"""Lengths that are tried, in units of the square root of D."""
_NOISES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Variances of the noise that are tried; that of the scores is 1."""
_NUM_SPREAD, _NUM_NEAR = 256, 512
"""Candidates all over the cube, and around each of the best trials."""
_NUM_BEST = 4
_STEP_SIZES = (0.2, 0.1, 0.05, 0.01)
"""Standard deviations of the ways from a good point to a candidate."""


def spread(num_choices: Sequence[int], number: int, seed: int) -> Floats:
    """Return a point of a scrambled Sobol sequence, which fills the cube evenly, ``[D]``.

    Args:
        num_choices: Of each variable; 0 for a number.
        number: Place in the sequence, from 0.
        seed: Of the scrambling.
    """
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(len(num_choices), scramble=True, seed=seed).fast_forward(number)
    point_D: Floats = engine.draw(1).double().numpy()[0]
    return point_D


def start(num_choices: Sequence[int], number: int, seed: int) -> Floats:
    """Return a point for one of the first trials: every choice in turn, numbers near the middle.

    The middle half of many ranges is far better than the rest; a model of the score starts there.
    """
    point_D = 0.5 + 0.5 * (spread(num_choices, number, seed) - 0.5)
    for d, choices in enumerate(num_choices):
        if choices:  # in step with other choices they would tell nothing apart
            point_D[d] = ((number + d * (number // choices)) % choices + 0.5) / choices
    return point_D


def propose(
    points_ND: Floats, costs: Sequence[float], num_choices: Sequence[int], rng: np.random.Generator
) -> Floats:
    """Return points to try, the largest expected improvement first, ``[M, D]``.

    Args:
        points_ND: Trials so far, at least one.
        costs: Of each; less is better. NaN is a trial that failed and counts as the worst; one at
            least is none.
        num_choices: Of each variable; 0 for a number.
        rng: For the candidates.
    """
    goals_N = _tamed(costs)
    lengths_D, noise = _fit(points_ND, goals_N, num_choices)
    near = points_ND[np.argsort(goals_N, kind="stable")[:_NUM_BEST]]
    candidates_MD = _candidates(near, num_choices, rng)
    improvement_M = _improvement(points_ND, goals_N, candidates_MD, num_choices, (lengths_D, noise))
    return candidates_MD[np.argsort(-improvement_M, kind="stable")]


def _tamed(costs: Sequence[float]) -> Floats:
    """Return the costs at mean 0 and variance 1, those above the median by their logarithm."""
    costs_N = np.array(costs, np.float64)
    costs_N = np.where(np.isfinite(costs_N), costs_N, costs_N[np.isfinite(costs_N)].max())
    middle = float(np.median(costs_N))
    scale = middle - float(costs_N.min()) or 1.0
    above_N = np.clip((costs_N - middle) / scale, 0.0, None)
    tamed_N = np.where(costs_N > middle, np.log1p(above_N), (costs_N - middle) / scale)
    return (tamed_N - tamed_N.mean()) / (tamed_N.std() or 1.0)


def _candidates(near: Floats, num_choices: Sequence[int], rng: np.random.Generator) -> Floats:
    """Return points all over the cube, and around each good one, ``[M, D]``."""
    num_D = near.shape[1]
    found = [rng.random((_NUM_SPREAD, num_D))]
    for point_D in near:
        steps = rng.choice(_STEP_SIZES, (_NUM_NEAR, 1)) * rng.standard_normal((_NUM_NEAR, num_D))
        # Some candidates move in few directions: a good point may be wrong in just one.
        moves = rng.random((_NUM_NEAR, num_D)) < rng.choice((0.2, 0.5, 1.0), (_NUM_NEAR, 1))
        fresh = rng.random((_NUM_NEAR, num_D))
        is_choice = np.asarray(num_choices) > 0
        changed = np.where(is_choice, fresh, np.clip(point_D + steps, 0.0, 1.0 - 1e-9))
        found.append(np.where(moves & (~is_choice | (fresh < 0.5)), changed, point_D))
    return np.concatenate(found)


def _kernel(a_ND: Floats, b_MD: Floats, num_choices: Sequence[int], lengths_D: Floats) -> Floats:
    """Return ``(1 + r + r^2 / 3) exp(-r)``, ``[N, M]``; r is sqrt(5) times the distance."""
    squares_NM = np.zeros((len(a_ND), len(b_MD)))
    for d, (choices, length) in enumerate(zip(num_choices, lengths_D, strict=True)):
        a_N, b_M = a_ND[:, d], b_MD[:, d]
        if choices:
            differ_NM = np.floor(a_N * choices)[:, None] != np.floor(b_M * choices)
            squares_NM += differ_NM / length**2
        else:
            squares_NM += ((a_N[:, None] - b_M) / length) ** 2
    r_NM = np.sqrt(5.0 * squares_NM)
    return (1.0 + r_NM + r_NM**2 / 3.0) * np.exp(-r_NM)


def _fit(points_ND: Floats, goals_N: Floats, num_choices: Sequence[int]) -> tuple[Floats, float]:
    """Return the lengths and the noise with the largest evidence.

    One length for all comes first, then each in turn, twice.
    """
    num_D = points_ND.shape[1]
    grid = _LENGTHS * math.sqrt(num_D)

    def evidence(lengths_D: Floats, noise: float) -> float:
        return _evidence(points_ND, goals_N, num_choices, (lengths_D, noise))

    options = [(np.full(num_D, length), noise) for length in grid for noise in _NOISES]
    lengths_D, noise = max(options, key=lambda option: evidence(*option))
    for d in list(range(num_D)) * 2 if num_D > 1 else []:
        tried = [np.where(np.arange(num_D) == d, length, lengths_D) for length in grid]
        lengths_D = max(tried, key=lambda lengths: evidence(lengths, noise))
    return lengths_D, noise


def _evidence(
    points_ND: Floats, goals_N: Floats, num_choices: Sequence[int], fitted: tuple[Floats, float]
) -> float:
    """Return the log-probability of the trials and of the lengths, less a constant.

    The logarithm of a length is normal, with the mean sqrt(2) + log(D) / 2 and the variance 3.
    """
    lengths_D, noise = fitted
    cov_NN = _kernel(points_ND, points_ND, num_choices, lengths_D) + noise * np.eye(len(points_ND))
    factor = np.linalg.cholesky(cov_NN)
    white_N = np.linalg.solve(factor, goals_N)
    off_D = np.log(lengths_D) - math.sqrt(2.0) - math.log(len(lengths_D)) / 2
    log_det = 2.0 * np.log(np.diag(factor)).sum()
    return float(-(white_N @ white_N) / 2 - log_det / 2 - (off_D @ off_D) / (2 * 3))


def _improvement(
    points_ND: Floats,
    goals_N: Floats,
    candidates_MD: Floats,
    num_choices: Sequence[int],
    fitted: tuple[Floats, float],
) -> Floats:
    """Return by how much each candidate is expected to beat the best trial, ``[M]``."""
    lengths_D, noise = fitted
    cov_NN = _kernel(points_ND, points_ND, num_choices, lengths_D) + noise * np.eye(len(points_ND))
    cross_NM = _kernel(points_ND, candidates_MD, num_choices, lengths_D)
    factor = np.linalg.cholesky(cov_NN)
    white_NM = np.linalg.solve(factor, cross_NM)
    mean_M = white_NM.T @ np.linalg.solve(factor, goals_N)
    sd_M = np.sqrt(np.clip(1.0 - (white_NM**2).sum(0), 1e-12, None))
    best = float(goals_N.min())
    z_M = (best - mean_M) / sd_M
    density_M = np.exp(-(z_M**2) / 2) / math.sqrt(2 * math.pi)
    below_M = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in z_M])
    return sd_M * (z_M * below_M + density_M)
