"""MT-Bench in pairs: which of two dialogues a judge likes better, asked in both orders.

    a win counts only where both orders name it; all else is a tie, half a win for each

Source:  Zheng et al., arXiv:2306.05685; lm-sys/FastChat, fastchat/llm_judge, common.py and
         show_result.py, modes pairwise-baseline and pairwise-all; the shape of
         ``model_judgment/gpt-4_pair.jsonl``.
Differs: intervals by a bootstrap over questions; the share of turns on which both orders agree is
         told, and what the place does; files of two judges are refused.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import DataError, SettingsError
from inarch.evaluate._resample import draw_counts, percentiles, weighted_means
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.judges.agreement import Consistency, consistency
from inarch.evaluate.mt_bench.files import judge_of, read_categories
from inarch.evaluate.mt_bench.ratings import category_of
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result

logger = logging.getLogger(__name__)

ERROR = "error"
"""What is stored where a judgment names no winner."""
_WINNERS = ("model_1", "model_2", "tie", ERROR)
_COLUMNS = ("question_id", "model_1", "model_2", "g1_winner", "g2_winner", "turn")


class Pair(NamedTuple):
    """Both games of two models on one turn."""

    question: int
    category: str
    turn: int
    models: tuple[str, str]
    winners: tuple[str, str]
    """Of the game in which the first model is shown first, and of the other: ``model_1``,
    ``model_2``, ``tie`` or `ERROR`."""
    judge: str = ""
    prompt: str = ""
    """Name of the judge's prompt, such as ``pair-v2``."""

    @property
    def is_valid(self) -> bool:
        """Tell whether both games have a verdict."""
        return ERROR not in self.winners

    def outcome(self, model: str) -> float:
        """Return 1 where a model wins in both orders, 0 where it loses in both, else 0.5."""
        if self.winners[0] != self.winners[1] or self.winners[0] == "tie":
            return 0.5
        return float(self.models[_WINNERS.index(self.winners[0])] == model)

    def chances(self, model: str) -> tuple[float, float]:
        """Return what a model wins when shown first, and second: 1, 0, 0.5, or NaN for an error."""
        own = self.models.index(model)
        known = {"tie": 0.5, ERROR: math.nan, _WINNERS[own]: 1.0}
        games = tuple(known.get(winner, 0.0) for winner in self.winners)
        return games[own], games[1 - own]


class PairScore(NamedTuple):
    """What one model got; shares in [0, 1], as FastChat prints them."""

    win: int
    loss: int
    tie: int
    win_rate: float
    loss_rate: float
    win_rate_adjusted: float
    """A tie is half a win."""
    lower: float
    """Of the adjusted rate, at 95 %, by a bootstrap over questions."""
    upper: float
    n: int
    """Turns that count."""
    by_turn: Mapping[str, float]
    """Adjusted."""
    by_category: Mapping[str, float]
    consistent_frac: float
    """Turns on which both orders name the same winner."""
    first_bias: float
    """What being shown first adds to the chance to win."""
    n_invalid: int
    """Turns with a game without a verdict, left out."""


def is_pairwise(path: Path) -> bool:
    """Tell whether a file of judgments compares two models in each row.

    Raises:
        DataError: It cannot be read.
    """
    return "g1_winner" in read_rows(path)[0].values


def read_pairs(path: Path, questions: Path | None = None) -> tuple[Pair, ...]:
    """Return the pairwise judgments of a file, or of a folder of JSONL files.

    Args:
        path: The file.
        questions: A ``question.jsonl`` that names categories of questions that are not the 80.

    Raises:
        DataError: It is something else, or of several judges; the row is named.
    """
    rows = read_rows(path)
    require(rows, _COLUMNS, f"MT-Bench's pairwise judgments ({', '.join(_COLUMNS)}; judge)")
    categories = read_categories(questions) if questions else {}
    pairs: list[Pair] = []
    for row in rows:
        pair = _pair(row, categories)
        if pairs and pair.judge != pairs[0].judge:
            raise DataError(
                f"{row.where}: judge: found {pair.judge!r} after {pairs[0].judge!r}; verdicts of"
                " two judges do not mean the same: score each alone"
            )
        pairs.append(pair)
    _warn(pairs)
    return tuple(pairs)


def score_pairs(pairs: Sequence[Pair], baseline: str | None = None) -> dict[str, PairScore]:
    """Return what each model got, best first.

    Args:
        pairs: Of all models.
        baseline: Only its battles count, and it gets no row; without one all battles count.

    Raises:
        SettingsError: No row has the baseline.
        DataError: No row counts.
    """
    if baseline is not None:
        num_all, pairs = len(pairs), _of_baseline(pairs, baseline)
        if len(pairs) < num_all:
            logger.warning("%d turns without %s are left out", num_all - len(pairs), baseline)
    models = dict.fromkeys(model for pair in pairs if pair.is_valid for model in pair.models)
    if not models:
        raise DataError(f"found no verdict in {len(pairs)} rows; judge the answers again")
    found = {
        model: _score([pair for pair in pairs if model in pair.models], model)
        for model in models
        if model != baseline
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].win_rate_adjusted))


def order_consistency(pairs: Sequence[Pair], baseline: str | None = None) -> Consistency:
    """Return how far the judge names the same winner in both orders, over all battles that count.

    Args:
        pairs: Of all models.
        baseline: Only its battles count; without one all.
    """
    pairs = [pair for pair in pairs if baseline is None or baseline in pair.models]
    chances = np.array([pair.chances(pair.models[0]) for pair in pairs])
    return consistency(chances[:, 0], chances[:, 1])


