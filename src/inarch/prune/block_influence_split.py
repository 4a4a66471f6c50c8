"""Block influence of attention and feed-forward apart: the blocks that turn the state least go.

Source:   LLM-Drop, arXiv:2406.15786, section 3.2, similarity over residual and block; the measure
          is ShortGPT's (arXiv:2403.03853, equation 1).
Differs:  where both blocks of a layer read the same input (parallel residual), feed-forward is
          measured behind attention all the same.
"""

from collections.abc import Iterator, Sequence

from inarch.prune import _units
from inarch.prune._measures import cosine
from inarch.prune._order import Step
from inarch.prune._search import ranked, removed_by
from inarch.prune._subject import Subject
from inarch.settings import Settings


class BlockInfluenceSplitSettings(Settings):
    """Which blocks may go."""

    kinds: _units.Kinds = "mix"
    """Attention and feed-forward blocks, or one kind alone."""
    protect: tuple[int | str, ...] = ()
    """Layers (``0``, ``-1``) and blocks (``mha3``) that stay."""


def block_influence_split(
    subject: Subject, settings: BlockInfluenceSplitSettings, done: Sequence[Step] = ()
) -> Iterator[Step]:
    """Yield blocks by rising influence ``1 - mean cos(x, x + block(x))`` of the whole model.

    The residual stream in front of and behind the block; the mean is over all tokens.

    Args:
        subject: The model; see `Subject`.
        settings: Which blocks may go.
        done: Steps of an earlier run.

    Raises:
        SettingsError: ``protect`` names what the model does not have.
        DataError: An influence is no number, or ``done`` is not of this model.
    """
    removed_by(done, subject)
    protected = _units.parse_protected(settings.protect, subject.blocks)
    units = _units.single(settings.kinds, protected)(subject.blocks)
    cosines = subject.contrast([(u[0].place, u[0].place + 1) for u in units], cosine)
    return ranked({unit: 1 - c for unit, c in zip(units, cosines, strict=True)}, done)
