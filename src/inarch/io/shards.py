"""Checkpoints written piece by piece, from several threads, in any order.

The layout of all files is known before the first byte, so that every number has its place. The
files grow in a hidden folder, beside a journal of the tensors that are whole, and move into place
in the end. A killed run is gone on with; after a loss of power it starts anew, as the journal may
then claim more than the disk holds.
"""

import errno
import fcntl
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inarch.errors import DataError, WeightsError
from inarch.io.dtypes import Raw, item_size
from inarch.io.files import explain_full_disk, make_folder, remove, wait_for_disk, write_json
from inarch.io.folders import INDEX, SINGLE
from inarch.io.headers import Header, TensorInfo, make_header

PART = ".weights.part"
"""The folder in which a checkpoint grows."""
MAX_SHARD_BYTES = 5_000_000_000

_JOURNAL = "journal"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class CheckpointWriter:
    """A checkpoint in the making; a context that calls `close` if its block ends without error."""

    def __init__(
        self,
        folder: str | Path,
        tensors: Sequence[TensorInfo],
        max_shard_bytes: int = MAX_SHARD_BYTES,
        metadata: Mapping[str, str] | None = None,
        key: str = "",
    ) -> None:
        """Lay out the files and take their room on the disk.

        Args:
            folder: Where the checkpoint is to be; made if absent.
            tensors: All of them, in the order of the files.
            max_shard_bytes: A file takes another tensor while it stays within this.
            metadata: Of every file; by default ``{"format": "pt"}``, which transformers asks for.
            key: Digest of all that the numbers depend on; a run with another one starts anew.

        Raises:
            DataError: The disk is full, the folder cannot be written to, or another process writes
                into it.
            WeightsError: There are no tensors, or two of one name.
        """
        self.folder = Path(folder)
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self._shards = _lay_out(tensors, max_shard_bytes, metadata or {"format": "pt"})
        self._part = self.folder / PART
        self._lock = threading.Lock()
        self._written = dict.fromkeys(self.tensors, 0)
        self._files: dict[str, int] = {}
        self.done: frozenset[str] = frozenset()
        """Names of the tensors that an earlier run with the same layout and key wrote."""
        make_folder(self._part)
        self._journal = _open_journal(self._part / _JOURNAL)
        try:
            with explain_full_disk(self.folder):
                self.done = self._go_on(_digest(self._shards, key))
                self._open_shards()
        except BaseException:
            self.abandon()
            raise
        self._finished = set(self.done)
        self._places = {
            tensor.name: (tensor, self._files[name], start)
            for name, header in self._shards.items()
            for tensor, start in zip(header.tensors, header.starts, strict=True)
        }

    def write(self, name: str, start: int, raw: Raw) -> None:
        """Write numbers of a tensor from flat index `start` on; each once, in any order and thread.

        Raises:
            DataError: The disk is full.
        """
        tensor, file, place = self._places[name]
        size = item_size(tensor.dtype)
        if raw.itemsize != size or start < 0 or start + raw.size > tensor.num_elements:
            raise ValueError(f"{raw.size} {raw.dtype} from {start} on do not fit {tensor}")
        with explain_full_disk(self.folder):
            _write(file, raw.view("u1").data, place + start * size)
        with self._lock:
            self._written[name] += raw.nbytes

    def finish(self, name: str) -> None:
        """Note that a tensor is whole, so that a later run need not make it again."""
        expected = self.tensors[name].num_bytes
        if self._written[name] != expected:
            raise ValueError(f"{name}: {self._written[name]} bytes are written, not {expected}")
        with self._lock, explain_full_disk(self.folder):
            self._finished.add(name)
            self._journal.write(json.dumps(name).encode() + b"\n")

    def close(self, *, sync: bool = True) -> None:
        """Move the whole checkpoint into place, and remove one that it replaces.

        Until the last step the folder holds no index, or no ``model.safetensors``, that speaks of
        files that are not there.

        Args:
            sync: Wait until all is on the disk, so that a loss of power cannot leave zeros.
        """
        if missing := self.tensors.keys() - self._finished:
            raise ValueError(f"{len(missing)} tensors are not finished, such as {min(missing)}")
        with explain_full_disk(self.folder):
            if sync:
                for file in self._files.values():
                    os.fsync(file)
            self._publish()
            if sync:
                wait_for_disk(self.folder)
            remove(self._part)
        self.abandon()

    def _publish(self) -> None:
        """Move the files into the folder, the index last, and remove those of an older layout."""
        single = list(self._shards) == [SINGLE]
        (self.folder / INDEX).unlink(missing_ok=True)
        if not single:
            (self.folder / SINGLE).unlink(missing_ok=True)
        for name in self._shards:
            if (self._part / name).exists():
                (self._part / name).replace(self.folder / name)
        for path in self.folder.iterdir():
            if _SHARD.fullmatch(path.name) and path.name not in self._shards:
                path.unlink()
        if not single:
            write_json(self.folder / INDEX, self._index())

    def _index(self) -> dict[str, Any]:
        metadata = {
            "total_parameters": sum(tensor.num_elements for tensor in self.tensors.values()),
            "total_size": sum(tensor.num_bytes for tensor in self.tensors.values()),
        }
        where = {
            tensor.name: name for name, header in self._shards.items() for tensor in header.tensors
        }
        return {"metadata": metadata, "weight_map": dict(sorted(where.items()))}

    def abandon(self) -> None:
        """Let go of the files and leave them for a later run."""
        for file in self._files.values():
            os.close(file)
        self._files = {}
        self._journal.close()

    def _go_on(self, digest: str) -> frozenset[str]:
        """Return the tensors that the journal calls whole; begin a new one if it is of others."""
        first = json.dumps([digest, _boot_id()]).encode()
        self._journal.seek(0)
        begun, *lines = self._journal.read().split(b"\n")
        if begun == first and _boot_id() and (done := self._whole(lines[:-1])) is not None:
            self._journal.truncate(sum(len(line) + 1 for line in (begun, *lines[:-1])))
            return done
        for path in self._part.iterdir():
            if path.name != _JOURNAL:
                remove(path)
        self._journal.truncate(0)
        self._journal.write(first + b"\n")
        return frozenset()

    def _whole(self, lines: list[bytes]) -> frozenset[str] | None:
        """Return the names in the lines of a journal, or None if the files are not those it means.

        A run that was killed while it moved its files into the folder left some of them there.
        """
        done = frozenset(json.loads(line) for line in lines)
        places = (self._part, self.folder) if done == self.tensors.keys() else (self._part,)
        for name, header in self._shards.items():
            paths = [place / name for place in places if (place / name).is_file()]
            if not paths or paths[0].stat().st_size != header.num_bytes:
                return None
        return done

    def _open_shards(self) -> None:
        """Open the files, make them as large as they will be, and write their headers."""
        moved = self.done == self.tensors.keys()
        try:
            for name, header in self._shards.items():
                path = self._part / name
                if moved and not path.exists():
                    path = self.folder / name
                file = self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                if os.fstat(file).st_size != header.num_bytes:
                    _take_room(file, header.num_bytes)
                _write(file, memoryview(header.raw), 0)
        except BaseException:
            if not self.done:  # the room is of no use then
                remove(self._part)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._files:
                self.close()
        finally:
            self.abandon()


