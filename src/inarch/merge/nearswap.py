"""NearSwap: take the other model's weight where the two are near, and go towards it elsewhere.

Source:   alchemonaut, QuartetAnemoi-70B-t0.0001 (model card).
Differs:  the published form ``w other + (1 - w) base`` with ``w = clip(t / |other - base|, 0, 1)``
          divides by zero where the models agree; this is the same function without the division.
"""

from pydantic import Field, FiniteFloat

from inarch.merge._settings import require
from inarch.merge._stack import Array, Part, Rule, Stack, namespace
from inarch.settings import Settings


class NearswapSettings(Settings):
    """How near is near."""

    t: FiniteFloat = Field(ge=0.0)
    """The most that a weight moves: what is nearer than this is swapped."""


def nearswap(stack: Stack, settings: NearswapSettings) -> Rule:
    """Return the rule that holds the other model within t of the base.

    ``clip(other, base - t, base + t)``: the other model's weight, bit for bit, where the two differ
    by no more than t; the base moved by t towards it elsewhere.

    Raises:
        SettingsError: There is no base, or not exactly one model beside it.
    """
    require(stack, "nearswap", base=True, models=1)

    def rule(part: Part) -> Array:
        base_N: Array = part.base_N
        other_N = part.models_KN[0]
        low_N, high_N = base_N - settings.t, base_N + settings.t
        where = namespace(other_N).where  # clip leaves open which zero it returns
        return where(other_N < low_N, low_N, where(other_N > high_N, high_N, other_N))

    return rule
