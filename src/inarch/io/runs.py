"""Run folders: what a stage writes, where it came from, and whether it is whole.

A stage owns one folder with a ``manifest.json``. Files appear in it under their name only when
they are whole, so a run can be killed at any moment and started again with the same settings.
"""

import fcntl
import importlib.metadata
import json
import logging
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inarch import __version__
from inarch.errors import DataError, SettingsError
from inarch.io.files import as_number, make_folder, remove, write_atomic

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
LOCK = ".lock"
_POLL_S = 0.2
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "safetensors",
    "pyarrow",
    "datasets",
    "numpy",
)
"""Packages whose versions can change a result."""


@dataclass
class Stage:
    """A stage's folder while the stage runs."""

    folder: Path
    done: bool
    """The stage finished in an earlier run: there is nothing to do."""
    manifest: dict[str, Any]
    """What ``manifest.json`` holds."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the stage has noted, in this run and in earlier ones."""
        return dict(self.manifest["facts"])

    def note(self, **facts: object) -> None:
        """Add facts, such as a count of skipped rows, to the manifest on disk."""
        self.manifest["facts"] = self.facts | facts
        self._save()

    def wait_for(self, fact: str) -> None:
        """Return once the first process of a launch has noted ``fact``; there, at once.

        What only one process may make is made before that note, in a folder that all of them see.
        The launcher ends the others when the first one fails.
        """
        if not is_first_process():
            logger.info("waiting for the first process of this launch to prepare %s", self.folder)
        while not is_first_process():
            path = self.folder / MANIFEST
            if path.exists() and fact in json.loads(path.read_text(encoding="utf-8"))["facts"]:
                return
            time.sleep(_POLL_S)

    def _save(self) -> None:
        if is_first_process():
            with write_atomic(self.folder / MANIFEST) as temp:
                temp.write_text(json.dumps(self.manifest, indent=2, default=as_number) + "\n")


@contextmanager
def stage(
    folder: str | Path, name: str, settings: Mapping[str, object], inputs: Mapping[str, str]
) -> Iterator[Stage]:
    """Open the folder of a stage, and mark it as done when the block ends without an error.

    A folder of the same stage, settings and inputs is gone on with; facts and wall time add up. A
    launch of several processes (``RANK``) shares the stage: the first locks and writes for all.

    Args:
        folder: Made if absent.
        name: What the stage does, such as ``"teach"``.
        settings: All settings that the result depends on, as `inarch.settings.to_dict` gives them.
        inputs: Name and digest of everything that the stage reads.

    Raises:
        SettingsError: The folder is of another stage, or of other settings or inputs.
        DataError: The folder cannot be made, a run is at work in it, or it holds files of
            something else.
    """
    folder = Path(folder)
    make_folder(folder)
    key = {"stage": name, "settings": dict(settings), "inputs": dict(inputs)}
    with _lock(folder):
        before = _read_manifest(folder, key)
        if before.get("status") == "done":
            yield Stage(folder, True, before)
            return
        if is_first_process():
            for cut_off in folder.glob(".*.tmp"):
                remove(cut_off)
        opened = Stage(folder, False, _new_manifest(key, before))
        opened._save()
        begun = time.monotonic()
        try:
            yield opened
            opened.manifest["status"] = "done"
        finally:
            wall_s = round(before.get("wall_s", 0.0) + time.monotonic() - begun, 3)
            peak = max(before.get("peak_memory_gib", 0.0), _peak_memory_gib())
            opened.manifest |= {"ended": _now(), "wall_s": wall_s, "peak_memory_gib": peak}
            opened._save()


def _new_manifest(key: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a stage that starts or goes on."""
    return {
        "inarch": __version__,
        **key,
        "seed": _find_seed(key["settings"]),
        "status": "running",
        "started": before.get("started", _now()),
        "ended": None,
        "wall_s": before.get("wall_s", 0.0),
        "peak_memory_gib": before.get("peak_memory_gib", 0.0),
        "facts": before.get("facts", {}),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _find_seed(settings: Mapping[str, Any]) -> object:
    """Return the setting called ``seed``, here or in a section."""
    sections = [settings, *(value for value in settings.values() if isinstance(value, Mapping))]
    return next((section["seed"] for section in sections if "seed" in section), None)


def _read_manifest(folder: Path, key: Mapping[str, object]) -> dict[str, Any]:
    """Return the manifest that an earlier run left, or ``{}``; refuse one of something else."""
    path = folder / MANIFEST
    if not path.exists():
        if not _is_ours(folder):
            raise DataError(
                f"{folder} holds files but no {MANIFEST}, so no run of inarch made it; nothing was "
                "touched. Give --out a new folder"
            )
        return {}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        there = flat({name: before[name] for name in key})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no manifest of inarch ({error}). Give --out a new folder"
        ) from None
    now = flat(json.loads(json.dumps(key, default=as_number)))
    differences = [
        f"  {name}: {there.get(name, 'absent')} there, {now.get(name, 'absent')} now"
        for name in sorted(there | now)
        if there.get(name) != now.get(name)
    ]
    if differences:
        raise SettingsError(
            f"{folder} holds a run that differs from this one:\n"
            + "\n".join(differences)
            + "\nGive --out another folder, or delete this one"
        )
    return dict(before)


def _is_ours(entry: Path) -> bool:
    """Tell whether inarch may have made a file or folder that no manifest beside it speaks for."""
    if entry.is_dir():
        return (entry / MANIFEST).exists() or all(_is_ours(inner) for inner in entry.iterdir())
    return entry.name in {LOCK, MANIFEST} or bool(re.fullmatch(r"\..*\.tmp", entry.name))


def flat(value: object, name: str = "") -> dict[str, str]:
    """Return every leaf of nested dicts as JSON text under its dotted key."""
    if isinstance(value, dict) and value:
        items = [flat(item, f"{name}.{key}" if name else key) for key, item in value.items()]
        return {key: leaf for item in items for key, leaf in item.items()}
    text = json.dumps(value, ensure_ascii=False)
    return {name: text.encode("utf-8", "backslashreplace").decode()}  # half of a pair has no UTF-8


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder against other runs; the kernel lets go of it even after a kill."""
    if not is_first_process():
        yield
        return
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataError(
                f"process {file.read().strip()} is at work in {folder}; wait for it, or give --out "
                "another folder"
            ) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s); start no second run in it", folder, error)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_first_process() -> bool:
    """Return whether this process is the only one, or the first of a launch (``RANK``)."""
    return os.environ.get("RANK", "0") == "0"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere
