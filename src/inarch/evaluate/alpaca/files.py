"""AlpacaEval's files: annotations, gamed baselines, weights and leaderboards, read and written.

Source:  the shapes of tatsu-lab/alpaca_eval: ``annotations.json``, ``df_gamed.csv``, the weights in
         ``metrics/weights``, the leaderboards in ``leaderboards/data_AlpacaEval_2``.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.alpaca._index import index_of, is_of_set, prompt_id
from inarch.evaluate.alpaca.length_control import Gamed, LengthControlled
from inarch.evaluate.alpaca.preferences import BASELINE, Judged, WinRate
from inarch.io.files import write_json, write_text

logger = logging.getLogger(__name__)

_NUMBERS = ("idx805", "len_1", "len_2", "preference")
_TEXTS = ("instruction", "output_1", "output_2", "generator_1", "generator_2", "preference")
_SHAPE = f"AlpacaEval's annotations.json ({', '.join(_TEXTS)}) or a CSV of {', '.join(_NUMBERS)}"
_ORDER = (
    *("instruction", "output_1", "generator_1", "dataset", "output_2", "generator_2"),
    *("annotator", "preference"),
)
_GAMED = ("preference", "index", "std_delta_len", "instruction_difficulty")
_WEIGHTS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")


class Annotation(NamedTuple):
    """One row of ``annotations.json``."""

    instruction: str
    output_1: str
    """The baseline's answer."""
    output_2: str
    """The model's."""
    generator_1: str
    generator_2: str
    annotator: str
    preference: float
    """NaN where the judge gave none."""
    dataset: str = ""
    more: Mapping[str, Any] = {}
    """What else the row holds: prices, times, the judge's raw completion."""


def read_annotations(path: Path) -> tuple[Annotation, ...]:
    """Return the rows of an ``annotations.json``.

    Raises:
        DataError: It is something else; the row is named.
    """
    rows = read_rows(path)
    require(rows, _TEXTS, _SHAPE)
    return tuple(_annotation(row) for row in rows)


def write_annotations(path: Path, annotations: Sequence[Annotation]) -> None:
    """Write an ``annotations.json`` in the official shape."""
    rows = []
    for row in annotations:
        known = {"preference": None if math.isnan(row.preference) else row.preference}
        rows.append({name: getattr(row, name) for name in _ORDER} | known | dict(row.more))
    write_json(path, rows)


def read_judged(path: Path, model: str | None = None) -> Judged:
    """Return one model's judgments in numbers, from ``annotations.json`` or a CSV of lengths.

    Args:
        path: The file.
        model: The model's name, where the file has several or none; a CSV's is the file's name.

    Raises:
        DataError: The file is something else, or judges several models; the row is named.
    """
    rows = read_rows(path)
    if set(_NUMBERS) <= rows[0].values.keys():
        require(rows, _NUMBERS, _SHAPE)
        return _from_numbers(rows, model or path.stem)
    require(rows, _TEXTS, _SHAPE)
    if model is not None:
        rows = [row for row in rows if row.values["generator_2"] == model]
        if not rows:
            raise DataError(f"{path}: found no answer by {model!r} (column generator_2)")
    found = judged([_annotation(row) for row in rows], [row.where for row in rows])
    if not any(map(is_of_set, found.prompts)):
        logger.warning(
            "none of the %d instructions is AlpacaEval's: their difficulty goes by their place in"
            " the file, so a gamed file must be of the same set in the same order",
            len(rows),
        )
    return found


def judged(annotations: Sequence[Annotation], where: Sequence[str]) -> Judged:
    """Return annotations in numbers.

    Raises:
        DataError: They are of several models, baselines or judges, or judge an instruction twice.
    """
    first = annotations[0]
    for place, row in zip(where, annotations, strict=True):
        for column in ("generator_1", "generator_2", "annotator"):
            found, expected = getattr(row, column), getattr(first, column)
            if found != expected:
                raise DataError(
                    f"{place}: {column}: found {found!r} after {expected!r}; expected one model,"
                    " one baseline and one judge: name the model, or score each alone"
                )
    index = [index_of(row.instruction) for row in annotations]
    if max(index) < 0:
        index = list(range(len(index)))
    same = all(row.output_1 == row.output_2 for row in annotations)
    return Judged(
        preference_N=np.array([row.preference for row in annotations]),
        baseline_chars_N=np.array([float(len(row.output_1)) for row in annotations]),
        model_chars_N=np.array([float(len(row.output_2)) for row in annotations]),
        index_N=np.array(index, np.int64),
        prompts=_checked([prompt_id(row.instruction) for row in annotations], where),
        datasets=tuple(row.dataset for row in annotations),
        where=tuple(where),
        model=first.generator_2,
        baseline=first.generator_1,
        annotator=first.annotator,
        is_baseline=same or first.generator_1 == first.generator_2,
    )


