"""RAM+ within each tensor: amplify what only one model changed, average what several did.

Source:   Behavior Knowledge Merge in Reinforced Agentic Models, arXiv:2601.13572; taken tensor by
          tensor by mergekit.
Differs:  the paper counts shared and unique changes over the whole model, and so do its authors'
          scripts, which cap the ratio at 1; here, as in mergekit, each tensor counts its own.

Shapes: K = models, N = elements of a part.
"""

from pydantic import FiniteFloat, NonNegativeFloat

from inarch.merge._settings import require
from inarch.merge._stack import Part, Stack
from inarch.merge._weighted import WeightedRule, add_parts
from inarch.merge.ram import RamSettings, average_changes


class RamplusTlSettings(RamSettings):
    """What counts as a change, and how much unique ones are amplified."""

    r: FiniteFloat = 0.1
    """Amplification per unit of the ratio of shared to unique changes."""
    alpha: NonNegativeFloat = 0.2
    """The ratio counts up to this."""


def ramplus_tl(stack: Stack, settings: RamplusTlSettings) -> WeightedRule:
    """Return the rule ``base + c``.

    As in ``ram``, but what model k alone has changed is multiplied by
    ``1 + r min(shared_k / unique_k, alpha)``, with the numbers of its changes in this tensor that
    other models share, and do not share. The coefficients of the rule are these factors.

    Raises:
        SettingsError: There is no base.
    """
    require(stack, "ramplus_tl", base=True)
    sums = stack.map(lambda part: _count(part, settings.epsilon))
    counts = add_parts(sums, 2 * stack.num_models)
    scales = tuple(
        1 + settings.r * min((changed - unique) / max(unique, 1), settings.alpha)
        for changed, unique in zip(counts[::2], counts[1::2], strict=True)
    )
    return WeightedRule(lambda part: average_changes(part, settings.epsilon, scales), scales)


def _count(part: Part, epsilon: float) -> list[int]:
    """Return, model after model, how many elements it has changed, and how many it alone has."""
    is_change_KN = abs(part.deltas()) > epsilon
    is_unique_N = is_change_KN.sum(0) == 1
    return [
        int(number)
        for is_change_N in is_change_KN
        for number in (is_change_N.sum(), (is_change_N & is_unique_N).sum())
    ]
