"""Rows of result files, CSV, JSON or JSONL, that know their place: what is wrong is named by it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError


class Row(NamedTuple):
    """One row as it stands in a file."""

    where: str
    """``file:line`` or ``file row n``, for messages."""
    values: Mapping[str, Any]

    def number(self, column: str) -> float:
        """Return a finite number.

        Raises:
            DataError: The value is absent or something else.
        """
        found = self.number_or_nan(column)
        if not math.isfinite(found):
            raise DataError(f"{self.where}: {column}: found none, expected a number")
        return found

    def number_or_nan(self, column: str) -> float:
        """Return a number, or NaN for what is written as null, blank or NaN.

        Raises:
            DataError: The value is something else.
        """
        value = self.values.get(column)
        if value is None or value == "":
            return math.nan
        try:
            found = math.nan if isinstance(value, bool | list | dict) else float(value)
            readable = not isinstance(value, bool | list | dict) and not math.isinf(found)
        except (TypeError, ValueError, OverflowError):
            readable = False
        if not readable:
            raise DataError(f"{self.where}: {column}: found {value!r:.80}, expected a number")
        return found

    def whole(self, column: str) -> int:
        """Return a whole number.

        Raises:
            DataError: The value is something else.
        """
        found = self.number(column)
        if found != int(found):
            raise DataError(f"{self.where}: {column}: found {found}, expected a whole number")
        return int(found)

    def text(self, column: str) -> str:
        """Return a text; a number, as an id may be, is written out.

        Raises:
            DataError: The value is absent or something else.
        """
        value = self.values.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise DataError(f"{self.where}: {column}: found {value!r:.80}, expected a text")
        return value


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, or of all JSONL files in a folder.

    Raises:
        DataError: There is none, it is empty or cut, or it holds something else.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    rows = [row for file in files for row in _file_rows(file)]
    if not rows:
        what = "holds no .jsonl files" if path.is_dir() and not files else "holds no rows"
        raise DataError(f"{path}: {what}; expected a file that is not empty")
    return rows


def require(rows: Sequence[Row], columns: Iterable[str], shape: str) -> None:
    """Check that all rows have some columns.

    Args:
        rows: At least one.
        columns: Their names.
        shape: What file was expected, for the message.

    Raises:
        DataError: One lacks a column; it is named.
    """
    wanted = tuple(columns)
    for row in rows:
        missing = [column for column in wanted if column not in row.values]
        if missing:
            found = ", ".join(map(str, row.values)) or "none"
            raise DataError(
                f"{row.where}: found the columns {found:.300}, without {', '.join(missing)};"
                f" expected {shape}"
            )


def _file_rows(path: Path) -> Iterator[Row]:
    text = _text(path)
    match path.suffix:
        case ".csv":
            yield from _csv_rows(path, text)
        case ".jsonl":
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    yield _object(f"{path}:{number}", _json(f"{path}:{number}", line))
        case ".json":
            content = _json(str(path), text) if text.strip() else []
            if not isinstance(content, list):
                raise DataError(f"{path}: found {type(content).__name__}, expected a list of rows")
            for number, value in enumerate(content):
                yield _object(f"{path} row {number}", value)
        case other:
            raise DataError(
                f"{path}: found a {other or 'nameless'} file, expected .csv, .json or .jsonl"
            )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; convert it: iconv -t UTF-8"
        ) from None


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); was the file cut?") from None


def _object(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {type(value).__name__}, expected an object with columns")
    return Row(where, value)


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if not fields:
                continue
            if header is None:
                header = fields
                if len(set(header)) < len(header):
                    raise DataError(f"{where}: found a column twice among {', '.join(header)}")
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{where}: found {len(fields)} fields, expected {len(header)} as in the first"
                    " line; was the file cut?"
                )
            yield Row(where, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({error}); was the file cut?") from None
