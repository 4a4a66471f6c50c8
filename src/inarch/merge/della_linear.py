"""DELLA: drop changes at random, small ones more often, rescale the others, add up.

Source:   DELLA-Merging, arXiv:2406.11617, MagPrune.
Differs:  nothing by default. mergekit 0.1.5 rescales by one factor for the tensor, which keeps its
          summed magnitude, and not by each change's probability: ``variant: mergekit`` does.

Shapes: K = models, N = elements of a part, R = rows, C = columns.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from inarch.errors import SettingsError
from inarch.merge import _loops
from inarch.merge._combine import Combination, combine
from inarch.merge._loops import NUM_BITS
from inarch.merge._random import Key, key, uniform_bits
from inarch.merge._select import magnitude_bits
from inarch.merge._settings import per_model, require
from inarch.merge._sparse import DrawSettings, Shares, norm_scales, summed
from inarch.merge._stack import Array, Part, Rule, Stack, namespace


class DellaLinearSettings(DrawSettings):
    """How much of each model's change is kept, and how it counts."""

    epsilon: Shares = (0.15,)
    """The smallest change of a row is kept with probability density - epsilon, the largest with
    density + epsilon."""
    variant: Literal["paper", "mergekit"] = "paper"
    """``rescale`` divides by each change's probability; in mergekit it scales what is kept of a
    model up to the summed magnitude of all its changes."""


def della_linear(stack: Stack, settings: DellaLinearSettings) -> Rule:
    """Return the rule ``base + lambda sum_k w_k d'_k``, w divided by its sum if ``normalize``.

    In each row (the last dimension; a vector is one) of C changes ``d_k = theta_k - base``, the one
    of rank i by magnitude, from 0, is kept with probability
    ``p = density_k - epsilon_k + 2 epsilon_k i / (C - 1)`` and then divided by p if ``rescale``,
    which makes ``d'_k``; the others become 0. Of equal magnitudes that with the lower index has the
    higher rank. A density of 0 or 1 keeps none or all, and a row of one element has p = density.
    The variant ``mergekit`` does not divide by p but multiplies all that is kept of ``d_k`` by one
    factor, so that the sum of the magnitudes is that of ``d_k``.

    Raises:
        SettingsError: There is no base; weights, densities or epsilons do not fit the models; a
            probability is not above 0 and up to 1; or weights to be normalised sum to zero.
    """
    require(stack, "della_linear", base=True)
    return magprune(stack, settings, summed(stack, settings))


class _Draw(NamedTuple):
    """How the changes of one model in one tensor are drawn; C is the length of a row."""

    key: Key
    limits_C: npt.NDArray[np.int64]
    """What the bits of a kept change of each rank are below; see ``_random.limit``."""
    scales_C: npt.NDArray[np.float32]
    """Factor on the kept change of each rank."""


def magprune(stack: Stack, settings: DellaLinearSettings, how: Combination) -> Rule:
    """Return the rule that combines the changes which both DELLAs keep."""
    densities = per_model(settings.density, stack.num_models, "density")
    epsilons = per_model(settings.epsilon, stack.num_models, "epsilon")
    columns = stack.shape[-1] if stack.shape else 1
    draws = []
    for model, (density, epsilon) in enumerate(zip(densities, epsilons, strict=True)):
        chances_C = _chances(density, epsilon, columns)
        by_chance = settings.rescale and settings.variant == "paper"
        scales_C = 1 / np.where(by_chance & (chances_C > 0), chances_C, 1)
        draws.append(
            _Draw(
                key(settings.seed, stack.name, model),
                np.rint(chances_C * (1 << NUM_BITS)).astype(np.int64),
                scales_C.astype(np.float32),
            )
        )
    vector_ranks_KN = _vector_ranks(stack) if len(stack.shape) <= 1 else None

    def kept(part: Part) -> Array:
        deltas_KN = part.deltas()
        for k, (delta_N, draw) in enumerate(zip(deltas_KN, draws, strict=True)):
            if vector_ranks_KN is None:
                ranks_N = _ranks(delta_N.reshape(-1, columns)).reshape(-1)
            else:
                ranks_N = vector_ranks_KN[k, part.start : part.start + len(delta_N)]
            delta_N *= _look_up(draw.scales_C, ranks_N) * (
                uniform_bits(draw.key, part.start, delta_N) < _look_up(draw.limits_C, ranks_N)
            )
        return deltas_KN

    if not settings.rescale or settings.variant == "paper":
        return lambda part: combine(kept(part), part.base_N, how)
    scales = norm_scales(stack, kept)

    def rule(part: Part) -> Array:
        deltas_KN = kept(part)
        for delta_N, scale in zip(deltas_KN, scales, strict=True):
            delta_N *= scale
        return combine(deltas_KN, part.base_N, how)

    return rule


def _chances(density: float, epsilon: float, columns: int) -> npt.NDArray[np.float64]:
    """Return the probability to be kept of each rank of a row, ``[C]``."""
    if density in (0, 1) or columns == 1:
        return np.full(columns, density, np.float64)
    if density - epsilon <= 0 or density + epsilon > 1:
        raise SettingsError(
            f"found density {density} and epsilon {epsilon}; density - epsilon must be above 0 and "
            "density + epsilon at most 1, but for densities of 0 and 1; use a smaller epsilon"
        )
    return density - epsilon + 2 * epsilon * np.arange(columns) / (columns - 1)


def _vector_ranks(stack: Stack) -> Array | None:
    """Return the ranks of the changes of a vector, which parts may cut anywhere, ``[K, N]``."""
    parts = stack.map(lambda part: part.deltas() + 0)
    return _ranks(namespace(parts[0]).concatenate(parts, 1)) if parts else None


def _ranks(deltas_RC: Array) -> Array:
    """Return the rank of each magnitude within its row, from 0 for the smallest, ``[R, C]``."""
    bits_RC = magnitude_bits(deltas_RC)
    xp = namespace(bits_RC)
    if xp is np and _loops.ranks is not None:
        ranks_RC = np.empty_like(bits_RC)
        _loops.ranks(bits_RC.view(np.uint32), ranks_RC)
        return ranks_RC
    columns = bits_RC.shape[1]
    from_right_C = xp.arange(columns - 1, -1, -1)
    if xp is not np:
        from_right_C = from_right_C.to(bits_RC.device)
    keys_RC = xp.asarray(bits_RC, dtype=xp.int64) * columns + from_right_C
    return xp.argsort(xp.argsort(keys_RC))


def _look_up(table_C: npt.NDArray[np.generic], ranks_N: Array) -> Array:
    """Return the entry of each rank, ``[N]``."""
    xp = namespace(ranks_N)
    if xp is np:
        return table_C[ranks_N]
    return xp.from_numpy(table_C).to(ranks_N.device)[ranks_N]
