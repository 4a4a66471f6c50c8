"""Model Breadcrumbs, with TIES' election of a sign.

Source:   Model Breadcrumbs, arXiv:2312.06795; TIES-Merging, arXiv:2306.01708, for the election.
Differs:  as in ``breadcrumbs``; the combination is mergekit's.
"""

from inarch.merge._settings import require
from inarch.merge._sparse import elected
from inarch.merge._stack import Rule, Stack
from inarch.merge.breadcrumbs import BreadcrumbsSettings, crumbs


class BreadcrumbsTiesSettings(BreadcrumbsSettings):
    """Which changes of each model are kept, and how they count."""


def breadcrumbs_ties(stack: Stack, settings: BreadcrumbsTiesSettings) -> Rule:
    """Return the rule of ``ties`` over the changes that ``breadcrumbs`` keeps.

    Raises:
        SettingsError: There is no base; weights, densities or gammas do not fit the models.
    """
    require(stack, "breadcrumbs_ties", base=True)
    return crumbs(stack, settings, elected(stack, settings))
