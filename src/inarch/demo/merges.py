"""FuseChat's second stage in the demo: the pairs of a seed become one model, by several methods.

Every merge is a recipe of ``inarch merge``, so the demo runs that flow from end to end.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from inarch.demo.experiment import EXPERTS, fused, taught
from inarch.demo.models import TARGET
from inarch.flows.merge import TENSORS
from inarch.io.files import read_metrics
from inarch.merge import METHODS, MergeConfig

PAIRS = "pairs"
"""The variant whose models are merged."""


class Merge(NamedTuple):
    """One way to make one model of the pairs."""

    label: str
    """What tables call it."""
    method: str
    parameters: dict[str, Any]


MERGES: dict[str, Merge] = {
    "merge-mean": Merge("merged: mean", "linear", {"weight": 1.0}),
    "merge-sum": Merge("merged: task arithmetic 1", "task_arithmetic", {"weight": 1.0}),
    "merge-ties-0.2": Merge("merged: TIES 20%", "ties", {"weight": 1.0, "density": 0.2}),
    "merge-ties": Merge("merged: TIES 100%", "ties", {"weight": 1.0}),
    "merge-varm": Merge("merged: VaRM", "varm", {}),
    "merge-varm-element": Merge("merged: VaRM by element", "varm", {"unit": "element"}),
    "merge-sce": Merge("merged: SCE 100%", "sce", {"variant": "paper"}),
    "merge-sce-0.1": Merge("merged: SCE 10%", "sce", {"variant": "paper", "select_topk": 0.1}),
    "merge-sce-mergekit": Merge("merged: SCE of mergekit", "sce", {"variant": "mergekit"}),
}
"""With three pairs the mean is task arithmetic at a weight of 1/3."""


def merging(name: str, folder: Path) -> MergeConfig:
    """Return the recipe of a merge.

    Args:
        name: In MERGES.
        folder: Of the seed.
    """
    merge = MERGES[name]
    base = {"path": str(taught(TARGET.name, folder))}
    return MergeConfig.model_validate({
        "merge_method": merge.method,
        "models": tuple({"model": {"path": str(path)}} for path in fused(PAIRS, folder).values()),
        "base_model": None if METHODS[merge.method].base == "none" else base,
        "parameters": merge.parameters,
        "dtype": "float32",
    })  # fmt: skip


def merged(name: str, folder: Path) -> Path:
    """Return the folder of the model that a merge makes."""
    return folder / "merged" / name


def coefficients(name: str, folder: Path) -> dict[str, float] | None:
    """Return the weight of each source's pair in a finished merge, as a mean over the tensors.

    None where the method weighs element by element.
    """
    rows = [row["coefficients"] for row in read_metrics(merged(name, folder) / TENSORS)]
    if None in rows:
        return None
    return dict(zip(EXPERTS, map(statistics.fmean, zip(*rows, strict=True)), strict=True))
