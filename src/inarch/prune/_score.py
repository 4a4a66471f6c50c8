"""The losses of a model without some of its blocks: what the searches ask for, on real models.

Each candidate goes through all batches before the next one does. Batches are shared out to the
replicas of the model, if there are several; sums are over rows in their order, so that the losses
do not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Literal

from torch.nn.functional import cosine_similarity

from inarch.prune._blocks import BlockModel
from inarch.prune._fold import folded
from inarch.prune._lane import Work
from inarch.prune._loss import chunked_nll, plain_nll
from inarch.prune._measures import contrast, last_hidden
from inarch.prune._order import Block, Unit
from inarch.prune._paired import gap, gap_error
from inarch.prune._replica import Nll, Replica, replicas
from inarch.prune._rows import Rows, check_rows
from inarch.prune._runs import Runs
from inarch.prune._subject import Fold, Formula, Measure
from inarch.prune.settings import SearchSettings

if TYPE_CHECKING:
    import torch

RACING_ROWS = 8
"""Rows after which candidates may drop out of a race; then at twice as many, and so on."""

GUARD = 1e-5
"""Relative difference to the best loss below which chunked losses are computed again in full."""


class ModelSubject:
    """A `Subject` with a real model.

    Losses are bit for bit those of whole forwards, whatever the settings; with ``chunked_loss``,
    those of candidates that are about as good as the best.
    """

    def __init__(
        self,
        model: BlockModel,
        rows: Rows,
        settings: SearchSettings,
        devices: Sequence[str | torch.device] = (),
        on_loss: Callable[[Unit, float], None] | None = None,
    ):
        """Share out the rows.

        Args:
            model: The model.
            rows: What losses are the mean over.
            settings: The estimator and the savings.
            devices: Where to put replicas, which share the rows; none: the model as it is.
            on_loss: Called with a candidate and its loss as soon as that is known.

        Raises:
            DataError: There is no mean over the rows.
        """
        check_rows(rows)
        self.blocks = model.blocks
        self.settings = settings
        self._counts: list[int] = rows.supervised_ST.sum(1).tolist()
        self._weights = [1] * len(self._counts) if settings.mean == "row" else self._counts
        self._runs = Runs(replicas(model, devices) or [model], rows, settings)
        self._on_loss = on_loss
        self._sums: dict[Unit, list[float]] = {}
        self._guess: dict[Unit, float] = {}

    @property
    def work(self) -> Work:
        """What was run for losses so far."""
        return self._runs.work

    def losses(
        self, removed: Collection[Block], candidates: Sequence[Unit], *, top: int | None = None
    ) -> list[float]:
        """Return the mean NLL, in nats, of the model without ``removed`` and each candidate.

        See `Subject.losses`. A candidate that was stopped has ``inf``.
        """
        if self._runs.go_to(removed, candidates):
            self._sums = {}
        if self.settings.racing is not None and top is not None:
            totals = self._race(candidates, self.settings.racing, top)
        else:
            totals = self._in_turn(candidates, top if self.settings.early_stop else None)
        if self.settings.chunked_loss:
            best = min(filter(isfinite, totals), default=inf)
            close = [i for i, total in enumerate(totals) if total <= best * (1 + GUARD)]
            for i in close if len(close) > 1 else ():
                totals[i] = self._total(candidates[i], i, inf, in_full=True)
        return [total / sum(self._weights) for total in totals]

    def margin_error(self, best: Unit, second: Unit) -> float | None:
        """Return the standard error of a difference; see `Subject.margin_error`."""
        first, other = self._sums.get(best, []), self._sums.get(second, [])
        if not len(first) == len(other) == len(self._counts) > 1:
            return None
        return gap_error(first, other, self._weights)

    def contrast(
        self,
        places: Sequence[tuple[int, int]],
        measure: Measure,
        positions: Literal["all", "last"] = "all",
    ) -> list[float]:
        """Return the mean of a measure over positions; see `Subject.contrast`."""
        sums, nums = [0.0] * len(places), [0] * len(places)
        for turn in range(self._runs.num_turns):
            for found in self._runs.on_all(
                turn, lambda at, i: contrast(at.model, at.batches[i], places, measure, positions)
            ):
                sums = [a + b for a, (b, _) in zip(sums, found, strict=True)]
                nums = [a + b for a, (_, b) in zip(nums, found, strict=True)]
        return [a / b for a, b in zip(sums, nums, strict=True)]

    def folded_similarity(self, folds: Sequence[Fold], formula: Formula) -> float:
        """Return how alike the last hidden states are; see `Subject.folded_similarity`."""

        def of_batch(at: Replica, i: int) -> list[float]:
            whole = list(last_hidden(at.model, at.batches[i]))
            with folded(at.model, folds, formula):
                changed = list(last_hidden(at.model, at.batches[i]))
            return [
                cosine_similarity(a, b, dim=0).item() for a, b in zip(whole, changed, strict=True)
            ]

        turns = [self._runs.on_all(turn, of_batch) for turn in range(self._runs.num_turns)]
        values = [value for turn in turns for rows in turn for value in rows]
        return sum(values) / len(values)

    # ------------------------------------------------------------------------------------ insides

    def _in_turn(self, candidates: Sequence[Unit], top: int | None) -> list[float]:
        """Return the sums over rows, one candidate after the other.

        Args:
            candidates: What to leave out.
            top: Candidates that are surely not among the best so many are stopped; None: none is.
        """
        totals = [inf] * len(candidates)
        visits = list(range(len(candidates)))
        if top is not None:  # good ones first: the limit is low sooner
            visits.sort(key=lambda i: self._guess.get(candidates[i], 0.0))
        for i in visits:
            totals[i] = self._total(candidates[i], i, self._limit(totals, top))
        return totals

    def _limit(self, totals: Sequence[float], top: int | None) -> float:
        """Return what no total may exceed that is to be among the best ``top``."""
        known = sorted(filter(isfinite, totals))
        if top is None or len(known) < top:
            return inf
        return known[top - 1] * (1 + GUARD if self.settings.chunked_loss else 1)

    def _total(self, unit: Unit, index: int, limit: float, *, in_full: bool = False) -> float:
        """Return a candidate's sum over rows, ``inf`` where it exceeds the limit on the way."""
        nll = chunked_nll if self.settings.chunked_loss and not in_full else plain_nll
        self._sums[unit] = []
        for turn in range(self._runs.num_turns):
            self._run(unit, turn, nll)
            if _total(self._sums[unit]) > limit:
                break
        total, num_rows = _total(self._sums[unit]), len(self._sums[unit])
        is_whole = num_rows == len(self._counts)
        guess = total * len(self._counts) / num_rows
        self._guess[unit] = guess if isfinite(guess) else inf
        self._runs.retain(unit, index, total if is_whole else inf)
        return self._told(unit, total if is_whole else inf)

    def _race(self, candidates: Sequence[Unit], num_errors: float, top: int) -> list[float]:
        """Return the sums over rows; ``inf`` for those that fell behind on a part of them."""
        nll = chunked_nll if self.settings.chunked_loss else plain_nll
        self._sums |= {unit: [] for unit in candidates}
        left, check_at = list(candidates), RACING_ROWS
        for turn in range(self._runs.num_turns):
            for unit in left:
                self._run(unit, turn, nll)
            if check_at <= len(self._sums[left[0]]) < len(self._counts):
                check_at = 2 * len(self._sums[left[0]])
                left.sort(key=lambda unit: _total(self._sums[unit]))
                left = left[:top] + [
                    unit for unit in left[top:] if not self._is_behind(left[0], unit, num_errors)
                ]
        for unit in candidates:
            self._runs.retain(unit, 0, inf)
        return [
            self._told(unit, _total(self._sums[unit]) if unit in left else inf)
            for unit in candidates
        ]

    def _is_behind(self, leader: Unit, unit: Unit, num_errors: float) -> bool:
        sums = self._sums[leader], self._sums[unit]
        return gap(*sums, self._weights) > num_errors * gap_error(*sums, self._weights)

    def _told(self, unit: Unit, total: float) -> float:
        if self._on_loss:
            self._on_loss(unit, total / sum(self._weights))
        return total

    def _run(self, unit: Unit, turn: int, nll: Nll) -> None:
        """Run the rows of a turn without a unit, and note their sums, or means."""
        sums = self._sums[unit]
        for value in self._runs.row_sums(unit, turn, nll):
            by = self._counts[len(sums)] if self.settings.mean == "row" else 1
            sums.append(value / by)


def _total(sums: Sequence[float]) -> float:
    """Return the sum, added up from the first to the last: `sum` of newer Pythons does not."""
    total = 0.0
    for value in sums:
        total += value
    return total
