"""How far judges agree, with each other and with themselves when the answers change places.

    kappa = (p_o - p_e) / (1 - p_e)

p_o is the share on which both say the same, p_e the share on which they would by chance, each with
its own habits. Two judges that nearly always say "loss" agree often, and mean little by it.

Source:  Cohen, "A Coefficient of Agreement for Nominal Scales", 1960; Zheng et al.,
         arXiv:2306.05685, for the consistency of a judge over both orders.
Shapes:  N = prompts, Q = different prompts, K = labels, D = draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError
from inarch.evaluate._resample import draw_counts, percentiles
from inarch.evaluate.protocol import Result

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WINNERS: tuple[str, ...] = ("loss", "tie", "win")
"""Of the model, by the side of the middle that its score is on."""
_SAME_MIDDLE = 1e-9
JUDGED = ("alpaca_eval2", "arena_hard", "mt_bench")
"""Benchmarks whose scores a judge gives."""
OF_JUDGE = ("judge", "judging", "prompts")
"""Fields of a protocol record in which two judges may differ."""


class Agreement(NamedTuple):
    """Of two judges, A and B, on the same answers."""

    n: int
    agree_frac: float
    """Share of prompts on which they name the same winner, or the same rating when rounded."""
    kappa: float | None
    """Cohen's; None where both always say the same one thing."""
    kappa_lower: float | None
    """At 95 %, by a bootstrap over prompts."""
    kappa_upper: float | None
    correlation: float | None
    """Pearson's, of the scores; None where a judge gives all the same."""
    mean_abs_difference: float
    """Of the scores, in their unit."""
    labels: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    """Prompts by A's label (rows) and B's (columns)."""


class Consistency(NamedTuple):
    """Of one judge over both orders of the same answers."""

    n: int
    num_left_out: int
    """Prompts without a verdict in one of the orders."""
    consistent_frac: float
    """Share of prompts on which both orders name the same winner."""
    kappa: float | None
    first: float
    """Mean chance of the model, in [0, 1], when it is shown first."""
    second: float
    first_bias: float
    """``first`` less ``second``: more than 0 where the judge likes what it reads first."""
    lower: float
    """Of the bias, at 95 %, by a bootstrap over prompts."""
    upper: float
    table: tuple[tuple[int, ...], ...]
    """Prompts by the winner when shown first (rows) and second; `WINNERS` names both."""


class PositionEffect(NamedTuple):
    """Of one judge that sees each prompt in one order; between prompts, so less sure."""

    n_first: int
    """Prompts on which the model is shown first."""
    n_second: int
    num_left_out: int
    first: float
    """Mean chance of the model, in [0, 1]."""
    second: float
    first_bias: float
    lower: float
    """Of the bias, at 95 %, by a bootstrap within each order."""
    upper: float


def agreement(a: Result, b: Result) -> Agreement:
    """Return how far two judges agree on one model; see `pooled_agreement`."""
    return pooled_agreement([(a, b)])


def pooled_agreement(pairs: Sequence[tuple[Result, Result]]) -> Agreement:
    """Return how far two judges agree on several models together.

    Where answers are compared with a baseline's a score above 50 is a win; ratings are rounded,
    halves up. A prompt stands or falls with all its models in the bootstrap.

    Args:
        pairs: Each model's result by judge A and by judge B.

    Raises:
        DataError: A pair is of two models or protocols, or has no prompt in common.
    """
    scores_N2, prompts = _shared_scores(pairs)
    names, labels_N2 = WINNERS, winners(scores_N2, 50.0)
    if not _is_comparison(pairs[0][0]):
        names, labels_N2 = _rounded(scores_N2)
    table_KK = cross_table(labels_N2[:, 0], labels_N2[:, 1], len(names))
    bounds = _kappa_bounds(labels_N2, prompts, len(names))
    a_N, b_N = scores_N2.T
    varies = bool(np.ptp(a_N)) and bool(np.ptp(b_N))
    return Agreement(
        n=len(scores_N2),
        agree_frac=float(np.trace(table_KK) / table_KK.sum()),
        kappa=cohen_kappa(table_KK),
        kappa_lower=bounds and bounds[0],
        kappa_upper=bounds and bounds[1],
        correlation=float(np.corrcoef(a_N, b_N)[0, 1]) if varies else None,
        mean_abs_difference=float(np.abs(a_N - b_N).mean()),
        labels=names,
        table=_as_tuples(table_KK),
    )


def share_prompts(a: Result, b: Result) -> bool:
    """Return whether both have a score of at least one prompt."""
    return not {row.prompt for row in a.scores}.isdisjoint(row.prompt for row in b.scores)


def consistency(first_N: Floats, second_N: Floats) -> Consistency:
    """Return how far a judge says the same in both orders.

    Args:
        first_N: The model's chance to win, in [0, 1], when it is shown first; NaN for no verdict.
        second_N: The same prompts with the model shown second.

    Raises:
        DataError: No prompt has a verdict in both orders.
    """
    first_N, second_N = np.asarray(first_N, np.float64), np.asarray(second_N, np.float64)
    valid_N = ~np.isnan(first_N) & ~np.isnan(second_N)
    num = int(valid_N.sum())
    if not num:
        raise DataError(
            f"found {len(first_N)} prompts, none with a verdict in both orders; judge both orders"
        )
    first_N, second_N = first_N[valid_N], second_N[valid_N]
    table_KK = cross_table(winners(first_N, 0.5), winners(second_N, 0.5), len(WINNERS))
    drawn_D = draw_counts(num) @ (first_N - second_N) / num
    lower, upper = percentiles(drawn_D)
    return Consistency(
        n=num,
        num_left_out=len(valid_N) - num,
        consistent_frac=float(np.trace(table_KK) / num),
        kappa=cohen_kappa(table_KK),
        first=float(first_N.mean()),
        second=float(second_N.mean()),
        first_bias=float((first_N - second_N).mean()),
        lower=lower,
        upper=upper,
        table=_as_tuples(table_KK),
    )


def position_effect(chance_N: Floats, shown_first_N: NDArray[np.bool_]) -> PositionEffect:
    """Return what being shown first does, from one order per prompt, drawn at random.

    Args:
        chance_N: The model's chance to win, in [0, 1]; NaN for no verdict.
        shown_first_N: Whether the judge saw the model's answer first.

    Raises:
        DataError: One of the orders has no verdict.
    """
    chance_N, shown_N = np.asarray(chance_N, np.float64), np.asarray(shown_first_N, np.bool_)
    valid_N = ~np.isnan(chance_N)
    sides = chance_N[valid_N & shown_N], chance_N[valid_N & ~shown_N]
    if not all(map(len, sides)):
        raise DataError(
            f"found {len(sides[0])} verdicts with the model first and {len(sides[1])} with it"
            " second; what its place does needs both"
        )
    drawn = [draw_counts(len(s), seed=42 + k) @ s / len(s) for k, s in enumerate(sides)]
    lower, upper = percentiles(drawn[0] - drawn[1])
    first, second = (float(side.mean()) for side in sides)
    num_left_out = len(chance_N) - int(valid_N.sum())
    counts = len(sides[0]), len(sides[1]), num_left_out
    return PositionEffect(*counts, first, second, first - second, lower, upper)


def winners(score: Floats, middle: float) -> Labels:
    """Return 0 for a loss, 1 for a tie, 2 for a win, of the same shape."""
    beyond = score - middle
    return np.where(np.abs(beyond) <= _SAME_MIDDLE, 1, np.where(beyond > 0, 2, 0)).astype(np.int64)


def cross_table(a_N: Labels, b_N: Labels, num_labels: int) -> Floats:
    """Return how often each label of A meets each of B, ``[K, K]``."""
    counts = np.bincount(a_N * num_labels + b_N, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels).astype(np.float64)


def cohen_kappa(table_KK: Floats) -> float | None:
    """Return the agreement beyond chance, 1 at most; None where chance alone gives all of it."""
    total = table_KK.sum()
    agreed = np.trace(table_KK) / total
    by_chance = float(table_KK.sum(0) @ table_KK.sum(1)) / total**2
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else None


def _shared_scores(pairs: Sequence[tuple[Result, Result]]) -> tuple[Floats, list[str]]:
    """Return both judges' scores of what both have judged, ``[N, 2]``, and the prompts."""
    found: list[tuple[float, float]] = []
    prompts: list[str] = []
    for a, b in pairs:
        _check(pairs[0][0], a, b)
        other = {row.prompt: row.score for row in b.scores}
        shared = [row for row in a.scores if row.prompt in other]
        if not shared:
            raise DataError(f"{a.model}: the judges have no prompt in common; judge the same ones")
        found += [(row.score, other[row.prompt]) for row in shared]
        prompts += [row.prompt for row in shared]
    return np.array(found), prompts


def _check(first: Result, a: Result, b: Result) -> None:
    if a.model != b.model:
        raise DataError(f"found {a.model} and {b.model}; judges agree or not on one model")
    records = [
        {k: v for k, v in result.protocol.model_dump().items() if k not in OF_JUDGE}
        for result in (first, a, b)
    ]
    differing = [k for k in records[0] if len({str(record[k]) for record in records}) > 1]
    if differing:
        raise DataError(
            f"{a.model}: found results that differ in {', '.join(differing)}; expected the same"
            " benchmark, judged by two judges"
        )
    if a.protocol.benchmark not in JUDGED:
        raise DataError(f"{a.model}: found a result of {a.protocol.benchmark}, which no judge gave")


def _is_comparison(result: Result) -> bool:
    """Tell whether 50 is the middle: the scores are shares won against a baseline."""
    return result.protocol.benchmark != "mt_bench" or bool(result.protocol.baseline)


def _rounded(ratings_N2: Floats) -> tuple[tuple[str, ...], Labels]:
    """Return the whole ratings that there are, and which of them each one is."""
    found, label = np.unique(np.floor(ratings_N2 + 0.5), return_inverse=True)
    return tuple(f"{rating:g}" for rating in found), label.reshape(ratings_N2.shape)


def _kappa_bounds(
    labels_N2: Labels, prompts: Sequence[str], num_labels: int
) -> tuple[float, float] | None:
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    num_cells = num_labels**2
    prompt_N = np.array([number[prompt] for prompt in prompts])
    at_N = prompt_N * num_cells + labels_N2[:, 0] * num_labels + labels_N2[:, 1]
    cells_QC = np.bincount(at_N, minlength=len(number) * num_cells).reshape(-1, num_cells)
    drawn = (draw_counts(len(number)) @ cells_QC).reshape(-1, num_labels, num_labels)
    kappas = [kappa for kappa in map(cohen_kappa, drawn) if kappa is not None]
    return percentiles(np.array(kappas)) if kappas else None


def _as_tuples(table_KK: Floats) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, row)) for row in table_KK)
