"""Orders of removal: found step by step, kept in a journal, read from a file, scored."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from inarch.errors import DataError
from inarch.io.files import append_metrics, read_metrics
from inarch.io.progress import track
from inarch.prune import METHODS, Block, Step
from inarch.prune._blocks import BlockModel
from inarch.prune._fold import folded, folds_of
from inarch.prune._lists import read_list
from inarch.prune._loss import batches_of, plain_nll
from inarch.prune._rows import Rows
from inarch.prune._score import ModelSubject
from inarch.prune._subject import Formula
from inarch.prune.settings import SearchSettings

logger = logging.getLogger(__name__)

ORDER = "order.json"
"""The file of a run that `read_order` reads."""
Enough = Callable[[Sequence[Step]], bool]
"""Whether a target is reached."""


def find_order(
    method: tuple[str, Any],
    subject: ModelSubject,
    journal: Path,
    before: Sequence[Step],
    enough: Enough,
) -> list[Step]:
    """Return the steps up to a target, each in the journal as soon as it is decided.

    Steps that the journal holds are not looked for again.

    Args:
        method: Name and settings.
        subject: What the method sees.
        journal: ``.jsonl`` with a row per step.
        before: Steps that hold before the first: blocks that an earlier cut left empty.
        enough: Whether the steps that were found reach the target.
    """
    name, settings = method
    found = [step_of(row) for row in read_metrics(journal)] if journal.exists() else []
    if enough(found):
        return until(found, enough)
    if found:
        logger.info("%s: going on after %d steps", name, len(found))
    steps = METHODS[name].steps(subject, settings, (*before, *found))
    began = time.monotonic()
    with track(name, None, "steps", done=len(found)) as advance:
        for step in steps:
            row = as_row(step) | {"wall_s": round(time.monotonic() - began, 3)}
            append_metrics(journal, row)
            found.append(step)
            advance(1)
            if enough(found):
                return found
            began = time.monotonic()
    return found


def until(steps: Sequence[Step], enough: Enough) -> list[Step]:
    """Return the fewest first steps that are enough, or all."""
    for num in range(1, len(steps) + 1):
        if enough(steps[:num]):
            return list(steps[:num])
    return list(steps)


def gone_by(steps: Sequence[Step]) -> list[Block]:
    """Return the blocks that steps remove, in their order."""
    return [block for step in steps for block in step.unit]


def as_row(step: Step) -> dict[str, Any]:
    """Return a step as a row of a journal."""
    row = step._asdict() | {"unit": [list(block) for block in step.unit]}
    if not math.isfinite(step.score):
        row["score"] = None
    return row


def step_of(row: dict[str, Any]) -> Step:
    """Return the step of a row; a score that is not known is NaN."""
    known = {name: row[name] for name in Step._fields if name in row}
    score = math.nan if known.get("score") is None else float(known["score"])
    return Step(**known | {"unit": tuple(Block(*pair) for pair in known["unit"]), "score": score})


def flat(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the blocks in the order of removal, each with the score of its step."""
    return [
        {"kind": block.kind, "layer": block.layer, "score": as_row(step)["score"]}
        for step in steps
        for block in step.unit
    ]


def read_order(path: str, blocks: Sequence[Block], model_digest: str) -> list[Step]:
    """Return the steps of an ``order.json`` of ours, or of a list of the reference code.

    Args:
        path: The file.
        blocks: Of the model.
        model_digest: Of the model.

    Raises:
        DataError: It is neither, is of another model, or names a block that this one does not have.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); expected an order") from None
    if isinstance(found, dict) and found.get("model_digest", model_digest) != model_digest:
        raise DataError(
            f"{path}: is an order of {found.get('model')}, whose weights are not those of this"
            " model; expected an order of its own; leave order out to search"
        )
    if isinstance(found, dict) and "steps" in found:
        try:
            steps = [step_of(row) for row in found["steps"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: found steps without {error}; expected an order") from None
    else:
        try:
            steps = [Step((block,), math.nan) for block in read_list(text)]
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    gone = gone_by(steps)
    strange = sorted({block for block in gone if block not in blocks or gone.count(block) > 1})
    if strange:
        raise DataError(
            f"{path}: removes {strange[0].kind}{strange[0].layer}, which the model does not have,"
            " or twice; expected an order of this model's blocks"
        )
    return steps


def losses_along(
    model: BlockModel,
    rows: Rows,
    settings: SearchSettings,
    steps: Sequence[Step],
    formula: Formula = "sum",
) -> Iterator[float]:
    """Yield the mean NLL, in nats, of the whole model, and after each step.

    Args:
        model: The model.
        rows: What the mean is over.
        settings: The estimator.
        steps: In order.
        formula: How steps of LaCo fold layers.
    """
    batches = batches_of(rows, settings.batch_rows, model.model.device, slice(None))
    counts = rows.supervised_ST.sum(1).tolist()
    for num in range(len(steps) + 1):
        gone = gone_by(steps[:num])
        with torch.no_grad(), folded(model, folds_of(steps[:num]), formula), model.without(gone):
            sums = [nll for batch in batches for nll in plain_nll(model, batch).tolist()]
        if settings.mean == "row":
            yield math.fsum(nll / n for nll, n in zip(sums, counts, strict=True)) / len(counts)
        else:
            yield math.fsum(sums) / sum(counts)
