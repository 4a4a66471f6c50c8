"""NearSwap: take the other model's weight where the two are near, and go towards it elsewhere.

Source:   alchemonaut, QuartetAnemoi-70B-t0.0001 (model card).
Differs:  the published form ``w other + (1 - w) base`` with ``w = clip(t / |other - base|, 0, 1)``
          divides by zero where the models agree; this is the same function without the division.
"""

from typing import Any

import numpy as np
from pydantic import Field, FiniteFloat

from inarch.compiled import compiled
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
        return _hold(part.models_KN[0], base_N, settings.t)

    return rule


def _hold(other_N: Array, base_N: Array, t: float) -> Array:
    """Return the other model within t of the base, ``[N]``."""
    if isinstance(other_N, np.ndarray) and _hold_compiled is not None:
        held_N = np.empty_like(other_N)
        _hold_compiled(other_N, base_N, np.float32(t), held_N)
        return held_N
    return _hold_plain(other_N, base_N, t)


def _hold_plain(other_N: Array, base_N: Array, t: float) -> Array:
    low_N, high_N = base_N - t, base_N + t
    where = namespace(other_N).where  # clip leaves open which zero it returns
    return where(other_N < low_N, low_N, where(other_N > high_N, high_N, other_N))


def _hold_loop(other_N: Any, base_N: Any, t: Any, held_N: Any) -> None:
    for i in range(held_N.size):
        low, high = base_N[i] - t, base_N[i] + t
        held = high if other_N[i] > high else other_N[i]
        held_N[i] = low if other_N[i] < low else held


_hold_compiled = compiled(_hold_loop)
