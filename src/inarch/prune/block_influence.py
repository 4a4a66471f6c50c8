"""Block influence (ShortGPT): take out the layers that turn the hidden state least.

Source:   ShortGPT, arXiv:2403.03853, section 3.2, equation 1.
Differs:  nothing known.
"""

from collections.abc import Iterator, Sequence

from inarch.prune import _units
from inarch.prune._measures import cosine
from inarch.prune._order import Step
from inarch.prune._search import ranked, removed_by
from inarch.prune._subject import Subject
from inarch.settings import Settings


class BlockInfluenceSettings(Settings):
    """Which layers may go."""

    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) that stay; a block's name keeps its whole layer."""


def block_influence(
    subject: Subject, settings: BlockInfluenceSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield layers by rising influence ``1 - mean cos(x_in, x_out)`` of the whole model.

    ``x_in`` and ``x_out`` are the residual stream in front of and behind the layer; the mean is
    over all tokens. One forward ranks all.

    Args:
        subject: The model; see `Subject`.
        settings: Which layers may go.
        done: Steps of an earlier run.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: An influence is no number, or ``done`` is not of this model.
    """
    removed_by(done, subject)
    protected = _units.parse_protected(settings.protect, subject.blocks)
    units = _units.layers(protected)(subject.blocks)
    places = [(2 * unit[0].layer, 2 * unit[0].layer + 2) for unit in units]
    cosines = subject.contrast(places, cosine)
    return ranked({unit: 1 - c for unit, c in zip(units, cosines, strict=True)}, done)
