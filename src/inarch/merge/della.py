"""DELLA, with TIES' election of a sign: drop, elect and fuse.

Source:   DELLA-Merging, arXiv:2406.11617.
Differs:  as in ``della_linear``.
"""

from inarch.merge._settings import require
from inarch.merge._sparse import elected
from inarch.merge._stack import Rule, Stack
from inarch.merge.della_linear import DellaLinearSettings, magprune


class DellaSettings(DellaLinearSettings):
    """How much of each model's change is kept, and how it counts."""

    normalize: bool = True
    """Divide each element by the sum of the weights that agree."""


def della(stack: Stack, settings: DellaSettings) -> Rule:
    """Return the rule of ``ties`` over the changes that ``della_linear`` keeps, rescaled.

    Raises:
        SettingsError: There is no base; weights, densities or epsilons do not fit the models; or a
            probability is not above 0 and up to 1.
    """
    require(stack, "della", base=True)
    return magprune(stack, settings, elected(stack, settings))
