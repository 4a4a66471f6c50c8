"""Where the numbers of a job come from: a file, rows by a map, a matrix with an adapter on it.

Shapes: V = rows of the result, W = elements of a row, R = rows of a matrix, C = its columns,
r = rank of an update.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.compiled import compiled
from inarch.io.dtypes import widen
from inarch.io.weights import Checkpoint
from inarch.merge._jobs import Floats, Raw, Source
from inarch.merge._stack import row_length, spans

Ids = npt.NDArray[np.int32]


class FileSource:
    """A source that is a tensor of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        """Take a tensor by the name it is stored under."""
        self.label, self.name = checkpoint.label, name
        self.shape, self.dtype = checkpoint.tensors[name].shape, checkpoint.tensors[name].dtype
        self._checkpoint, self._raw = checkpoint, checkpoint.raw(name)

    def fill(self, start: int, out: Floats) -> bool:
        """Write the elements from flat index `start` on; return whether all are finite."""
        return widen(self._raw[start : start + len(out)], self.dtype, out)

    def raw(self) -> Raw | None:
        """Return the flat array as it lies on disk."""
        return self._raw

    def prefetch(self) -> None:
        """Ask the system to read the tensor ahead."""
        self._checkpoint.will_need(self.name)

    def release(self) -> None:
        """Give the memory of the tensor's pages back."""
        self._checkpoint.forget(self.name)


GIVEN = -1
"""In a row map: the row comes from the models that `Givers` lists."""
MEAN = -2
"""In a row map: the row is the mean of the model's other rows in the result."""


class Givers(NamedTuple):
    """Which rows of which models a row is averaged from; from none, it is zero."""

    offsets: Ids
    """Row i has the givers ``offsets[i] : offsets[i + 1]``, ``[V + 1]``."""
    models: Ids
    """Index of each giver's model."""
    rows: Ids
    """Row of each giver in its model."""


class RowsSource:
    """A source whose row i is row ``own[i]`` of a model, or the mean of what other models give."""

    def __init__(self, source: Source, own: Ids, givers: Givers, sources: Sequence[Source]) -> None:
        """Map the rows of a source.

        Args:
            source: The model's tensor; its first axis are the rows.
            own: For each row of the result, the model's own, or GIVEN or MEAN, ``[V]``.
            givers: Where GIVEN rows come from.
            sources: The same tensor in all models that `givers` numbers.
        """
        self.label, self.dtype = source.label, source.dtype
        self.shape = (len(own), *source.shape[1:])
        self._source, self._own, self._givers, self._sources = source, own, givers, sources
        self._width = row_length(source.shape)

    def fill(self, start: int, out: Floats) -> bool:
        """Write the elements from flat index `start` on; return whether all are finite."""
        rows = out.reshape(-1, self._width)
        first = start // self._width
        finite = True
        for begin, end in _runs(self._own[first : first + len(rows)]):
            own = int(self._own[first + begin])
            if own >= 0:
                finite &= self._source.fill(own * self._width, rows[begin:end].reshape(-1))
            elif own == MEAN:
                rows[begin:end] = self._mean
            else:
                finite &= self._give(first + begin, rows[begin])
        return finite

    def _give(self, index: int, row: Floats) -> bool:
        """Write the mean of the givers of one row, summed in float32 in the order of the models."""
        begin, end = self._givers.offsets[index : index + 2].tolist()
        row[:] = 0
        given, finite = np.empty_like(row), True
        for giver in range(begin, end):
            source = self._sources[self._givers.models[giver]]
            finite &= source.fill(int(self._givers.rows[giver]) * self._width, given)
            row += given
        if end - begin > 1:
            row /= np.float32(end - begin)
        return finite

    @cached_property
    def _mean(self) -> Floats:
        """Return the mean of all rows that are none themselves, ``[W]``."""
        num_rows = int(np.flatnonzero(self._own != MEAN)[-1]) + 1
        total = np.zeros(self._width)
        for start, end in spans((num_rows, self._width)):
            part = np.empty(end - start, np.float32)
            self.fill(start, part)
            total += part.reshape(-1, self._width).sum(axis=0, dtype=np.float64)
        return (total / num_rows).astype(np.float32)

    def raw(self) -> Raw | None:
        """Return the flat array on disk, if the map takes the first rows as they are."""
        raw = self._source.raw()
        if raw is None or not np.array_equal(self._own, np.arange(len(self._own))):
            return None
        return raw[: len(self._own) * self._width]

    def prefetch(self) -> None:
        """Pass the hint on."""
        self._source.prefetch()

    def release(self) -> None:
        """Pass the hint on."""
        self._source.release()


def _runs(own: Ids) -> Iterator[tuple[int, int]]:
    """Return the ``[begin, end)`` of rows that follow each other in the model; others are alone."""
    follows = (np.diff(own) == 1) & (own[:-1] >= 0)
    edges = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(own)]
    return itertools.pairwise(edges)


class LowRankSource:
    """A source plus ``left @ right``: a matrix with an adapter on it."""

    def __init__(self, source: Source, load: Callable[[], tuple[Floats, Floats]]) -> None:
        """Add a low-rank update to a matrix.

        Args:
            source: The matrix, ``[R, C]``.
            load: Returns left ``[R, r]``, scale included, and right ``[r, C]``. It is called when
                they are first needed, and again if they are after `release`.
        """
        self.label, self.dtype, self.shape = source.label, source.dtype, source.shape
        self._source, self._load, self._lock = source, load, threading.Lock()
        self._factors: tuple[Floats, Floats] | None = None

    def fill(self, start: int, out: Floats) -> bool:
        """Write the elements from flat index `start` on; return whether all are finite."""
        finite = self._source.fill(start, out)
        with self._lock:
            left, right = self._factors = self._factors or self._load()
        rows = out.reshape(-1, self.shape[1])
        first = start // self.shape[1]
        add_product(rows, left[first : first + len(rows)], right)
        return finite

    def raw(self) -> Raw | None:
        """Return None: the sum is not on disk."""
        return None

    def prefetch(self) -> None:
        """Pass the hint on."""
        self._source.prefetch()

    def release(self) -> None:
        """Drop the factors, and pass the hint on."""
        self._factors = None
        self._source.release()


def add_product(out: Floats, left: Floats, right: Floats) -> None:
    """Add ``left @ right`` to `out`, term by term in the order of the rank, in float32.

    A library's product would be faster, but its bits depend on its threads.

    Args:
        out: ``[R, C]``.
        left: ``[R, r]``.
        right: ``[r, C]``.
    """
    if _PRODUCT:
        _PRODUCT(out, left, right)
        return
    for k in range(len(right)):
        out += left[:, k : k + 1] * right[k]


def _product(out, left, right):  # type: ignore[no-untyped-def]
    width, rank = out.shape[1], right.shape[0]
    for begin in range(0, width, 2048):  # what stays in the first cache
        end = min(begin + 2048, width)
        for i in range(out.shape[0]):
            row = out[i, begin:end]
            for k in range(0, rank - 3, 4):  # four terms for one visit of the row
                a, b, c, d = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
                right_a, right_b = right[k, begin:end], right[k + 1, begin:end]
                right_c, right_d = right[k + 2, begin:end], right[k + 3, begin:end]
                for j in range(row.size):
                    row[j] = (
                        ((row[j] + a * right_a[j]) + b * right_b[j]) + c * right_c[j]
                    ) + d * right_d[j]
            for k in range(rank - rank % 4, rank):
                right_a = right[k, begin:end]
                for j in range(row.size):
                    row[j] = row[j] + left[i, k] * right_a[j]


_PRODUCT = compiled(_product)