def read_gamed(path: Path) -> Gamed:
    """Return the rows of ``df_gamed.csv``.

    Raises:
        DataError: It is something else; the row is named.
    """
    rows = read_rows(path)
    require(rows, _GAMED, f"AlpacaEval's df_gamed.csv ({', '.join(_GAMED)})")
    difficulty: dict[int, float] = {}
    for row in rows:
        if not 0 <= row.number("preference") <= 1:
            raise DataError(
                f"{row.where}: preference: found {row.values['preference']}, expected a chance in"
                " [0, 1]: gamed rows, unlike annotations, do not begin at 1"
            )
        difficulty.setdefault(row.whole("index"), row.number("instruction_difficulty"))
    return Gamed(
        chance_G=np.array([row.number("preference") for row in rows]),
        length_G=np.array([row.number("std_delta_len") for row in rows]),
        difficulty_G=np.array([row.number("instruction_difficulty") for row in rows]),
        difficulty_of=difficulty,
    )


def read_weights(path: Path) -> dict[str, tuple[float, float, float]]:
    """Return published weights of length, difficulty and bias by model.

    Raises:
        DataError: The file is something else.
    """
    rows = read_rows(path)
    require(rows, ("", *_WEIGHTS), f"a CSV of weights by model ({', '.join(_WEIGHTS)})")
    found = {}
    for row in rows:
        length, difficulty, bias = map(row.number, _WEIGHTS)
        found[row.text("")] = length, difficulty, bias
    return found


def read_leaderboard(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a leaderboard by model, as they are written.

    Raises:
        DataError: The file is something else.
    """
    rows = read_rows(path)
    require(rows, ("", "win_rate", "n_total"), "a leaderboard of AlpacaEval")
    return {row.text(""): {k: v for k, v in row.values.items() if k} for row in rows}


def leaderboard_row(
    rate: WinRate, controlled: LengthControlled | None, avg_length: int | None
) -> dict[str, str]:
    """Return a model's row of a leaderboard.

    Args:
        rate: Its win rates.
        controlled: Its length-controlled win rate.
        avg_length: Mean characters of all its answers, those without a judgment too, cut to a
            whole number; none where they are not known.
    """
    row: dict[str, float | int | str | None] = {
        "win_rate": rate.win_rate,
        "standard_error": rate.standard_error,
        "n_wins": rate.num_wins,
        "n_wins_base": rate.num_losses,
        "n_draws": rate.num_draws,
        "n_total": rate.n,
        "discrete_win_rate": rate.discrete_win_rate,
        "mode": "community",
        "avg_length": avg_length,
        "length_controlled_winrate": controlled and controlled.win_rate,
        "lc_standard_error": controlled and controlled.standard_error,
    }
    return {name: "" if value is None else str(value) for name, value in row.items()}


def add_to_leaderboard(path: Path, model: str, row: Mapping[str, str]) -> None:
    """Write a leaderboard with one more row, or with another row of that model.

    Raises:
        DataError: There is a file that is no such leaderboard.
    """
    rows: dict[str, Mapping[str, str]] = dict(read_leaderboard(path)) if path.exists() else {}
    for known in rows.values():
        if list(known) != list(row):
            raise DataError(
                f"{path}: found the columns {', '.join(known)}; expected {', '.join(row)}"
            )
    write_leaderboard(path, rows | {model: row})


def write_leaderboard(path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write at least one row of a leaderboard in the official shape."""
    columns = list(next(iter(rows.values())))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", *columns])
    writer.writerows([[model, *(row[column] for column in columns)] for model, row in rows.items()])
    write_text(path, out.getvalue())


def _annotation(row: Row) -> Annotation:
    own = {*Annotation._fields, "more"}
    return Annotation(
        instruction=row.text("instruction"),
        output_1=row.text("output_1"),
        output_2=row.text("output_2"),
        generator_1=row.text("generator_1"),
        generator_2=row.text("generator_2"),
        annotator=str(row.values.get("annotator") or ""),
        preference=row.number_or_nan("preference"),
        dataset=str(row.values.get("dataset") or ""),
        more={name: value for name, value in row.values.items() if name not in own},
    )


def _from_numbers(rows: Sequence[Row], model: str) -> Judged:
    where = [row.where for row in rows]
    index = [row.whole("idx805") for row in rows]
    same = [row.values.get("same_output") in ("1", 1, True) for row in rows]
    return Judged(
        preference_N=np.array([row.number_or_nan("preference") for row in rows]),
        baseline_chars_N=np.array([row.number("len_1") for row in rows]),
        model_chars_N=np.array([row.number("len_2") for row in rows]),
        index_N=np.array(index, np.int64),
        prompts=_checked([f"idx805:{number}" for number in index], where),
        datasets=("",) * len(rows),
        where=tuple(where),
        model=model,
        baseline=BASELINE,
        annotator="",
        is_baseline=all(same),
    )


def _checked(prompts: Sequence[str], where: Sequence[str]) -> tuple[str, ...]:
    """Return prompts, each of which is judged once."""
    first: dict[str, str] = {}
    for prompt, place in zip(prompts, where, strict=True):
        if prompt in first:
            raise DataError(
                f"{place}: found an instruction that {first[prompt]} has already; expected one"
                " judgment each: remove one of them"
            )
        first[prompt] = place
    return tuple(prompts)
