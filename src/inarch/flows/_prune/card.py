"""The model card of a pruned model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from inarch import __version__
from inarch.flows._prune.settings import PruneRun
from inarch.prune import Step
from inarch.prune._order import name_of

_LOADS = {
    "plain": "It loads with plain transformers, as the class that it was.",
    "native": "It loads after `import inarch`, or with `trust_remote_code=True`.",
    "gguf-safe": "It loads after `import inarch`, or with `trust_remote_code=True`; llama.cpp and"
    " vLLM read it as DeciLM.",
}


def card(
    settings: PruneRun, steps: Sequence[Step], row: Mapping[str, Any], whole: Mapping[str, Any]
) -> str:
    """Return the README.md of a pruned model: what went, how it was found, and what it cost.

    Args:
        settings: Of the run.
        steps: What was removed.
        row: Of this model, as ``pruned.json`` has it.
        whole: Of the model before.
    """
    front = ["---", "library_name: transformers", "tags:", "- pruned", "- inarch"]
    if not settings.model.startswith((".", "/")) and settings.model.count("/") == 1:
        front.append(f"base_model: {settings.model}")
    removed = ", ".join(name_of(step.unit) for step in steps)
    losses = [
        f"| {name} | {_perplexity(whole[key])} | {_perplexity(row[key])} |"
        for key, name in (("nll", "calibration"), ("held_out", "held out"))
        if row[key] is not None
    ]
    return "\n".join([
        *front,
        "---",
        "",
        f"# {settings.label}, pruned",
        "",
        f"`{settings.model}` without {row['num_removed']} of its attention (mha) and feed-forward"
        f" (mlp) blocks, {_origin(settings)} with inarch {__version__}."
        f" {row['removed_share']:.2%} of the parameters are removed; this file is"
        f" {row['saved_share']:.2%} smaller. {_LOADS[settings.format]}",
        "",
        f"Removed, in this order: {removed}.",
        "",
        "| perplexity | before | now |",
        "|---|---|---|",
        *losses,
        "",
    ])  # fmt: skip


def _origin(settings: PruneRun) -> str:
    if settings.order:
        return f"in the order of `{settings.order}`"
    return f"found by `{settings.method.name}` on `{settings.data.path}`"


def _perplexity(nll: float) -> str:
    return f"{math.exp(min(nll, 700.0)):.4g}"
