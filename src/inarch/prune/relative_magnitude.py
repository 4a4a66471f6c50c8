"""Relative magnitude: take out the layers that add least to the hidden state.

Source:   Samragh et al., "Weight subcloning", arXiv:2312.09299, as BlockPruner's baseline "RM" for
          whole layers (arXiv:2406.10594, section 4.2).
Differs:  nothing known. The measure is that of a layer, ``f`` being both of its blocks.
"""

from collections.abc import Iterator, Sequence

from inarch.prune import _units
from inarch.prune._measures import magnitude
from inarch.prune._order import Step
from inarch.prune._search import ranked, removed_by
from inarch.prune._subject import Subject
from inarch.settings import Settings


class RelativeMagnitudeSettings(Settings):
    """Which layers may go."""

    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) that stay; a block's name keeps its whole layer."""


def relative_magnitude(
    subject: Subject, settings: RelativeMagnitudeSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield layers by rising ``mean ||f(x)|| / ||x + f(x)||`` of the whole model.

    ``x`` is the input of the layer, ``x + f(x)`` its output; the mean is over all tokens.

    Args:
        subject: The model; see `Subject`.
        settings: Which layers may go.
        done: Steps of an earlier run.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: A magnitude is no number, or ``done`` is not of this model.
    """
    removed_by(done, subject)
    protected = _units.parse_protected(settings.protect, subject.blocks)
    units = _units.layers(protected)(subject.blocks)
    places = [(2 * unit[0].layer, 2 * unit[0].layer + 2) for unit in units]
    return ranked(dict(zip(units, subject.contrast(places, magnitude), strict=True)), done)
