"""Many teachers' distributions, one training target. The table below is the whole registry."""

from collections.abc import Callable
from typing import Any

from inarch.fuse._blend import NOBODY, Lesson, add_chunks, blend
from inarch.fuse._cost import Places, Timeline, costs, places, timeline
from inarch.fuse._objective import Batch, Example, collate, fused_loss, plain_loss
from inarch.fuse._store import Examples, write_examples
from inarch.fuse.avgce import avgce
from inarch.fuse.chunk import chunk
from inarch.fuse.mince import mince
from inarch.fuse.settings import FuseSettings
from inarch.fuse.uld import uld

METHODS: dict[str, Callable[..., Any]] = {
    "mince": mince,  # costs -> weights of the candidates
    "avgce": avgce,
    "uld": uld,  # logits and a teacher -> loss, without matched ids
    "chunk": chunk,
}

__all__ = [
    "METHODS",
    "NOBODY",
    "Batch",
    "Example",
    "Examples",
    "FuseSettings",
    "Lesson",
    "Places",
    "Timeline",
    "add_chunks",
    "avgce",
    "blend",
    "chunk",
    "collate",
    "costs",
    "fused_loss",
    "mince",
    "places",
    "plain_loss",
    "timeline",
    "uld",
    "write_examples",
]
