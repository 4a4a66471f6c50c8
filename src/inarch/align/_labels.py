"""SEFT: what a reviser is to learn, from answers with scores.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  the abstract has a reviser that raises low-quality answers and maintains high-quality
          ones. How many labels it writes, their names, the thresholds between them and the share
          of answers to keep could not be read, and are choices made here.
"""

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator

from inarch.align._read import Prompt
from inarch.errors import DataError
from inarch.settings import Settings

logger = logging.getLogger(__name__)

FEW = 0.05
"""Share of rows to keep below which a reviser is likely to change every answer."""


class LabelSettings(Settings):
    """Which answers are to be kept, and how strongly the others are to be revised."""

    names: tuple[str, ...] = Field(
        default=("[No Revise]", "[Minor Revise]", "[Major Revise]"), min_length=2
    )
    """What the reviser writes first: the label to keep, then those to revise, mildest first."""
    thresholds: tuple[float, ...] = (0.0, 0.5)
    """The largest distance of each label but the last, ascending."""
    scale: Literal["gap", "quantile"] = "quantile"
    """Thresholds are gaps between scores, or shares of the answers that are not the best."""
    keep_frac: float = Field(default=0.4, gt=0.0, lt=1.0)
    """Share of rows to keep. Best answers are added up to it."""
    keep_text: bool = True
    """After the label to keep, the answer is written out; otherwise the label stands alone."""

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        names, edges = self.names, self.thresholds
        lines = all(n == n.strip() and len(n.splitlines()) == 1 for n in names)
        if len(set(names)) < len(names) or not lines:
            raise ValueError(f"found names {names}, expected different texts of one line each")
        if len(edges) != len(names) - 1:
            raise ValueError(
                f"found {len(edges)} thresholds for {len(names)} names, expected one less"
            )
        top = 1.0 if self.scale == "quantile" else math.inf
        if not (edges[0] >= 0 and edges[-1] <= top and all(a < b for a, b in pairwise(edges))):
            raise ValueError(f"found thresholds {edges}, expected them ascending in [0, {top}]")
        return self


class Distance(NamedTuple):
    """An answer, and how far it is from the best one to the same prompt."""

    where: str
    """Row of the data, for messages; all answers of a row share it."""
    prompt: Prompt
    best: str
    answer: str
    gap: float
    """Score of the best less that of this one, not below 0."""


class RevisionRow(NamedTuple):
    """What the reviser reads, and what it is to write."""

    prompt: Prompt
    original: str
    label: int
    """Index into ``names``; 0 is to keep."""
    target: str
    """The label, a newline, and the better answer, or the original where it is to be kept."""


class Revisions(NamedTuple):
    """Training rows of a reviser."""

    rows: tuple[RevisionRow, ...]
    thresholds: tuple[float, ...]
    """Gaps between scores, whatever the scale; to be stored with the reviser."""
    counts: tuple[int, ...]
    """Rows per label."""


def distances(
    where: str, prompt: Prompt, answers: Sequence[str], scores: Sequence[float]
) -> list[Distance]:
    """Return all answers to a prompt but the best, the first of equals, with their distances.

    Args:
        where: Row of the data, for messages.
        prompt: What the answers are to.
        answers: Two or more.
        scores: Theirs, higher is better. Of a ranking, the negative ranks.

    Raises:
        DataError: Numbers differ, or a score is not finite.
    """
    if len(answers) != len(scores) or len(answers) < 2:
        raise DataError(
            f"{where}: found {len(answers)} answers and {len(scores)} scores, expected two or more"
            " of each, as many of one as of the other"
        )
    if not all(math.isfinite(score) for score in scores):
        raise DataError(f"{where}: found scores {list(scores)}, expected finite numbers")
    top = max(range(len(scores)), key=scores.__getitem__)
    # Scores are decimals to those who set thresholds: 0.4 - 0.3 is more than 0.1 in binary.
    return [
        Distance(where, prompt, answers[top], answer, round(scores[top] - score, 12))
        for index, (answer, score) in enumerate(zip(answers, scores, strict=True))
        if index != top
    ]


def limits(gaps: Sequence[float], settings: LabelSettings) -> tuple[float, ...]:
    """Return the thresholds as gaps between scores.

    The quantile q of n gaps is the largest of the ``floor(q n)`` smallest, or 0 where there are
    none, so that with q = 0 only answers as good as the best are kept.
    """
    if settings.scale == "gap":
        return settings.thresholds
    ordered = [0.0, *sorted(gaps)]
    # 0.29 * 100 is less than 29 in binary.
    return tuple(ordered[math.floor(q * len(gaps) + 1e-9)] for q in settings.thresholds)


def label(gap: float, thresholds: Sequence[float]) -> int:
    """Return the label of a gap: 0 up to the first threshold, and so on."""
    return bisect_left(thresholds, gap)


def revisions(
    found: Sequence[Distance], settings: LabelSettings, generator: torch.Generator
) -> Revisions:
    """Return the training rows of a reviser: each answer, and best answers that are to be kept.

    An answer is to be revised into the best one, unless its label is to keep it. Best answers are
    drawn at random until ``keep_frac`` of the rows are to be kept, as far as there are some.

    Args:
        found: Of all rows of the data, from `distances`.
        settings: The labels.
        generator: Draws the best answers.

    Raises:
        DataError: No answer is to be revised.
    """
    thresholds = limits([d.gap for d in found], settings)
    rows = []
    for one in found:
        index = label(one.gap, thresholds)
        target = _target(index, one.best if index else one.answer, settings)
        rows.append(RevisionRow(one.prompt, one.answer, index, target))
    num_kept = sum(row.label == 0 for row in rows)
    num_revised = len(rows) - num_kept
    if not num_revised:
        raise DataError(
            f"found {len(rows)} answers, none of them further than {thresholds[0]} from the best to"
            " its prompt, expected some to revise; lower the first threshold"
        )
    wanted = round(num_revised * settings.keep_frac / (1 - settings.keep_frac)) - num_kept
    best = list({d.where: d for d in found}.values())
    drawn = torch.randperm(len(best), generator=generator)[: max(0, wanted)].sort().values.tolist()
    for one in (best[i] for i in drawn):
        rows.append(RevisionRow(one.prompt, one.best, 0, _target(0, one.best, settings)))
    _warn_of_few(num_kept + len(drawn), len(rows))
    counts = tuple(sum(row.label == index for row in rows) for index in range(len(settings.names)))
    return Revisions(tuple(rows), thresholds, counts)


def _target(index: int, answer: str, settings: LabelSettings) -> str:
    name = settings.names[index]
    return f"{name}\n{answer}" if index or settings.keep_text else name


def _warn_of_few(num_kept: int, num_rows: int) -> None:
    if num_kept < FEW * num_rows:
        logger.warning(
            "only %d of %d rows are to be kept; the reviser is likely to change good answers too:"
            " raise keep_frac, or give more prompts",
            num_kept,
            num_rows,
        )
