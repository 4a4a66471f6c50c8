"""Bits per byte: how surprised a model is by a text, in a unit that all tokenizers share.

Source:  the usual definition, log-probs of the tokens over bytes of the text; perplexity per token
         cannot be compared between models whose tokens differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from inarch.errors import DataError
from inarch.teach import TeachSettings
from inarch.teach.capture import capture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inarch.records import TokenRow


def bits_per_byte(model: Any, rows: Sequence[TokenRow], num_bytes: int) -> float:
    """Return the bits that the model needs for what is supervised, over its bytes.

        -(sum of log p(token | what precedes it)) / log 2 / num_bytes

    The tokens are those that a row supervises: an answer and the end of its turn, or a text and its
    end where the model's tokenizer has one. The end costs bits, as it must be predicted too, but
    counts for no byte.

    Args:
        model: A causal language model, on its device.
        rows: Documents as this model's tokens.
        num_bytes: Bytes of all that is supervised, the same for every model that is compared.

    Raises:
        DataError: ``num_bytes`` is not positive.
    """
    if num_bytes <= 0:
        raise DataError(f"bits per byte over {num_bytes} bytes; expected a text that is not empty")
    beliefs = capture(model, rows, TeachSettings(top_k=1))
    nats = -math.fsum(float(row.next_logps.sum(dtype="float64")) for row in beliefs)
    return nats / math.log(2) / num_bytes
