"""What the table of methods holds."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from inarch.prune._order import Step
from inarch.settings import Settings


class PruneMethod(NamedTuple):
    """A pruning method: its function, its settings, and what it costs."""

    function: Callable[..., Iterator[Step]]
    """``function(subject, settings, done=())`` yields the steps that follow those done."""
    settings: type[Settings]
    needs: Literal["losses", "stream", "nothing"]
    """What it asks of the model: losses without blocks, its hidden states, or nothing."""

    def steps(self, subject: Any, settings: Any, done: Any = ()) -> Iterator[Step]:
        """Yield the steps that follow those done."""
        return self.function(subject, settings, done)
