"""Rows of different lengths as one batch.

Shapes: B = rows, T = padded length, N = supervised positions of the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.records import TokenRow


class Padded(NamedTuple):
    """A batch, padded right with id 0 that the mask hides."""

    ids_BT: NDArray[np.int64]
    mask_BT: NDArray[np.int64]
    """1 at tokens, 0 at padding."""
    flat_N: NDArray[np.int64]
    """Supervised positions of all rows, as indices into the flattened [B * T]."""
    next_N: NDArray[np.int64]
    """The token that follows each of them."""


def pad(rows: Sequence[TokenRow]) -> Padded:
    """Return one batch of the rows, in their order."""
    width = max(len(row.ids) for row in rows)
    ids_BT = np.zeros((len(rows), width), np.int64)
    mask_BT = np.zeros((len(rows), width), np.int64)
    flat, following = [], []
    for b, row in enumerate(rows):
        ids_BT[b, : len(row.ids)] = row.ids
        mask_BT[b, : len(row.ids)] = 1
        at_P = np.flatnonzero(row.supervised)
        flat.append(b * width + at_P)
        following.append(row.ids[at_P + 1])
    return Padded(ids_BT, mask_BT, np.concatenate(flat), np.concatenate(following).astype(np.int64))
