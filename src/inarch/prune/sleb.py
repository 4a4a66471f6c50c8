"""SLEB: take out the layer without which the model is least surprised, again and again.

Source:   arXiv:2402.09025, section 3.3, metric 3 (joint loss), algorithm 1.
Differs:  nothing known; the released code keeps the first and the last layer, see `barrier`.
"""

from collections.abc import Iterator, Sequence

from inarch.prune import _units
from inarch.prune._order import Step
from inarch.prune._search import greedy
from inarch.prune._subject import Subject
from inarch.settings import Settings


class SlebSettings(Settings):
    """Which layers may go."""

    barrier: bool = True
    """Keep the first and the last layer, as the released code does."""
    protect: tuple[int | str, ...] = ()
    """Further layers (``0``, ``-1``) that stay; a block's name keeps its whole layer."""


def sleb(subject: Subject, settings: SlebSettings, done: Sequence[Step] = ()) -> Iterator[Step]:
    """Yield the layer whose removal leaves the least mean NLL, in nats, until none may go.

    Args:
        subject: The model; see `Subject`.
        settings: Which layers may go.
        done: Steps of an earlier run, in their order; the search goes on behind them.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: No candidate has a finite loss, or ``done`` is not of this model.
    """
    barrier = (0, -1) if settings.barrier else ()
    protected = _units.parse_protected((*barrier, *settings.protect), subject.blocks)
    return greedy(subject, _units.layers(protected), done)
