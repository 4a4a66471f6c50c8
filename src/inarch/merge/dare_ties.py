"""DARE, with TIES' election of a sign.

Source:   Language Models are Super Mario, arXiv:2311.03099; TIES-Merging, arXiv:2306.01708, for the
          election.
Differs:  as in ``dare_linear``.
"""

from inarch.merge._settings import require
from inarch.merge._sparse import DrawSettings, elected
from inarch.merge._stack import Rule, Stack
from inarch.merge.dare_linear import dare


class DareTiesSettings(DrawSettings):
    """How much of each model's change is kept, and how it counts."""


def dare_ties(stack: Stack, settings: DareTiesSettings) -> Rule:
    """Return the rule of ``ties`` over the changes that ``dare_linear`` keeps, rescaled.

    Raises:
        SettingsError: There is no base, or weights or densities do not fit the models.
    """
    require(stack, "dare_ties", base=True)
    return dare(stack, settings, elected(stack, settings))
