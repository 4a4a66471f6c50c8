"""What several cases or several judges say together: order, canary, the mean of judges."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from inarch.evaluate.judges.agreement import consistency, position_effect
from inarch.evaluate.judges.benchmark import JudgedModel
from inarch.evaluate.protocol import PromptScore, Result, mean_score

MIDDLE = 50.0
"""In percent, of a benchmark that compares with a baseline: what the baseline itself gets."""


NUM_REASONS = 5
"""Of failures, that are named."""
OTHERS = "other reasons"


class Canary(NamedTuple):
    """What a constant answer got."""

    score: float
    must_be_below: float
    """50 against a baseline; else what the worst model got."""

    @property
    def sings(self) -> bool:
        """Return whether the answer did better than it may, so that the judge is not to trust."""
        return self.score >= self.must_be_below


def order_effect(judged: Sequence[JudgedModel]) -> dict[str, Any] | None:
    """Return what being shown first does to a judge, None where it sees one answer only.

    Where the same answers are shown in both orders this is `consistency`, else `position_effect`;
    None, too, where one of the orders has no verdict.
    """
    by_order: dict[tuple[str, str, str], dict[bool, float]] = defaultdict(dict)
    for one in judged:
        for case, ruling in zip(one.cases, one.rulings, strict=True):
            if case.model_first is not None and case.ruling is None:
                key = one.model, case.question, case.part
                by_order[key][case.model_first] = ruling.value
    both = [row for row in by_order.values() if len(row) == 2]
    if both:
        first_N, second_N = (np.array([row[shown] for row in both]) for shown in (True, False))
        if not (np.isfinite(first_N) & np.isfinite(second_N)).any():
            return None
        return consistency(first_N, second_N)._asdict()
    single = [item for row in by_order.values() for item in row.items()]
    shown_first_N = np.array([shown for shown, _ in single], np.bool_)
    chance_N = np.array([chance for _, chance in single])
    valid = {shown for shown, chance in single if not math.isnan(chance)}
    return position_effect(chance_N, shown_first_N)._asdict() if len(valid) == 2 else None


def commonest(failures: Counter[str]) -> dict[str, int]:
    """Return how often things failed, by the commonest reasons; the others are one."""
    named = dict(failures.most_common(NUM_REASONS))
    rest = failures.total() - sum(named.values())
    return named | ({OTHERS: rest} if rest else {})


def canary_of(constant: Result, others: Sequence[Result], compares: bool) -> Canary | None:
    """Return what a constant answer got, and what it must stay below; None if that is not known.

    Args:
        constant: Its result.
        others: Those of the models, by the same judge.
        compares: The benchmark compares with a baseline, in percent.
    """
    if not compares and not others:
        return None
    limit = MIDDLE if compares else min(mean_score(result.scores) for result in others)
    return Canary(mean_score(constant.scores), limit)


def mean_of_judges(results: Mapping[str, Result]) -> Result | None:
    """Return one model's mean over judges, prompt by prompt; None without a common prompt.

    All that the judges said counts alike, so that the mean lies between theirs.

    Args:
        results: By judge.
    """
    first = next(iter(results.values()))
    by_judge = [{row.prompt: row for row in result.scores} for result in results.values()]
    shared = [
        [rows[row.prompt] for rows in by_judge]
        for row in first.scores
        if all(row.prompt in rows for rows in by_judge)
    ]
    if not shared:
        return None
    scores = tuple(_mean_row(rows) for rows in shared)
    names = ", ".join(result.protocol.judge for result in results.values())
    ways = dict.fromkeys(result.protocol.judging for result in results.values())
    record = first.protocol.model_copy(
        update={"judge": f"mean of {names}", "judging": "; ".join(ways)}
    )
    summary = {"mean": mean_score(scores), "n": len(scores)}
    return Result(record, first.model, scores, summary, {"judges": list(results)})


def _mean_row(rows: Sequence[PromptScore]) -> PromptScore:
    """Return the mean over all that the judges said of a prompt, strong verdicts as often as is."""
    weight = math.fsum(row.weight for row in rows)
    score = math.fsum(row.score * row.weight for row in rows) / weight
    return rows[0]._replace(score=score, weight=weight)
