"""What a pruning method sees of a model: losses without some blocks, and measures of its stream.

The residual stream of a decoder of L layers has the places 0 ... 2 L: place 2 i is the input of
layer i, place 2 i + 1 lies between its attention and its feed-forward block, place 2 L is the
output of the last layer.

Shapes: N = positions, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from inarch.prune._order import Block, Unit

if TYPE_CHECKING:
    from torch import Tensor

Measure = Callable[["Tensor", "Tensor"], "Tensor"]
"""From two states of the stream, float32 ``[N, D]`` each, to a number per position, ``[N]``."""

Formula = Literal["sum", "last"]
"""How later layers go into an earlier one; see `inarch.prune.laco`."""


class Fold(NamedTuple):
    """Later layers that go into an earlier one."""

    into: int
    layers: tuple[int, ...]
    """The layers that it takes in, increasing."""


class Subject(Protocol):
    """A model under the knife."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, layer by layer, attention in front of feed-forward."""
        ...

    def losses(
        self, removed: Collection[Block], candidates: Sequence[Unit], *, top: int | None = None
    ) -> list[float]:
        """Return the mean NLL, in nats, of the model without ``removed`` and each candidate.

        Args:
            removed: Blocks that are gone already.
            candidates: What to leave out beside them, one at a time.
            top: Only so many of the best need be known: others may come back as ``inf``. None: all.
        """
        ...

    def margin_error(self, best: Unit, second: Unit) -> float | None:
        """Return the standard error over rows of the difference between two losses asked for last.

        In nats; None where it is not known.
        """
        ...

    def contrast(
        self,
        places: Sequence[tuple[int, int]],
        measure: Measure,
        positions: Literal["all", "last"] = "all",
    ) -> list[float]:
        """Return the mean of a measure over positions, for each pair of places of the whole model.

        Args:
            places: Pairs of places in the residual stream.
            measure: What to take the mean of.
            positions: All that have a token, or the last token of each row.
        """
        ...

    def folded_similarity(self, folds: Sequence[Fold], formula: Formula) -> float:
        """Return how alike the last hidden states are with the folds and without, in [-1, 1].

        The mean over rows of the cosine between a row's states after the last norm, as one vector.
        """
        ...
