"""Official files into the cache: fetched from where they are published, or taken from a folder.

A file is written only if its content has the known digest, and then at once under its name; what is
cut or changed leaves nothing.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from inarch import __version__
from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges.official import (
    BENCHMARKS,
    FILES,
    OfficialFile,
    cache_folder,
    is_fetched,
)
from inarch.io.files import write_atomic

PATIENCE_S = 30.0
"""A server that says nothing for so long is given up."""
LIMIT_S = 600.0
"""A file that takes longer is given up."""
LIMIT_BYTES = 16_000_000
"""More than any official file has."""
_CHUNK_BYTES = 1 << 16

_SHORT = {
    "alpaca": ("alpaca_eval2",),
    "arena": ("arena_hard_v0.1", "arena_hard_v2"),
    "mtbench": ("mt_bench",),
}


class Fetched(NamedTuple):
    """A file that is in the cache now."""

    file: OfficialFile
    path: Path
    how: Literal["was there", "fetched", "taken"]


def files_of(names: Sequence[str]) -> tuple[OfficialFile, ...]:
    """Return the files of some benchmarks, of all where none is named.

    Args:
        names: As in ``protocol``, or as the verbs are called.

    Raises:
        SettingsError: There is no such benchmark.
    """
    wanted: set[str] = set()
    known = (*_SHORT, *BENCHMARKS)
    for name in names or BENCHMARKS:
        if name not in known:
            raise SettingsError(f"found no benchmark {name!r}; expected some of {', '.join(known)}")
        wanted |= set(_SHORT.get(name, (name,)))
    return tuple(file for file in FILES if file.benchmark in wanted)


def fetch(files: Sequence[OfficialFile], source: Path | None = None) -> Iterator[Fetched]:
    """Bring files into the cache one by one, those that are there already untouched.

    Args:
        files: Which.
        source: A folder with files that were fetched elsewhere, in any folders within it; without
            it they are fetched over the network.

    Raises:
        DataError: A file cannot be had, or is not what it was. Those before it are in the cache;
            of a folder's files, all that are right.
    """
    missing = []
    for file in files:
        path = cache_folder() / file.name
        if is_fetched(file.name) and file.is_whole(path.read_bytes()):
            yield Fetched(file, path, "was there")
            continue
        others: list[Path] = []
        content = _download(file) if source is None else _taken(file, source, others)
        if content is None:
            found = f"{others[0]} has other content; " if others else ""
            missing.append(f"  {file.name}: {found}{file.urls[0]}")
            continue
        _keep(path, content)
        yield Fetched(file, path, "fetched" if source is None else "taken")
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of {len(files)} files are not in it; fetch them into it, in"
            " a folder per benchmark:\n" + "\n".join(missing)
        )


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomic(path) as temp:
            temp.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror}; set INARCH_CACHE to another folder"
        ) from None


def _taken(file: OfficialFile, source: Path, others: list[Path]) -> bytes | None:
    """Return a file's content from a folder, None where it is not in it.

    Args:
        file: Which.
        source: The folder.
        others: Gets what has the name alone.
    """
    if not source.is_dir():
        raise DataError(f"found no folder {source}; expected one with fetched files")
    for path in sorted(source.rglob(Path(file.name).name)):
        if path.is_file() and path.stat().st_size <= LIMIT_BYTES:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror}") from None
            if file.is_whole(content):
                return content
            others.append(path)
    return None


def _download(file: OfficialFile) -> bytes:
    """Return a file's content from the first place that has it."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DataError(
            f"found HF_HUB_OFFLINE set, so {file.name} is not fetched; unset it, or fetch"
            f" {file.urls[0]} elsewhere and give its folder with --from"
        )
    failures = []
    for url in file.urls:
        try:
            content = _get(url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {_reason(error)}")
            continue
        if file.is_whole(content):
            return content
        expected = "" if file.size is None else f" of {file.size}"
        failures.append(f"{url}: found {len(content)} bytes{expected}, with another digest")
    lines = "\n".join(f"  {line}" for line in failures)
    raise DataError(
        f"cannot fetch {file.described()}; nothing of it is kept:\n{lines}\nrun the same command"
        " again, or fetch it elsewhere and give its folder with --from"
    )


def _get(url: str) -> bytes:
    """Return what a URL holds.

    Raises:
        OSError: It cannot be had in time.
        ValueError: It is larger than any official file.
    """
    request = urllib.request.Request(url, headers={"User-Agent": f"inarch/{__version__}"})
    begun, content = time.monotonic(), bytearray()
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        while chunk := reply.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > LIMIT_BYTES:
                raise ValueError(f"more than {LIMIT_BYTES} bytes")
            if time.monotonic() - begun > LIMIT_S:
                raise TimeoutError(f"not done after {LIMIT_S:.0f} s")
    return bytes(content)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    inner = getattr(error, "reason", None) or error
    return str(inner) or type(inner).__name__
