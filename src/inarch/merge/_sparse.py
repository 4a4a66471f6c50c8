"""What the methods share that merge a part of each model's changes.

Shapes: K = models, N = elements of a part.
"""

import math
from collections.abc import Callable, Sequence

from pydantic import Field, FiniteFloat

from inarch.merge._combine import Combination
from inarch.merge._select import KEEP_ALL, Band, cuts
from inarch.merge._settings import PerModel, of_sum_one, per_model
from inarch.merge._stack import Array, Part, Stack
from inarch.merge._weighted import add_parts, sums_of_magnitudes
from inarch.settings import Settings, UnitFloat

Shares = tuple[UnitFloat, ...]
"""One share per model, in the user's order; a tuple of one value stands for all models."""


class SparseSettings(Settings):
    """How much of each model's change is kept, and how it counts."""

    weight: PerModel
    """Of each model's change; may be negative."""
    density: Shares = (1.0,)
    """Share of each model's changes that is kept."""
    lambda_: FiniteFloat = Field(default=1.0, alias="lambda")
    """Factor on the merged change."""
    normalize: bool = False
    """Divide by the sum of the weights; where a sign is elected, of those that agree."""
    int8_mask: bool = False
    """Accepted, as recipes for mergekit have it; it changes nothing."""


class BandSettings(SparseSettings):
    """For methods that keep changes by their magnitude."""

    rescale: bool = False
    """Scale what is kept of a model up to the summed magnitude of all its changes."""


class DrawSettings(SparseSettings):
    """For methods that keep changes by chance."""

    rescale: bool = True
    """Divide each kept change by its probability to be kept."""
    seed: int = 0
    """Another seed makes other choices. The choices depend on it, the tensor's name, the place of
    the model in the recipe and the element; on nothing else."""


def summed(stack: Stack, settings: SparseSettings) -> Combination:
    """Return the combination ``lambda sum_k w_k d_k``, w divided by its sum if ``normalize``.

    Raises:
        SettingsError: The weights do not fit the models, or are to be normalised and sum to zero.
    """
    weights = per_model(settings.weight, stack.num_models, "weight")
    if settings.normalize:
        weights = of_sum_one(weights)
    return Combination(weights, votes="none", lambda_=settings.lambda_)


def elected(stack: Stack, settings: SparseSettings) -> Combination:
    """Return the combination of those weighted changes that have the sign of their sum.

    Raises:
        SettingsError: The weights do not fit the models.
    """
    weights = per_model(settings.weight, stack.num_models, "weight")
    return Combination(weights, normalize=settings.normalize, lambda_=settings.lambda_)


def bands(stack: Stack, keep: Sequence[int], skip: Sequence[int]) -> list[Band]:
    """Return, for each model, the band of the `keep` largest changes behind the `skip` largest.

    Of equal magnitudes that with the lower flat index counts as the larger.
    """
    size = math.prod(stack.shape)
    if min(keep) >= size:
        return [Band(KEEP_ALL)] * stack.num_models
    counts = [(more + less, less) for more, less in zip(keep, skip, strict=True)]
    found = cuts(stack, Part.deltas, lambda _: counts, stack.num_models)
    return [Band(low, high) for low, high in found]


def norm_scales(stack: Stack, kept: Callable[[Part], Array]) -> tuple[float, ...]:
    """Return what scales each model's kept changes up to the summed magnitude of all of them.

    Args:
        stack: The tensor.
        kept: Returns the changes of a part, 0 where they are not kept, ``[K, N]``; it may overwrite
            the part.
    """

    def measure(part: Part) -> tuple[float, ...]:
        whole = sums_of_magnitudes(part.models_KN - part.base_N)
        return (*whole, *sums_of_magnitudes(kept(part)))

    num = stack.num_models
    sums = add_parts(stack.map(measure), 2 * num)
    return tuple(sums[k] / sums[num + k] if sums[num + k] else 1.0 for k in range(num))
