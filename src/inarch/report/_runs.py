"""What run folders hold, read without a model: manifests, metrics, the size of saved weights."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.io.files import read_metrics
from inarch.io.runs import MANIFEST

METRICS = "metrics.jsonl"


class Run(NamedTuple):
    """A folder that training wrote."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the stage has noted."""
        return dict(self.manifest.get("facts") or {})

    @property
    def done(self) -> bool:
        """Tell whether the run came to its end."""
        return self.manifest.get("status") == "done"

    def curve(self, metric: str) -> tuple[tuple[float, float], ...]:
        """Return a metric over steps, without values that are no finite number."""
        rows = ((_number(row.get("step")), _number(row.get(metric))) for row in self.metrics)
        return tuple(
            (step, value) for step, value in rows if step is not None and value is not None
        )


class ModelFacts(NamedTuple):
    """What a saved model is made of; None where the folder does not tell."""

    name: str
    role: str
    architecture: str | None
    num_params: int | None
    vocabulary: int | None


def read_run(folder: Path, name: str) -> Run:
    """Return a run folder; without metrics where training has not begun.

    Raises:
        DataError: The manifest or the metrics cannot be read.
    """
    metrics = folder / METRICS
    rows = read_metrics(metrics) if metrics.exists() else []
    return Run(name, folder, read_json(folder / MANIFEST), rows)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(
            f"{path} is no JSON ({error}); run the command that wrote it again"
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: found a {type(found).__name__}, expected a JSON object")
    return found


def model_facts(name: str, role: str, folder: Path) -> ModelFacts:
    """Return what a model's folder says about it; a hub id or an absent folder says nothing."""
    config = folder / "config.json"
    found = read_json(config) if config.is_file() else {}
    architecture = (found.get("architectures") or [found.get("model_type")])[0]
    return ModelFacts(name, role, architecture, _num_params(folder), found.get("vocab_size"))


def _num_params(folder: Path) -> int | None:
    """Return the number of weights, from the headers of the safetensors files."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return sum(map(_num_in_file, files)) if files else None


def _num_in_file(path: Path) -> int:
    # A file begins with the length of its header, 8 bytes, and the header in JSON.
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            return sum(math.prod(t["shape"]) for n, t in header.items() if n != "__metadata__")
        except (struct.error, ValueError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{path} has no header of safetensors ({error}); was it cut? Run the command that "
                "wrote it again"
            ) from None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
