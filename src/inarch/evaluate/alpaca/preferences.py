"""AlpacaEval 2: who wins against the baseline, from one judgment per instruction.

Source:  Li et al., AlpacaEval; tatsu-lab/alpaca_eval, metrics/winrate.py and helpers.py.
         Preferences run from 1 (the baseline's answer is better) to 2 (the model's is); 1.5 and the
         older code 0 are draws.
Differs: a preference that is neither a draw nor in [1, 2] is an error, where the package drops it.
Shapes:  N = judged instructions.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError

Floats = NDArray[np.float64]

BASELINE = "gpt4_1106_preview"
"""Whose answers AlpacaEval 2 compares with."""
ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
"""The judge of the published numbers; ``alpaca_eval_gpt4_turbo_fn`` is another one."""


class Judged(NamedTuple):
    """One model's judgments in numbers."""

    preference_N: Floats
    """In [1, 2], 0 for an old draw, NaN where the judge gave none."""
    baseline_chars_N: Floats
    """Python characters of the baseline's answers, not tokens or bytes."""
    model_chars_N: Floats
    index_N: NDArray[np.int64]
    """Which instruction of the set, from 0; -1 where that is not known."""
    prompts: tuple[str, ...]
    """What identifies the instruction between files."""
    datasets: tuple[str, ...]
    """Part of the set that each instruction is from; ``""`` where it is not said."""
    where: tuple[str, ...]
    """Places in the file, for messages."""
    model: str
    baseline: str
    annotator: str
    is_baseline: bool
    """The model's answers are the baseline's own."""


class WinRate(NamedTuple):
    """In percent, but for the counts."""

    win_rate: float
    standard_error: float
    """Over instructions; NaN for a single one."""
    discrete_win_rate: float
    """Each preference rounded to a win, a loss or half of each."""
    n: int
    """Judgments that count."""
    num_wins: int
    num_losses: int
    num_draws: int
    num_invalid: int
    """Rows without a preference, left out."""


def win_chances(judged: Judged) -> Floats:
    """Return the model's chance to win each instruction, in [0, 1], NaN without a judgment.

    Raises:
        DataError: A preference is none; its row is named.
    """
    preference_N = np.where(judged.preference_N == 0, 1.5, judged.preference_N)
    wrong_N = (preference_N < 1) | (preference_N > 2)
    if wrong_N.any():
        row = int(np.flatnonzero(wrong_N)[0])
        raise DataError(
            f"{judged.where[row]}: preference: found {judged.preference_N[row]}; expected 1 (the"
            " baseline wins) to 2 (the model wins), 0 or 1.5 for a draw, or none"
        )
    return preference_N - 1


def win_rate(judged: Judged) -> WinRate:
    """Return the share of instructions that the model wins.

    Raises:
        DataError: A preference is out of range, or there is none at all.
    """
    chances_N = win_chances(judged)
    won_N = chances_N[~np.isnan(chances_N)]
    if not len(won_N):
        raise DataError(
            f"{judged.where[0]}: found no row with a preference; judge the answers again"
        )
    error = won_N.std(ddof=1) / math.sqrt(len(won_N)) if len(won_N) > 1 else math.nan
    rounded_N = np.where(won_N == 0.5, 0.5, np.round(won_N))
    return WinRate(
        win_rate=float(100 * won_N.mean()),
        standard_error=float(100 * error),
        discrete_win_rate=float(100 * rounded_N.mean()),
        n=len(won_N),
        num_wins=int((won_N > 0.5).sum()),
        num_losses=int((won_N < 0.5).sum()),
        num_draws=int((won_N == 0.5).sum()),
        num_invalid=len(chances_N) - len(won_N),
    )


def is_swapped(instruction: str) -> bool:
    """Return whether the judge sees the model's answer first: a fixed draw per instruction."""
    seed = f"is_switched_outputs{instruction}0".encode("utf-8", "surrogatepass")
    draw = random.Random(seed)  # as of the text, but for half of a surrogate pair, that has none
    return draw.choices([False, True], k=1)[0]


def preference(logp_m: float | None, logp_M: float | None, swapped: bool) -> float:
    """Return the preference that a judge's first token tells, NaN if it is neither answer's name.

        P = exp(logp_m) / (exp(logp_m) + exp(logp_M));   2 - P, or 1 + P for a swapped pair

    Args:
        logp_m: Log-prob of ``m``, the answer shown first; none if it is not among the top tokens.
        logp_M: Log-prob of ``M``, the answer shown second.
        swapped: The model's answer was shown first.
    """
    if logp_m is None and logp_M is None:
        return math.nan
    low = -math.inf
    first, second = low if logp_m is None else logp_m, low if logp_M is None else logp_M
    chance = 1 / (1 + math.exp(min(second - first, 700.0))) if first > low else 0.0
    return 1 + chance if swapped else 2 - chance
