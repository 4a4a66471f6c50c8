"""Documents on disk, read by number without loading the corpus."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from inarch.io.tables import open_arrow, write_arrow
from inarch.records import Document, Message

_SCHEMA = pa.schema(
    {
        "text": pa.large_string(),
        "messages": pa.large_string(),
        "domain": pa.string(),
        "digest": pa.binary(16),
        "ends_here": pa.bool_(),
    }
)
_BATCH = 1024


class Corpus:
    """Documents of an Arrow file, by number; slices are lists."""

    def __init__(self, path: Path) -> None:
        self._table = open_arrow(path, "delete its folder and run the same command again")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: slice) -> list[Document]:
        start, stop, _ = index.indices(len(self))
        rows = self._table.slice(start, stop - start).to_pylist()
        return [_document(start + i, row) for i, row in enumerate(rows)]

    def digest(self) -> str:
        """Return the digest of all documents, 32 hexadecimal digits."""
        total = hashlib.blake2b(digest_size=16)
        for chunk in self._table["digest"].chunks:
            for digest in chunk.to_pylist():
                total.update(digest)
        return total.hexdigest()


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents to an Arrow file, in one piece."""
    write_arrow(path, _SCHEMA, _batches(documents))


def _batches(documents: Iterable[Document]) -> Iterator[Any]:
    rows = []
    for document in documents:
        messages = document.messages
        rows.append(
            {
                "text": document.text,
                "messages": None if messages is None else json.dumps(messages),
                "domain": document.domain,
                "digest": document.digest,
                "ends_here": document.ends_here,
            }
        )
        if len(rows) == _BATCH:
            yield pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)
            rows = []
    yield pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)


def _document(index: int, row: dict[str, Any]) -> Document:
    messages = row["messages"]
    turns = None if messages is None else tuple(Message(*turn) for turn in json.loads(messages))
    return Document(index, row["text"], turns, row["domain"], row["digest"], row["ends_here"])
