"""The built-in encoder, for machines without pretrained weights: LSTMs over words and characters.

    x_t = [word embedding; max over the characters' convolution; flags]
    h_t = [LSTM left to right; LSTM right to left], one or more layers

Source:   Ma and Hovy (2016), arXiv:1603.01354.
Differs:  rows are reversed within their length, so that padding, which comes last, is never read.
Shapes:   B = rows, T = padded length, U = forms of the batch, C = characters, F = flags, D = width.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from inarch.settings import Settings, UnitFloat
from inarch.spans.crf import mirror
from inarch.spans.words import NUM_FLAGS, PADDING, UNKNOWN

_EMBEDDING_STD = 0.1


class WordEncoderSettings(Settings):
    """Shape of the built-in encoder."""

    word_dim: PositiveInt = 100
    """Width of a word's embedding."""
    char_dim: PositiveInt = 32
    """Width of a character's embedding."""
    char_filters: PositiveInt = 96
    """Filters of the convolution over three characters."""
    hidden: PositiveInt = 128
    """Width of the LSTM of each direction."""
    layers: PositiveInt = 1
    """Layers of LSTMs."""
    word_dropout: UnitFloat = 0.08
    """Share of the words that training takes for unknown ones."""
    dropout: UnitFloat = 0.5
    """Share of the LSTM's inputs and outputs that training drops."""
    min_count: PositiveInt = 2
    """How often a word must occur in the training texts to get an embedding."""


class WordEncoder(nn.Module):
    """Words to states; ``has_input_state`` adds the words themselves as the first of the states."""

    def __init__(
        self, settings: WordEncoderSettings, num_words: int, num_chars: int, has_input_state: bool
    ) -> None:
        super().__init__()
        own = settings
        self.word_dropout = own.word_dropout
        self.words = nn.Embedding(num_words, own.word_dim, padding_idx=PADDING)
        self.chars = nn.Embedding(num_chars, own.char_dim, padding_idx=PADDING)
        for table in (self.words, self.chars):  # torch's own start, 1, drowns what is learnt
            nn.init.normal_(table.weight, std=_EMBEDDING_STD)
            # A character behind the last is then what the convolution has at the batch's edge.
            nn.init.zeros_(table.weight[PADDING])
        self.filters = nn.Conv1d(own.char_dim, own.char_filters, 3, padding=1)
        self.dropout = nn.Dropout(own.dropout)
        width = own.word_dim + own.char_filters + NUM_FLAGS
        self.input_state = nn.Linear(width, 2 * own.hidden) if has_input_state else None
        self.layers = nn.ModuleList()
        for _ in range(own.layers):
            pair = [nn.LSTM(width, own.hidden, batch_first=True) for _ in range(2)]
            self.layers.append(nn.ModuleList(pair))
            width = 2 * own.hidden
        self.width = width

    def forward(
        self,
        forms_BT: Tensor,
        lengths_B: Tensor,
        words_U: Tensor,
        flags_UF: Tensor,
        chars_UC: Tensor | None = None,
        spelling_UF: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the states of all layers, ``[B, T, 2 hidden]`` each, the last layer's last.

        Args:
            forms_BT: Index of each word's form; 0 is padding, behind the words.
            lengths_B: Words of the rows.
            words_U: See `inarch.spans.words.FormTable`.
            flags_UF: The same.
            chars_UC: The same.
            spelling_UF: What `spelling` gave for the characters, in their place.
        """
        if chars_UC is not None:
            spelling_UF = self.spelling(chars_UC)
        words_BT = words_U[forms_BT]
        if self.training and self.word_dropout:
            dropped_BT = torch.rand(words_BT.shape, device=words_BT.device) < self.word_dropout
            words_BT = words_BT.masked_fill(dropped_BT & (words_BT != PADDING), UNKNOWN)
        spelling_UD = torch.cat([spelling_UF, flags_UF], 1)  # type: ignore[list-item]
        # An embedding, since its gradient is a sum over the rows of each form, and fast.
        spelling_BTD = nn.functional.embedding(forms_BT, spelling_UD)
        hidden_BTD = self.dropout(torch.cat([self.words(words_BT), spelling_BTD], 2))
        states = [] if self.input_state is None else [self.input_state(hidden_BTD)]
        mirror_BT = mirror(lengths_B, forms_BT.shape[1])
        for layer in self.layers:
            hidden_BTD = self.dropout(_both_ways(layer, hidden_BTD, mirror_BT))
            states.append(hidden_BTD)
        return tuple(states)

    def spelling(self, chars_UC: Tensor) -> Tensor:
        """Return what the convolution finds in each form, ``[U, char_filters]``."""
        found_UDC = self.filters(self.chars(chars_UC).transpose(1, 2))
        # Or the longest form of the batch would decide how much padding the others see.
        found_UDC = found_UDC.masked_fill((chars_UC == PADDING)[:, None], -torch.inf)
        return torch.relu(found_UDC.max(2).values)


def _both_ways(layer: Any, hidden_BTD: Tensor, mirror_BT: Tensor) -> Tensor:
    rightward, leftward = layer
    row_B1 = torch.arange(len(mirror_BT), device=mirror_BT.device)[:, None]
    # Given, and not left to torch, so that an exported model knows that B may vary.
    zero_1BD = hidden_BTD.new_zeros(1, hidden_BTD.shape[0], rightward.hidden_size)
    forward_BTD, _ = rightward(hidden_BTD, (zero_1BD, zero_1BD))
    backward_BTD, _ = leftward(hidden_BTD[row_B1, mirror_BT], (zero_1BD, zero_1BD))
    return torch.cat([forward_BTD, backward_BTD[row_B1, mirror_BT]], 2)
