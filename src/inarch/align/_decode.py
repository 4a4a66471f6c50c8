"""SEFT: what a reviser wrote, as an answer. What is to be kept stays, byte by byte.

Source:   SEFT, arXiv:2406.10813; an independent implementation from the published abstract.
Differs:  the form of a revision could not be read: a label on the first line, the answer below it.
Shapes:   B = answers, L = labels.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor


class Revised(NamedTuple):
    """An answer after the reviser."""

    text: str
    label: int | None
    """Index into the labels' names, 0 is to keep; None where the original stands in."""
    failure: Literal["", "unparsable", "empty", "unreadable"] = ""
    """Why the original stands in: no label on the first line, nothing below one to revise, or a
    prompt with an answer that does not fit into the reviser."""


def revised(original: str, written: str | None, names: Sequence[str]) -> Revised:
    """Return the answer that a reviser's text stands for; the caller counts failures.

    After the label to keep, and where nothing can be made of the text, it is the original itself,
    whatever else was written. After another label it is what follows the first line, unchanged.

    Args:
        original: The answer that the reviser read.
        written: What it wrote, without special tokens; None where it could not read the answer.
        names: The labels, the one to keep first.
    """
    if written is None:
        return Revised(original, None, "unreadable")
    first, _, rest = written.lstrip().partition("\n")
    name = first.rstrip()
    if name not in names:
        return Revised(original, None, "unparsable")
    label = names.index(name)
    if label == 0:
        return Revised(original, 0)
    return Revised(rest, label) if rest.strip() else Revised(original, None, "empty")


def decide(logps_BL: Tensor, keep_bias: float = 0.0) -> Tensor:
    """Return the most probable label of each answer, int64, ``[B]``; of equals the mildest.

    Args:
        logps_BL: Log-probs of the labels' names as the reviser's first line, in nats, ``[B, L]``.
        keep_bias: Nats that the label to keep, the first, gets on top.
    """
    biased_BL = logps_BL.clone()
    biased_BL[:, 0] += keep_bias
    return biased_BL.argmax(1)  # the first of equals