def _lay_out(
    tensors: Sequence[TensorInfo], max_shard_bytes: int, metadata: Mapping[str, str]
) -> dict[str, Header]:
    """Return the files by name, with their headers."""
    if not tensors:
        raise WeightsError("found no tensors to write, expected at least one")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        names = [tensor.name for tensor in tensors]
        twin = next(name for name in names if names.count(name) > 1)
        raise WeightsError(f"cannot write two tensors under {twin!r}")
    groups: list[list[TensorInfo]] = [[]]
    size = 0
    for tensor in tensors:
        size += tensor.num_bytes
        if size > max_shard_bytes and groups[-1]:
            groups.append([])
            size = tensor.num_bytes
        groups[-1].append(tensor)
    if len(groups) == 1:
        return {SINGLE: make_header(groups[0], metadata)}
    return {
        f"model-{number:05}-of-{len(groups):05}.safetensors": make_header(group, metadata)
        for number, group in enumerate(groups, 1)
    }


def _digest(shards: Mapping[str, Header], key: str) -> str:
    total = blake2b(key.encode(), digest_size=16)
    for name, header in shards.items():
        total.update(f"\0{name}\0".encode() + header.raw)
    return total.hexdigest()


def _boot_id() -> str:
    """Return what tells this start of the machine from others, ``""`` where nothing does."""
    return _BOOT.read_text().strip() if _BOOT.is_file() else ""


def _open_journal(path: Path) -> FileIO:
    """Return the journal, locked against other processes.

    Raises:
        DataError: Another process holds it, or it cannot be written.
    """
    try:
        with explain_full_disk(path):
            journal = path.open("a+b", buffering=0)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror}; give --out another place"
        ) from None
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        journal.close()
        raise DataError(
            f"another process writes a checkpoint into {path.parent.parent}; wait for it, or give "
            "--out another folder"
        ) from None
    except OSError:  # some network file systems have no locks
        pass
    return journal


def _write(file: int, left: memoryview, place: int) -> None:
    """Write all bytes, of which the system may take fewer at once."""
    while left:
        count = os.pwrite(file, left, place)
        left, place = left[count:], place + count


def _take_room(file: int, num_bytes: int) -> None:
    """Make an empty file so large, and have the system promise the room where it can."""
    os.ftruncate(file, 0)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, num_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
    disk = os.fstatvfs(file)
    if disk.f_bavail * disk.f_frsize < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(file, num_bytes)
