"""What the stream is told to do: one job per tensor of the result."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from inarch.settings import Settings

Floats = npt.NDArray[np.float32]
Raw = npt.NDArray[Any]


class Source(Protocol):
    """One model's side of one tensor: what lies in its file, or what is made of it on the way."""

    @property
    def label(self) -> str:
        """Return the model, as the user wrote it; errors name it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that `fill` speaks of."""

    @property
    def dtype(self) -> str:
        """Return the type on disk, in the spelling of safetensors: ``"BF16"``."""

    def fill(self, start: int, out: Floats) -> bool:
        """Write the elements from flat index `start` on into `out`; return whether all are finite.

        Called from several threads at once. `start` is at the beginning of a row.
        """

    def raw(self) -> Raw | None:
        """Return the flat array as it lies on disk, if the tensor is just that."""

    def prefetch(self) -> None:
        """Ask the system to read the file ahead; a hint."""

    def release(self) -> None:
        """Tell the system that the pages of the file are no longer needed; a hint."""


class Job(NamedTuple):
    """How one tensor of the result is made."""

    name: str
    """Its name in the result."""
    dtype: str
    """The type it is stored in, in the spelling of safetensors: ``"BF16"``."""
    method: str
    """A key of ``inarch.merge.METHODS``."""
    settings: Settings
    """Of the method, with the numbers of this tensor: gradients and filters are resolved."""
    models: tuple[Source, ...]
    """In the user's order; all of one shape, which is that of the result."""
    base: Source | None
    """The base model's side, if the method has one."""
    copy: bool = False
    """The bytes of the one model are copied: ``passthrough`` without a scale, integers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the result."""
        return self.models[0].shape

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the models, and the base behind them."""
        return self.models if self.base is None else (*self.models, self.base)
