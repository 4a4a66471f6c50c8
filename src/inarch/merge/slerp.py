"""SLERP: go from the base to the other model along the arc between them.

Source:   Shoemake, Animating Rotation with Quaternion Curves, SIGGRAPH 1985.
Differs:  the arc is taken however small the angle is; implementations that divide by its sine,
          mergekit's too, go straight above a cosine of .9995, where most fine-tunes are.
"""

from pydantic import FiniteFloat

from inarch.merge._gram import BASE_FIRST, whole_gram
from inarch.merge._settings import require
from inarch.merge._sphere import arc_weights
from inarch.merge._stack import Stack
from inarch.merge._sums import weighted_sum
from inarch.merge._weighted import WeightedRule
from inarch.settings import Settings


class SlerpSettings(Settings):
    """How far to go."""

    t: FiniteFloat
    """0 is the base, 1 the other model."""


def slerp(stack: Stack, settings: SlerpSettings) -> WeightedRule:
    """Return the rule ``sin((1 - t) omega) / sin(omega) base + sin(t omega) / sin(omega) other``.

    omega is the angle between the two tensors, taken as vectors. Lengths are not touched. The
    coefficient of the rule is that of the other model.

    Raises:
        SettingsError: There is no base, or not exactly one model beside it.
    """
    require(stack, "slerp", base=True, models=1)
    products = whole_gram(stack, BASE_FIRST)
    base, other = map(float, arc_weights(products[[0, 0, 1], [0, 1, 1]], settings.t))
    return WeightedRule(
        lambda part: weighted_sum(part.models_KN, (other,), part.base_N, base), (other,)
    )