def results(
    pairs: Sequence[Pair],
    baseline: str | None = None,
    references: str = "",
    made: Mapping[str, Any] = {},
) -> list[Result]:
    """Return the adjusted win rate per question of each model, to compare.

    Args:
        pairs: Of all models.
        baseline: Whom they meet; where none is given, the one model that is in all rows.
        references: Which answers the judge was shown.
        made: How the judgments came about.

    Raises:
        SettingsError: No model is in all rows, or both are.
    """
    baseline = baseline or _common(pairs)
    pairs = _of_baseline(pairs, baseline)
    record = ProtocolRecord(
        benchmark="mt_bench",
        version="1",
        score="turns won against the baseline in both orders, in percent, a tie half",
        judge=pairs[0].judge,
        baseline=baseline,
        references=references,
        judging="in pairs, both orders",
    )
    found = []
    for model, told in score_pairs(pairs, baseline).items():
        rows = _by_question([pair for pair in pairs if model in pair.models], model)
        about = {**made, "n_invalid": told.n_invalid}
        found.append(Result(record, model, tuple(rows), told._asdict(), about))
    return found


def _score(pairs: Sequence[Pair], model: str) -> PairScore:
    valid = [pair for pair in pairs if pair.is_valid]
    outcomes = [pair.outcome(model) for pair in valid]
    win, loss, num = outcomes.count(1.0), outcomes.count(0.0), len(outcomes)
    scores = _by_question(pairs, model)
    weights_Q = np.array([row.weight for row in scores])
    sums_Q = weights_Q * [row.score / 100 for row in scores]
    lower, upper = percentiles(weighted_means(sums_Q, weights_Q, draw_counts(len(scores))))
    orders = consistency(*np.array([pair.chances(model) for pair in valid]).T)
    return PairScore(
        win=win,
        loss=loss,
        tie=num - win - loss,
        win_rate=win / num,
        loss_rate=loss / num,
        win_rate_adjusted=_mean(outcomes),
        lower=lower,
        upper=upper,
        n=num,
        by_turn=_means((str(pair.turn), x) for pair, x in zip(valid, outcomes, strict=True)),
        by_category=_means((pair.category, x) for pair, x in zip(valid, outcomes, strict=True)),
        consistent_frac=orders.consistent_frac,
        first_bias=orders.first_bias,
        n_invalid=len(pairs) - num,
    )


def _by_question(pairs: Sequence[Pair], model: str) -> list[PromptScore]:
    found: dict[tuple[int, str], list[float]] = {}
    for pair in pairs:
        if pair.is_valid:
            found.setdefault((pair.question, pair.category), []).append(pair.outcome(model))
    return [
        PromptScore(str(question), category, 100 * _mean(outcomes), float(len(outcomes)))
        for (question, category), outcomes in sorted(found.items())
    ]


def _means(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for name, outcome in rows:
        found.setdefault(name, []).append(outcome)
    return {name: _mean(outcomes) for name, outcomes in found.items()}


def _mean(outcomes: Sequence[float]) -> float:
    return math.fsum(outcomes) / len(outcomes)


def _of_baseline(pairs: Sequence[Pair], baseline: str) -> list[Pair]:
    kept = [pair for pair in pairs if baseline in pair.models]
    if not kept:
        names = ", ".join(sorted({model for pair in pairs for model in pair.models}))
        raise SettingsError(f"baseline: found {baseline!r}, expected one of {names}")
    return kept


def _common(pairs: Sequence[Pair]) -> str:
    shared = set.intersection(*(set(pair.models) for pair in pairs))
    if len(shared) != 1:
        found = f"{' and '.join(sorted(shared))} in all rows" if shared else "no model in all rows"
        raise SettingsError(f"found {found}; name whom the others meet: --baseline NAME")
    return shared.pop()


def _warn(pairs: Sequence[Pair]) -> None:
    invalid = sum(not pair.is_valid for pair in pairs)
    if invalid:
        logger.warning("%d turns with a game without a verdict are left out", invalid)
    keys = Counter((pair.question, pair.turn, frozenset(pair.models)) for pair in pairs)
    repeated = sum(times > 1 for times in keys.values())
    if repeated:
        logger.warning(
            "%d turns are judged more than once for a pair; each judgment counts", repeated
        )


def _pair(row: Row, categories: Mapping[int, str]) -> Pair:
    question, turn = row.whole("question_id"), row.whole("turn")
    if turn not in (1, 2):
        raise DataError(f"{row.where}: turn: found {turn}, expected 1 or 2")
    winners = row.text("g1_winner"), row.text("g2_winner")
    for column, winner in zip(("g1_winner", "g2_winner"), winners, strict=True):
        if winner not in _WINNERS:
            raise DataError(
                f"{row.where}: {column}: found {winner!r:.80}, expected {', '.join(_WINNERS)}"
            )
    models = row.text("model_1"), row.text("model_2")
    if models[0] == models[1]:
        raise DataError(f"{row.where}: found {models[0]} against itself; leave it out")
    named = row.values.get("category")
    category = str(named) if named else categories.get(question) or category_of(question)
    return Pair(question, category, turn, models, winners, *judge_of(row))
