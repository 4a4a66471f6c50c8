"""Files that are whole or absent, their digests, and the lines of a metrics file."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from inarch.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")


@contextmanager
def write_atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move what was written there into place.

    What is written may be a file, or a folder that then replaces the old one. After an error or a
    kill, `path` is as it was before; after a kill, an old folder may be gone.

    Raises:
        DataError: The disk is full.
    """
    path = Path(path)
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(temp)
    try:
        with explain_full_disk(path):
            yield temp
            for written in (temp, *temp.rglob("*")) if temp.is_dir() else (temp,):
                wait_for_disk(written)
            if path.is_dir():  # a rename replaces a file, but no folder that holds something
                remove(path)
            temp.replace(path)
            wait_for_disk(path.parent)
    finally:
        remove(temp)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_atomic`."""
    with write_atomic(path) as temp:
        temp.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write a JSON file; see `write_atomic`."""
    write_text(path, as_json(content, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write a JSON file of one line per row; see `write_atomic`."""
    write_text(path, "".join(f"{as_json(row)}\n" for row in rows))


def as_json(content: object, indent: int | None = None) -> str:
    """Return JSON that people can read, and that has UTF-8: half of a surrogate pair is escaped."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def make_folder(path: Path) -> Path:
    """Make a folder, and those around it, where they are absent; return it.

    Raises:
        DataError: A file is in the way, or the place cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {path}: {error.strerror}; give --out another place"
        ) from None
    return path


def wait_for_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn the errors of a disk that is full into one that says so.

    Raises:
        DataError: Writing `path` failed for want of room.
    """
    try:
        yield
    except Exception as error:
        full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        # safetensors raises its own error, which names the number only in its text
        inner = re.search(r"os error (\d+)", str(error))
        # torch.save names no number at all, only the file of its writer
        is_torch = isinstance(error, RuntimeError) and "inline_container" in str(error)
        if getattr(error, "errno", None) in full or (inner and int(inner[1]) in full) or is_torch:
            raise DataError(
                f"disk full while writing {path}; nothing half-written is left there; "
                "free space and run the same command again, it goes on where it stopped"
            ) from error
        raise


def digest_file(path: str | Path) -> str:
    """Return the BLAKE2b digest of a file's content, 32 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, _blake).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def digest_folder(path: str | Path) -> str:
    """Return the digest of the names and contents of a folder's files, hidden ones left out.

    A name that is no folder here, such as the hub id ``org/model``, is its own digest.
    """
    folder = Path(path)
    if not folder.is_dir():
        return str(path)
    total = _blake()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            total.update(f"{name.as_posix()}\0{digest_file(file)}\n".encode())
    return total.hexdigest()


def _blake() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def append_metrics(path: str | Path, row: Mapping[str, object]) -> None:
    """Add one line of JSON to `path`, after cutting off what a killed run left of its last line.

    Raises:
        DataError: The disk is full.
    """
    path = Path(path)
    with explain_full_disk(path), path.open("a+b") as file:
        _cut_broken_end(file)
        file.write(json.dumps(row, default=as_number).encode() + b"\n")


def _cut_broken_end(file: BinaryIO) -> None:
    """Cut a file after its last newline."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a ``metrics.jsonl``, without a last line that a killed run cut short.

    Raises:
        DataError: The file cannot be read, or another line is no JSON.
    """
    try:
        *lines, _ = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}:{number}: this line is no JSON ({error})") from None
    return rows


def as_number(value: Any) -> object:
    """Return a numpy or torch scalar as a Python number, for JSON."""
    return value.item()
