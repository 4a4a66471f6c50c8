"""Checkpoints of a run: a folder appears under its name only when it is whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

PARTIAL = ".partial"
"""Folder within the checkpoints where the next one is written."""


def newest(folder: Path) -> tuple[Path | None, int]:
    """Return the newest whole checkpoint and its step, ``(None, 0)`` where there is none."""
    found = _steps(folder)
    step = max(found, default=0)
    return found.get(step), step


def publish(folder: Path, keep: int) -> None:
    """Move what was written under ``PARTIAL`` into place, then remove all but the newest `keep`."""
    for written in (folder / PARTIAL).glob("checkpoint-*"):
        shutil.rmtree(folder / written.name, ignore_errors=True)
        written.rename(folder / written.name)
    discard_partial(folder)
    found = _steps(folder)
    for step in sorted(found)[:-keep]:
        shutil.rmtree(found[step])


def discard_partial(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)


def _steps(folder: Path) -> dict[int, Path]:
    names = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.glob("*"))
    return {int(match[1]): path for match, path in names if match}
