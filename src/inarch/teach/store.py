"""A teacher's beliefs on disk: Parquet shards, one list per document and column.

Per supervised token at k = 10: ten ids in the smallest unsigned type that holds the vocabulary,
ten log-probs and the tail in float16, the actual next token and its log-prob (float32: costs are
compared to the third digit), and two byte coordinates stored as differences.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from inarch.errors import DataError
from inarch.io.tables import read_parquet, write_parquet
from inarch.records import Beliefs, Document

_REMEDY = "delete the file and run the same command again: only this shard is made anew"
_COLUMNS = ("ends", "next_ends", "next_ids", "next_logps", "ids", "logps", "tail")
_ENCODINGS = {
    "ends.list.element": "DELTA_BINARY_PACKED",
    "next_ends.list.element": "DELTA_BINARY_PACKED",
    "next_logps.list.element": "BYTE_STREAM_SPLIT",
    "ids.list.element": "BYTE_STREAM_SPLIT",
    "next_ids.list.element": "BYTE_STREAM_SPLIT",
    "logps.list.element": "BYTE_STREAM_SPLIT",
    "tail.list.element": "BYTE_STREAM_SPLIT",
}


def id_type(vocab_size: int) -> Any:
    """Return the smallest unsigned numpy type that holds every id below ``vocab_size``."""
    return np.min_scalar_type(max(vocab_size - 1, 0))


def quantised(beliefs: Beliefs) -> Beliefs:
    """Return beliefs with the precision that a shard keeps, so that online equals stored."""
    return beliefs._replace(
        logps=beliefs.logps.astype(np.float16).astype(np.float32),
        tail=beliefs.tail.astype(np.float16).astype(np.float32),
    )


def write_shard(
    path: Path, documents: Sequence[Document], beliefs: Sequence[Beliefs], vocab_size: int
) -> None:
    """Write one shard, in one piece."""
    ids = id_type(vocab_size)
    types = {"ids": ids, "next_ids": ids, "logps": np.float16, "tail": np.float16}
    columns: dict[str, Any] = {
        "digest": pa.array([d.digest for d in documents], pa.binary(16)),
        "exact": pa.array([b.exact for b in beliefs], pa.bool_()),
    }
    for name in _COLUMNS:
        parts = [np.asarray(getattr(b, name)).reshape(-1) for b in beliefs]
        offsets = np.cumsum([0, *(len(p) for p in parts)]).astype(np.int32)
        values = np.concatenate(parts) if parts else np.zeros(0)
        columns[name] = pa.ListArray.from_arrays(
            offsets, pa.array(values.astype(types.get(name, values.dtype)))
        )
    write_parquet(path, pa.table(columns), _ENCODINGS)


def counts(path: Path) -> tuple[int, int]:
    """Return the tokens that a shard keeps, and its rows whose tokens do not spell the bytes."""
    table = read_parquet(path, _REMEDY)
    inexact = pc.sum(pc.invert(table["exact"])).as_py() or 0
    return len(table["tail"].combine_chunks().values), inexact


def read_shard(path: Path, documents: Sequence[Document]) -> list[Beliefs]:
    """Return the beliefs about ``documents``, in their order.

    Raises:
        DataError: The shard is cut, or speaks about other documents; the first such row is named.
    """
    table = read_parquet(path, _REMEDY)
    missing = {"digest", "exact", *_COLUMNS} - set(table.column_names)
    if missing:
        raise DataError(f"{path}: found no columns {sorted(missing)}; {_REMEDY}")
    digests = table["digest"].to_pylist()
    if len(digests) != len(documents):
        raise DataError(
            f"{path}: found {len(digests)} rows; the corpus has {len(documents)} there; {_REMEDY}"
        )
    for document, found in zip(documents, digests, strict=True):
        if found != document.digest:
            raise DataError(
                f"{path}: row {document.index} of the corpus is not the text that the teacher saw "
                f"(digest {document.digest.hex()[:8]}, teacher's {found.hex()[:8]}); {_REMEDY}"
            )
    columns = {name: table[name].combine_chunks() for name in _COLUMNS}
    return _beliefs(columns, table["exact"].to_pylist())


def _beliefs(columns: dict[str, Any], exact: Sequence[bool]) -> list[Beliefs]:
    values = {name: column.values.to_numpy() for name, column in columns.items()}
    offsets = {name: column.offsets.to_numpy() for name, column in columns.items()}

    def part(name: str, row: int, dtype: Any) -> NDArray[Any]:
        start, end = offsets[name][row], offsets[name][row + 1]
        return values[name][start:end].astype(dtype)

    rows = []
    for i in range(len(exact)):
        ends = part("ends", i, np.int32)
        shape = (len(ends), -1) if len(ends) else (0, 1)
        rows.append(
            Beliefs(
                ends=ends,
                next_ends=part("next_ends", i, np.int32),
                next_ids=part("next_ids", i, np.int32),
                next_logps=part("next_logps", i, np.float32),
                ids=part("ids", i, np.int32).reshape(shape),
                logps=part("logps", i, np.float32).reshape(shape),
                tail=part("tail", i, np.float32),
                exact=exact[i],
            )
        )
    return rows
