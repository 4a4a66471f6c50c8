"""AlpacaEval 2 from files to numbers: all that is known of one model from its annotations."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inarch.errors import DataError
from inarch.evaluate.alpaca._index import NUM_INSTRUCTIONS, is_of_set
from inarch.evaluate.alpaca.files import read_gamed, read_judged, read_weights
from inarch.evaluate.alpaca.length_control import (
    NUM_FOLDS,
    LengthControlled,
    LengthControlSettings,
    bootstrap_error,
    from_weights,
    length_controlled,
)
from inarch.evaluate.alpaca.preferences import BASELINE, Judged, WinRate, win_chances, win_rate
from inarch.evaluate.judges.official import find, is_fetched
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result, made_of

logger = logging.getLogger(__name__)

GAMED = "alpaca_eval2/df_gamed.csv"
"""The official file."""


class AlpacaFiles(NamedTuple):
    """Where things are."""

    annotations: Path
    gamed: Path | None = None
    """For length control; where none is given the fetched ``df_gamed.csv`` if it fits."""
    weights: Path | None = None
    """Published ones, which take the place of a fit."""


class AlpacaScore(NamedTuple):
    """What one model got."""

    model: str
    rate: WinRate
    controlled: LengthControlled | None
    """None without a gamed file."""
    bootstrap_error: float | None
    """Of the length-controlled win rate over instructions; None where it is not drawn."""
    avg_length: int | None
    """Mean characters of the model's answers, cut; None where some instructions have no row."""
    result: Result
    """The win rate per instruction, in percent, not length-controlled."""
    num_instructions: int | None
    """Of the whole set; None where the instructions are not AlpacaEval's."""

    def numbers(self) -> dict[str, float | int | None]:
        """Return what ``--json`` prints; null where a number is not defined."""
        lc = self.controlled
        return {
            "win_rate": self.rate.win_rate,
            "standard_error": _defined(self.rate.standard_error),
            "discrete_win_rate": self.rate.discrete_win_rate,
            "lc_win_rate": lc and lc.win_rate,
            "lc_standard_error": lc and lc.standard_error,
            "n": self.rate.n,
            "c": lc and lc.c,
        }


def score_alpaca(
    files: AlpacaFiles,
    settings: LengthControlSettings,
    model: str | None = None,
    draws: bool = True,
) -> AlpacaScore:
    """Return the win rates of one model.

    Args:
        files: Annotations, and what length control needs.
        settings: How length is controlled.
        model: Its name, where the annotations have several or none.
        draws: Also tell the error of the length-controlled win rate, which takes hundreds of fits.

    Raises:
        DataError: A file is wrong; the row is named.
    """
    judged = read_judged(files.annotations, model)
    if files.gamed is None and _knows(judged):
        files = files._replace(gamed=fetched_gamed())
    found = score_judged(judged, settings, files.gamed, files.weights, draws)
    made = made_of(files._asdict(), **found.result.made)
    return found._replace(result=found.result._replace(made=made))


def score_judged(
    judged: Judged,
    settings: LengthControlSettings,
    gamed_file: Path | None = None,
    weights: Path | None = None,
    draws: bool = True,
) -> AlpacaScore:
    """Return the win rates that judgments give; see `score_alpaca`.

    Raises:
        DataError: There is no preference, or a file is wrong; the row is named.
    """
    rate = win_rate(judged)
    whole = NUM_INSTRUCTIONS if all(map(is_of_set, judged.prompts)) else None
    _warn(judged, rate, settings)
    if whole and len(judged.prompts) < whole:
        logger.warning(
            "%d of the %d instructions have no row: all numbers are of the other %d",
            whole - len(judged.prompts),
            whole,
            len(judged.prompts),
        )
    controlled, error, length = None, None, None
    if gamed_file:
        gamed = read_gamed(gamed_file)
        if len(judged.where) == len(gamed.difficulty_of):
            length = int(judged.model_chars_N.mean())
        if weights:
            controlled = from_weights(
                judged, gamed, _weights_of(weights, judged.model), settings.align
            )
        else:
            controlled = length_controlled(judged, gamed, settings)
            if draws and controlled.c is not None:
                error = bootstrap_error(judged, gamed, settings, controlled.c)
    about = {name: getattr(settings, name) for name in LengthControlSettings.model_fields}
    made = {"settings": about, "n_invalid": rate.num_invalid, "lc_bootstrap_error": error}
    result = _result(judged)._replace(made=made)
    found = AlpacaScore(judged.model, rate, controlled, error, length, result, whole)
    return found._replace(result=result._replace(summary=found.numbers()))


def fetched_gamed() -> Path:
    """Return the official gamed rows that were fetched, and say so.

    Raises:
        DataError: They were not.
    """
    path = find(GAMED).path
    logger.info("lengths are controlled by %s, which was fetched", path)
    return path


def _knows(judged: Judged) -> bool:
    """Return whether the official gamed rows are fetched, and are of these judgments' set."""
    return (
        is_fetched(GAMED)
        and all(map(is_of_set, judged.prompts))
        and judged.baseline == BASELINE
        and int(np.isfinite(judged.preference_N).sum()) >= NUM_FOLDS
    )


def _warn(judged: Judged, rate: WinRate, settings: LengthControlSettings) -> None:
    if rate.num_invalid:
        logger.warning("%d rows without a preference are left out", rate.num_invalid)
    moved = int((judged.index_N != np.arange(len(judged.where))).sum())
    if moved and settings.align == "position":
        logger.warning(
            "%d rows stand at another place than their instruction, and get its difficulty, as in"
            " published numbers",
            moved,
        )


def _weights_of(path: Path, model: str) -> tuple[float, float, float]:
    known = read_weights(path)
    if model not in known:
        raise DataError(
            f"{path}: found weights of {len(known)} models, none of {model!r}; name one with"
            " --model, or leave out --weights to fit them"
        )
    return known[model]


def _result(judged: Judged) -> Result:
    record = ProtocolRecord(
        benchmark="alpaca_eval2",
        version="2",
        score="chance to win against the baseline, in percent, lengths not controlled",
        judge=judged.annotator,
        baseline=judged.baseline,
    )
    scores = tuple(
        PromptScore(prompt, dataset, 100 * float(chance), 1.0, int(own), int(other))
        for prompt, dataset, chance, own, other in zip(
            judged.prompts,
            judged.datasets,
            win_chances(judged),
            judged.model_chars_N,
            judged.baseline_chars_N,
            strict=True,
        )
        if not math.isnan(chance)
    )
    return Result(record, judged.model, scores)


def _defined(number: float) -> float | None:
    return None if math.isnan(number) else number
