"""BlockPruner: take out the block without which the model is least surprised, again and again.

Source:   arXiv:2406.10594, section 3 and algorithm 1.
Differs:  compares mean negative log-likelihoods, not their exponentials, which overflow; otherwise
          the order is the published one, ties included. `paired` and `lazy` are not published.
"""

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import model_validator

from inarch.prune import _units
from inarch.prune._order import Step
from inarch.prune._search import greedy, lazy_greedy
from inarch.prune._subject import Subject
from inarch.settings import Settings


class BlockPrunerSettings(Settings):
    """Which blocks may go, and how the next one is found."""

    kinds: _units.Kinds = "mix"
    """Attention and feed-forward blocks, or one kind alone."""
    paired: bool = False
    """Remove an attention and a feed-forward block at a time that are neighbours among the
    survivors, so that these make up whole layers and a plain export needs no padding."""
    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) and blocks (``mha3``) that stay."""
    lazy: bool = False
    """Score a unit again only if its last loss says that it may win. Fewer forwards; the order may
    differ, see `inarch.prune._search.lazy_greedy`."""

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.paired and self.kinds != "mix":
            raise ValueError(f"paired removes blocks of both kinds, so kinds: {self.kinds} is dead")
        return self


def block_pruner(
    subject: Subject, settings: BlockPrunerSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield the unit whose removal leaves the least mean NLL, in nats, until none may go.

    Of equal losses, attention's goes first, then that of the lower layer. Losses that are not
    finite never win.

    Args:
        subject: The model; see `Subject`.
        settings: Which units may go.
        done: Steps of an earlier run, in their order; the search goes on behind them.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: No candidate has a finite loss, or ``done`` is not of this model.
    """
    protected = _units.parse_protected(settings.protect, subject.blocks)
    rule = _units.paired(protected) if settings.paired else _units.single(settings.kinds, protected)
    return (lazy_greedy if settings.lazy else greedy)(subject, rule, done)
