"""What a method sees of one tensor: the same stretch of it from every model, part after part.

A method is a function of a `Stack` and its settings, and returns a `Rule`: what makes the merged
stretch of one part. Numbers that depend on the whole tensor (norms, angles, thresholds) it gathers
beforehand with `Stack.map`; so no method ever holds a whole tensor, and each is written once, for
numpy arrays on the processor and torch tensors on an accelerator.

Shapes: K = models (without the base), N = elements of a part.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

Array = Any
"""A float32 array: ``numpy.ndarray``, or ``torch.Tensor`` on an accelerator."""
T = TypeVar("T")

PART_ELEMENTS = 1 << 18
"""Elements of a part: with a few models, what a core's cache holds. Fixed, as sums over parts are
rounded in their order: the result must not depend on the number of threads."""


class Part(NamedTuple):
    """A stretch of one tensor in all models, in float32. Rules may overwrite its arrays."""

    start: int
    """Index of the first element in the flat tensor; parts of a matrix begin at a row."""
    models_KN: Array
    """The models, in the user's order, contiguous ``[K, N]``."""
    base_N: Array | None
    """The base model, ``[N]``, if there is one."""

    def deltas(self) -> Array:
        """Return the models less the base, ``[K, N]``, in the place of the models."""
        deltas_KN = self.models_KN
        deltas_KN -= self.base_N
        return deltas_KN


Rule = Callable[[Part], Array]
"""Returns the merged stretch ``[N]`` of a part, float32."""


class Stack(Protocol):
    """One tensor of all models."""

    @property
    def name(self) -> str:
        """Return the name of the tensor in the result."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that all models share."""

    @property
    def num_models(self) -> int:
        """Return the number of models without the base."""

    @property
    def has_base(self) -> bool:
        """Return whether parts come with a base."""

    def map(self, measure: Callable[[Part], T]) -> list[T]:
        """Return what `measure` returns for each part, in the order of the parts.

        Parts are measured on several threads; whoever adds the results up in their order gets the
        same bits on every run. Each call reads the tensor once more.
        """


def row_length(shape: tuple[int, ...]) -> int:
    """Return the elements of a row, ``shape[1:]``; of a vector or scalar, 1."""
    return int(np.prod(shape[1:])) if len(shape) > 1 else 1


def namespace(array: Array) -> Any:
    """Return ``numpy`` or ``torch``, whichever `array` is of.

    Code for both uses what they spell alike: operators, ``abs()``, ``xp.where``, ``xp.sqrt``,
    ``xp.sign``, ``xp.clip``, ``x.sum(0)``. Scalars must be Python numbers, as a numpy float64
    would widen float32 arrays.
    """
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


class ArrayStack:
    """A `Stack` of arrays in memory, for tests and for use from Python."""

    def __init__(
        self,
        models: "list[Array] | tuple[Array, ...]",
        base: Array | None = None,
        name: str = "tensor",
        part_elements: int = PART_ELEMENTS,
    ) -> None:
        """Take float32 arrays of one shape; `part_elements` is there for tests of the seams."""
        self.name = name
        self.shape = tuple(models[0].shape)
        self.num_models = len(models)
        self.has_base = base is not None
        self._models, self._base, self._part_elements = models, base, part_elements

    def map(self, measure: Callable[[Part], T]) -> list[T]:
        """Return what `measure` returns for each part, in order."""
        xp = namespace(self._models[0])
        parts = spans(self.shape, self._part_elements)
        return [
            measure(
                Part(
                    start,
                    xp.stack([model.reshape(-1)[start:end] for model in self._models]),
                    None if self._base is None else xp.asarray(self._base).reshape(-1)[start:end],
                )
            )
            for start, end in parts
        ]

    def merge(self, rule: Rule) -> Array:
        """Return the whole merged tensor, ``shape``."""
        xp = namespace(self._models[0])
        return xp.concatenate(self.map(rule)).reshape(self.shape)


def spans(shape: tuple[int, ...], part_elements: int = PART_ELEMENTS) -> list[tuple[int, int]]:
    """Return the flat ``[start, end)`` of each part: whole rows, at least one, in order.

    An empty tensor has no parts; a vector may be cut anywhere.
    """
    total, row = int(np.prod(shape)), row_length(shape)
    if total == 0:
        return []
    step = max(part_elements // row, 1) * row
    return [(start, min(start + step, total)) for start in range(0, total, step)]
