"""What the table of methods holds."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from inarch.align._read import Form
from inarch.records import LossOut
from inarch.settings import Settings


class AlignMethod(NamedTuple):
    """A loss over answers: its function, its settings, and what it needs."""

    function: Callable[..., LossOut]
    """From the policy's log-probs, the reference's where it needs them, and settings."""
    settings: type[Settings]
    data: Form
    """What a row holds, and with it the record of log-probs."""
    reference: bool
    """It needs log-probs under a frozen reference model."""
    scores: Literal["sums", "means", "either"]
    """What an answer counts by: its log-prob, that per token, or either, by a setting. The
    function is given sums; unless this is ``sums``, with the lengths."""
    ramps: bool = False
    """It changes with the share of training done."""

    @property
    def items(self) -> Literal["rows", "tokens"]:
        """What its sums are over, and so what ``num_items`` of a batch counts."""
        return "tokens" if self.data == "answers" else "rows"

    def loss(self, policy: Any, reference: Any, settings: Any, *, progress: float) -> LossOut:
        """Return the loss of a batch, whatever the method.

        Args:
            policy: Record of log-probs under the model in training.
            reference: The same under the reference; not read where the method needs none.
            settings: An object of ``settings``.
            progress: Share of training done, in [0, 1].
        """
        given = (policy, reference, settings) if self.reference else (policy, settings)
        return self.function(*given, progress=progress) if self.ramps else self.function(*given)
