"""Tokenised preference rows on disk: an Arrow file that is memory-mapped."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inarch.align._rows import AnswerRow
from inarch.io.tables import open_arrow, write_arrow

_SCHEMA = pa.schema(
    {
        "prompt": pa.large_list(pa.int32()),
        "answers": pa.large_list(pa.large_list(pa.int32())),
        "liked": pa.bool_(),
    }
)
_BATCH = 512


def write_rows(path: Path, rows: Iterable[AnswerRow]) -> None:
    """Write rows to an Arrow file, in one piece."""
    write_arrow(path, _SCHEMA, _batches(rows))


def _batches(rows: Iterable[AnswerRow]) -> Iterator[Any]:
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        answers = [[answer.tolist() for answer in row.answers] for row in batch]
        columns = ([row.prompt.tolist() for row in batch], answers, [row.liked for row in batch])
        arrays = [pa.array(c, kind) for c, kind in zip(columns, _SCHEMA.types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


class AnswerRows(Sequence[AnswerRow]):
    """Rows of an Arrow file, by number."""

    def __init__(self, path: Path) -> None:
        table = open_arrow(path, "delete its folder and run the same command again")
        self._batches = table.to_batches()
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> AnswerRow:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        prompt, answers, liked = (
            column[index - int(self._starts[number])] for column in self._batches[number].columns
        )
        found = answers.values
        ids = [found[i].values.to_numpy() for i in range(len(found))]
        return AnswerRow(prompt.values.to_numpy(), tuple(ids), liked.as_py())

    def digest(self) -> str:
        """Return the digest of all rows, 32 hexadecimal digits."""
        total = hashlib.blake2b(digest_size=16)
        for row in self:
            for ids in (row.prompt, *row.answers):
                total.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
            total.update(repr(row.liked).encode())
        return total.hexdigest()
