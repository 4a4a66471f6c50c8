"""What a token's tag is decided from: its states in all layers, and the whole text.

    none     h_N[t]
    cls      h_N[t] + p
    concat   [h_N[t]; p]
    onatt    a(t) = sum_l softmax_l(w . h_l[t] + b) h_l[t]
    att      a(t) + p
    last4    [h_{N-3}[t]; ...; h_N[t]; p]

h_0 is the embedding output, h_1 ... h_N those of the layers: N + 1 states; p is the pooled text.

Source:   Chen, Wang and Zhang, "YNU-HPCC at SemEval-2021 Task 5", 2021.semeval-1.112.
Differs:  p always comes from h_N; the released XLNet variant of att pools a instead.
Shapes:   B = rows, T = padded length, H = width, L = N + 1 states.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Aux = Literal["none", "cls", "concat", "onatt", "att", "last4"]
NEEDS_POOLED = ("cls", "concat", "att", "last4")
NEEDS_STATES = ("onatt", "att", "last4")
_PARTS = {"concat": 2, "last4": 5}


class LayerAttention(nn.Module):
    """Every token weighs its states by what they hold: one vector w for all layers.

    Which layer a state is from plays no part. With w = 0 this is the mean over layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum of L states ``[B, T, H]``, ``[B, T, H]``."""
        states_BTLH = torch.stack(list(states), 2)
        weights_BTL1 = self.score(states_BTLH).softmax(2)
        return (weights_BTL1 * states_BTLH).sum(2)


class AuxiliaryFeatures(nn.Module):
    """One of the ways above; ``out_width`` is the width of what it returns."""

    def __init__(self, aux: Aux, width: int) -> None:
        super().__init__()
        self.aux = aux
        self.attention = LayerAttention(width) if aux in ("onatt", "att") else None
        self.out_width = width * _PARTS.get(aux, 1)

    def forward(self, states: Sequence[Tensor], pooled_BH: Tensor | None) -> Tensor:
        """Return the features of every token, ``[B, T, out_width]``.

        Args:
            states: N + 1 states ``[B, T, H]``; the last alone suffices outside NEEDS_STATES.
            pooled_BH: The whole text; looked at by those in NEEDS_POOLED.
        """
        own_BTH = states[-1] if self.attention is None else self.attention(states)
        if self.aux not in NEEDS_POOLED or pooled_BH is None:
            return own_BTH
        pooled_BTH = pooled_BH[:, None].expand_as(own_BTH)
        if self.aux == "concat":
            return torch.cat([own_BTH, pooled_BTH], 2)
        if self.aux == "last4":
            return torch.cat([*states[-4:], pooled_BTH], 2)
        return own_BTH + pooled_BTH


class SummaryToken(nn.Module):
    """p = tanh(W h[first] + b), of the last token where the encoder puts its summary there."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(width, width), last

    def forward(self, hidden_BTH: Tensor, real_BT: Tensor) -> Tensor:
        """Return p, ``[B, H]``.

        Args:
            hidden_BTH: States.
            real_BT: False for padding, on whichever side.
        """
        position_T = torch.arange(real_BT.shape[1], device=real_BT.device)
        at_B = (real_BT * (position_T + 1)).argmax(1) if self.last else real_BT.int().argmax(1)
        row_B = torch.arange(len(at_B), device=at_B.device)
        return self.linear(hidden_BTH[row_B, at_B]).tanh()


class MeanAndMax(nn.Module):
    """p = tanh(W [mean; max] + b) over the real tokens, for encoders without a summary token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)

    def forward(self, hidden_BTH: Tensor, real_BT: Tensor) -> Tensor:
        """Return p, ``[B, H]``; see `SummaryToken`. A row of padding counts as one of zeros."""
        padding_BT1 = ~real_BT[..., None]
        num_B1 = real_BT.sum(1, keepdim=True).clamp(min=1)
        mean_BH = hidden_BTH.masked_fill(padding_BT1, 0.0).sum(1) / num_B1
        max_BH = hidden_BTH.masked_fill(padding_BT1, -torch.inf).max(1).values
        max_BH = max_BH.masked_fill(~real_BT.any(1, keepdim=True), 0.0)
        return self.linear(torch.cat([mean_BH, max_BH], 1)).tanh()
