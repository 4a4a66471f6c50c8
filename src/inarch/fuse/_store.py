"""Training examples on disk: an Arrow file that is memory-mapped, one record batch per shard."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inarch.fuse._blend import Lesson
from inarch.fuse._objective import Example
from inarch.io.tables import open_arrow, write_arrow
from inarch.records import TokenRow

_REMEDY = "delete its folder and run the same command again"
_TYPES = {
    "tokens": pa.int32(),
    "ends": pa.int32(),
    "supervised": pa.uint8(),
    "ids": pa.int32(),
    "logps": pa.float16(),
    "tail": pa.float16(),
    "winner": pa.int8(),
    "chunk": pa.int32(),
    "chunk_logps": pa.float32(),
}
_SCHEMA = pa.schema({name: pa.large_list(kind) for name, kind in _TYPES.items()})


def write_examples(path: Path, shards: Iterable[Sequence[Example]]) -> None:
    """Write examples to an Arrow file, in one piece."""
    write_arrow(path, _SCHEMA, map(_batch, shards))


def _batch(examples: Sequence[Example]) -> Any:
    columns = [_columns(example) for example in examples]
    arrays = []
    for name, kind in _TYPES.items():
        parts = [column[name].reshape(-1) for column in columns]
        offsets = np.cumsum([0, *map(len, parts)])
        values = pa.array(np.concatenate(parts), kind)
        arrays.append(pa.LargeListArray.from_arrays(offsets, values))
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _columns(example: Example) -> dict[str, NDArray[Any]]:
    row, lesson = example
    tokens: dict[str, NDArray[Any]] = {
        "tokens": row.ids,
        "ends": row.ends,
        "supervised": row.supervised.astype(np.uint8),
    }
    nothing = np.zeros(0, np.int8)
    return tokens | (lesson._asdict() if lesson else dict.fromkeys(Lesson._fields, nothing))


class Examples(Sequence[Example]):
    """Training examples of an Arrow file, by number."""

    def __init__(self, path: Path) -> None:
        table = open_arrow(path, _REMEDY)
        self._batches = table.to_batches()
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each example."""
        return [n for batch in self._batches for n in batch["tokens"].value_lengths().to_pylist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        batch, row = self._batches[number], index - int(self._starts[number])
        found = {
            name: batch.column(i).slice(row, 1).flatten().to_numpy()
            for i, name in enumerate(_TYPES)
        }
        tokens = TokenRow(
            found.pop("tokens"), found.pop("ends"), found.pop("supervised") != 0, exact=True
        )
        num_positions = len(found["tail"])
        if not num_positions:
            return Example(tokens, None)
        found["ids"] = found["ids"].reshape(num_positions, -1)
        found["logps"] = found["logps"].reshape(num_positions, -1)
        return Example(tokens, Lesson(**found))
