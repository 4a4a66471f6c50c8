"""One shot: rank all blocks by the loss without each, and take them out in that order.

Source:   arXiv:2406.10594, section 5.1, ablation without the iterative search.
Differs:  compares mean negative log-likelihoods, not their exponentials.
"""

from collections.abc import Iterator, Sequence

from inarch.prune import _units
from inarch.prune._order import Step
from inarch.prune._search import ranked, removed_by
from inarch.prune._subject import Subject
from inarch.settings import Settings


class OneShotSettings(Settings):
    """Which blocks may go."""

    kinds: _units.Kinds = "mix"
    """Attention and feed-forward blocks, or one kind alone."""
    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) and blocks (``mha3``) that stay."""


def one_shot(
    subject: Subject, settings: OneShotSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield blocks by rising mean NLL, in nats, of the model without that block alone.

    Args:
        subject: The model; see `Subject`.
        settings: Which blocks may go.
        done: Steps of an earlier run.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: A loss is no number, or ``done`` is not of this model.
    """
    removed_by(done, subject)
    protected = _units.parse_protected(settings.protect, subject.blocks)
    units = _units.single(settings.kinds, protected)(subject.blocks)
    losses = subject.losses((), units)
    return ranked(dict(zip(units, losses, strict=True)), done, evaluations=len(units))
