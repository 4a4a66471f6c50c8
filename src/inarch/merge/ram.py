"""RAM: keep what only one model changed, average what several did.

Source:   Behavior Knowledge Merge in Reinforced Agentic Models, arXiv:2601.13572.
Differs:  nothing.

Shapes: K = models, N = elements of a part.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import NonNegativeFloat

from inarch.merge import _loops
from inarch.merge._settings import require
from inarch.merge._stack import Array, Part, Rule, Stack, namespace
from inarch.settings import Settings


class RamSettings(Settings):
    """What counts as a change."""

    epsilon: NonNegativeFloat = 1e-5
    """A change counts where its magnitude is above this."""


def ram(stack: Stack, settings: RamSettings) -> Rule:
    """Return the rule ``base + c``.

    c is the mean of the changes ``d_k = theta_k - base`` over the models with ``|d_k| > epsilon``,
    and 0 where there are none.

    Raises:
        SettingsError: There is no base.
    """
    require(stack, "ram", base=True)
    ones = (1.0,) * stack.num_models
    return lambda part: average_changes(part, settings.epsilon, ones)


def average_changes(part: Part, epsilon: float, scales: Sequence[float]) -> Array:
    """Return what RAM makes of a part, ``[N]``.

    Args:
        part: With a base.
        epsilon: What counts as a change is above this.
        scales: Of each model; factor on what it alone has changed.
    """
    if isinstance(part.models_KN, np.ndarray) and _loops.average_changes is not None:
        out_N = np.empty_like(part.base_N)
        scales_K = np.array(scales, np.float32)
        _loops.average_changes(part.models_KN, part.base_N, np.float32(epsilon), scales_K, out_N)
        return out_N
    return _average_plain(part, epsilon, scales)


def _average_plain(part: Part, epsilon: float, scales: Sequence[float]) -> Array:
    xp = namespace(part.models_KN)
    total_N, alone_N, count_N = (xp.zeros_like(part.base_N) for _ in range(3))
    for delta_N, scale in zip(part.deltas(), scales, strict=True):
        is_change_N = xp.asarray(abs(delta_N) > epsilon, dtype=xp.float32)
        delta_N *= is_change_N
        total_N += delta_N
        alone_N += delta_N * scale
        count_N += is_change_N
    mean_N = total_N / xp.clip(count_N, 1.0, None)
    return part.base_N + xp.where(count_N == 1, alone_N, mean_N)
