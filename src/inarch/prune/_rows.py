"""Calibration rows: what a loss is the mean over.

Shapes: S = rows, T = padded length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inarch.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


class Rows(NamedTuple):
    """Token rows of one length, padded right, and the positions that count."""

    ids_ST: Tensor
    """Token ids, int64, ``[S, T]``; any id stands in the padding."""
    supervised_ST: Tensor
    """Position t predicts a token t + 1 that counts, bool, ``[S, T]``; the last is False."""


def check_rows(rows: Rows) -> None:
    """Refuse rows over which there is no mean.

    Raises:
        DataError: The shapes differ, a last position is supervised, or a row has none that is.
    """
    shape = tuple(rows.ids_ST.shape)
    if len(shape) != 2 or shape != tuple(rows.supervised_ST.shape):
        raise DataError(
            f"found rows of shape {shape} and a mask of shape {tuple(rows.supervised_ST.shape)};"
            " expected both to be rows by positions"
        )
    if not shape[0] or shape[1] < 2:
        raise DataError(
            f"found {shape[0]} calibration rows of {shape[1]} tokens; expected at least one row of"
            " two tokens, as a loss is about the next token; give longer texts or a shorter length"
        )
    if bool(rows.supervised_ST[:, -1].any()):
        raise DataError("the last position of a row predicts nothing; expected it unsupervised")
    counts = rows.supervised_ST.sum(1)
    if int(counts.min()) == 0:
        raise DataError(
            f"calibration row {int(counts.argmin())} has no position that counts; expected at least"
            " one in each row; drop the row"
        )
