"""What a pruning method yields: blocks of a decoder, in the order in which they go.

A decoder layer holds two residual blocks, attention and feed-forward; each adds its output to the
residual stream, and can be left out alone.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["mha", "mlp"]


class Block(NamedTuple):
    """One residual block. Blocks sort in the published order of ties: attention first, by layer."""

    kind: Kind
    """``"mha"``, attention, or ``"mlp"``, feed-forward."""
    layer: int
    """Index of its layer in the model as it was, from 0."""

    @property
    def place(self) -> int:
        """Place in the residual stream: attention of layer i is at 2 i, feed-forward behind it."""
        return 2 * self.layer + (self.kind == "mlp")


Unit = tuple[Block, ...]
"""What one step removes: a block, a pair of them, or both blocks of a layer; sorted."""


class Step(NamedTuple):
    """One removal."""

    unit: Unit
    score: float
    """What the method ranks by: the loss of the model without the unit, or the unit's measure."""
    margin: float | None = None
    """The second best score less the best; None where there was no other, or nothing was ranked."""
    margin_error: float | None = None
    """Standard error of the margin over draws of calibration rows; a margin of less than about two
    is a tie that other rows would break otherwise."""
    evaluations: int = 0
    """Candidates whose loss was computed in full for this step; a resumed search may need more."""
    into: int | None = None
    """Layer that takes in the weights of the unit's layers (LaCo); None: they are dropped."""
    num_fallen: int = 0
    """Losses that turned out lower than the bound that lazy search had trusted."""


def name_of(unit: Iterable[Block]) -> str:
    """Return the unit as messages show it: ``mha3+mlp4``."""
    return "+".join(f"{block.kind}{block.layer}" for block in unit)
