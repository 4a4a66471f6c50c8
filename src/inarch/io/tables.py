"""Tables on disk: whole or absent, and an error that names the file when one was cut."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inarch.errors import DataError
from inarch.io.files import write_atomic


def write_parquet(path: Path, table: pa.Table, encodings: dict[str, str]) -> None:
    """Write a Parquet file, zstd-compressed, in one piece.

    Args:
        path: Where to.
        table: The rows.
        encodings: Parquet encoding by column path, chosen for what the column holds.
    """
    with write_atomic(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=False,
            column_encoding=encodings,
            write_statistics=False,
        )


def read_parquet(path: Path, remedy: str) -> pa.Table:
    """Return the rows of a Parquet file.

    Raises:
        DataError: The file is absent, cut or no Parquet; ends with ``remedy``.
    """
    try:
        return pq.read_table(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}); {remedy}") from error


def write_arrow(path: Path, schema: pa.Schema, batches: Any) -> None:
    """Write record batches to an Arrow file that can be memory-mapped, in one piece."""
    with (
        write_atomic(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def open_arrow(path: Path, remedy: str) -> pa.Table:
    """Return an Arrow file as a table that lives on disk.

    Raises:
        DataError: The file is absent or cut; ends with ``remedy``.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a whole Arrow file ({error}); {remedy}") from error
