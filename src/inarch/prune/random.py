"""Random: take out blocks or layers in an order that is drawn by lot, to compare others with.

Source:   the usual baseline; see arXiv:2406.10594, section 5.
Differs:  nothing known.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

from inarch.prune import _units
from inarch.prune._order import Step
from inarch.prune._search import removed_by
from inarch.prune._subject import Subject
from inarch.settings import Settings


class RandomSettings(Settings):
    """What is drawn."""

    seed: int = 0
    """Of the draw; the order depends on it and on the blocks that may go alone."""
    unit: Literal["block", "layer"] = "block"
    """What goes at a time."""
    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) and blocks (``mha3``) that stay."""


def random(subject: Subject, settings: RandomSettings, done: Sequence[Step] = ()) -> Iterator[Step]:
    """Yield units in an order drawn by lot; the score is the place in that order, from 0.

    Args:
        subject: The model, of which only ``blocks`` is read.
        settings: What is drawn.
        done: Steps of an earlier run.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: ``done`` is not of this model.
    """
    gone = removed_by(done, subject)
    protected = _units.parse_protected(settings.protect, subject.blocks)
    rule = _units.single("mix", protected) if settings.unit == "block" else _units.layers(protected)
    units = rule(subject.blocks)
    Random(settings.seed).shuffle(units)
    for i, unit in enumerate(units):
        if not gone & set(unit):
            yield Step(unit, float(i))
