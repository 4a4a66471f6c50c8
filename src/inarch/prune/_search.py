"""The searches: one unit after the other by the loss without it, or all by one ranking.

They see losses only, so a made-up `Subject` tests them.
"""

import heapq
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite

from inarch.errors import DataError
from inarch.prune._order import Block, Step, Unit, name_of
from inarch.prune._subject import Subject
from inarch.prune._units import Candidates

logger = logging.getLogger(__name__)

Error = Callable[[Unit, Unit], float | None]


def greedy(subject: Subject, candidates: Candidates, done: Sequence[Step] = ()) -> Iterator[Step]:
    """Yield the unit whose removal leaves the least loss, again and again until none is left.

    Of equal losses the first candidate's wins. A loss that is not finite never does.

    Raises:
        DataError: No candidate has a finite loss, or ``done`` is not of this model.
    """
    removed = removed_by(done, subject)
    while units := candidates(survivors(subject, removed)):
        step = decide(units, subject.losses(removed, units, top=2), subject.margin_error)
        yield step
        removed |= set(step.unit)


def lazy_greedy(
    subject: Subject, candidates: Candidates, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield what `greedy` yields if losses never fall as more is removed, from fewer losses.

    The loss of a unit in an earlier step bounds the present one from below. Units are scored again
    in the order of their bounds until the best present loss is below all bounds that are left, each
    lowered by the largest fall seen so far: a loss that falls below its bound is counted in
    ``num_fallen`` and makes the search distrust all others by as much. The order is that of
    `greedy` unless a loss that was not looked at has fallen further than every fall seen.
    ``margin`` is a lower bound where the second best is a bound.

    Raises:
        DataError: No candidate has a finite loss, or ``done`` is not of this model.
    """
    removed = removed_by(done, subject)
    bounds: dict[Unit, float] = {}
    largest_fall = 0.0
    while units := candidates(survivors(subject, removed)):
        unknown = [unit for unit in units if unit not in bounds]
        fresh = dict(zip(unknown, subject.losses(removed, unknown), strict=True)) if unknown else {}
        queue = [(bounds[unit], unit) for unit in units if unit in bounds]
        heapq.heapify(queue)
        best, num_fallen = min((x for x in fresh.values() if isfinite(x)), default=inf), 0
        while queue and queue[0][0] - largest_fall <= best:
            bound, unit = heapq.heappop(queue)
            (fresh[unit],) = subject.losses(removed, [unit])
            if fresh[unit] < bound:
                num_fallen += 1
                largest_fall = max(largest_fall, bound - fresh[unit])
            if isfinite(fresh[unit]):
                best = min(best, fresh[unit])
        bounds |= {unit: loss if isfinite(loss) else -inf for unit, loss in fresh.items()}
        tried = sorted(fresh)
        step = decide(tried, [fresh[unit] for unit in tried], subject.margin_error)
        if queue:
            limit = queue[0][0] - largest_fall - step.score
            if step.margin is None or limit < step.margin:
                step = step._replace(margin=limit, margin_error=None)
        if num_fallen:
            logger.warning(
                "%d losses fell, by up to %.2g nats, when %s went: the lazy order may differ from"
                " the plain one",
                num_fallen,
                largest_fall,
                name_of(step.unit),
            )
        yield step._replace(evaluations=len(fresh), num_fallen=num_fallen)
        removed |= set(step.unit)


def ranked(
    scores: Mapping[Unit, float], done: Sequence[Step] = (), *, evaluations: int = 0
) -> Iterator[Step]:
    """Yield all units by rising score, the first of equals first, but for those that are done.

    Units without a finite score never go.

    Args:
        scores: Of each unit.
        done: Steps of an earlier run.
        evaluations: Losses that the ranking took, noted in its first step.

    Raises:
        DataError: No score is finite.
    """
    order = sorted((score, unit) for unit, score in scores.items() if isfinite(score))
    if scores and not order:
        decide(list(scores), list(scores.values()))
    gone = {block for step in done for block in step.unit}
    for i, (score, unit) in enumerate(order):
        if not gone & set(unit):
            margin = order[i + 1][0] - score if i + 1 < len(order) else None
            yield Step(unit, score, margin, evaluations=0 if i else evaluations)


def decide(units: Sequence[Unit], losses: Sequence[float], error: Error | None = None) -> Step:
    """Return the removal of the unit of least finite loss, the first of equals.

    Args:
        units: The candidates, in the order of ties.
        losses: Of each.
        error: Tells the standard error of the margin between two.

    Raises:
        DataError: No loss is finite.
    """
    finite = [(loss, i) for i, loss in enumerate(losses) if isfinite(loss)]
    if not finite:
        found = ", ".join(
            f"{name_of(u)}: {x}" for u, x in list(zip(units, losses, strict=True))[:4]
        )
        raise DataError(
            f"no candidate has a finite loss ({found}{', ...' if len(units) > 4 else ''}); expected"
            " the model to predict the calibration text; check that the whole model's loss is"
            " finite, or use a wider number format"
        )
    (best, i), *others = sorted(finite)[:2]
    margin = others[0][0] - best if others else None
    spread = error(units[i], units[others[0][1]]) if others and error else None
    return Step(units[i], best, margin, spread, sum(loss != inf for loss in losses))


def survivors(subject: Subject, removed: set[Block]) -> list[Block]:
    """Return the blocks that are left, in the order of the stream."""
    return sorted(set(subject.blocks) - removed, key=lambda block: block.place)


def removed_by(done: Sequence[Step], subject: Subject) -> set[Block]:
    """Return the blocks that the steps took.

    Raises:
        DataError: One is not in the model, or goes twice.
    """
    gone = [block for step in done for block in step.unit]
    strange = sorted(set(gone) - set(subject.blocks))
    twice = sorted({block for block in gone if gone.count(block) > 1})
    if strange or twice:
        raise DataError(
            f"the steps done remove {name_of((strange or twice)[:1])}"
            f"{', which this model does not have' if strange else ' twice'}; expected the steps of"
            " an earlier run on this model; start anew in another folder"
        )
    return set(gone)
