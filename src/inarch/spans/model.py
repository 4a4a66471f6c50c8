"""A tagger of tokens: an encoder, auxiliary features, and a softmax or a chain over the tags.

``logits`` are log-marginals, ``log p(y_t = k | text)``, so that whoever takes their softmax, as the
``token-classification`` pipeline of transformers does, has the exact posterior of the chain.

Source:   2021.semeval-1.112 for the features; its released code has no chain.
Differs:  the chain runs over the real tokens only, neither special ones nor padding, which are O.
Shapes:   B = rows, T = padded length, K = tags, H = width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput

from inarch.errors import SettingsError
from inarch.spans.auxiliary import (
    NEEDS_POOLED,
    NEEDS_STATES,
    AuxiliaryFeatures,
    MeanAndMax,
    SummaryToken,
)
from inarch.spans.crf import FORBIDDEN, Crf
from inarch.spans.encoder import WordEncoder, WordEncoderSettings
from inarch.spans.losses import token_loss

LABELS = {0: "O", 1: "TOXIC"}


class SpanConfig(PreTrainedConfig):
    """Which encoder, and what comes after it."""

    model_type = "inarch_spans"

    encoder: dict[str, Any] | None = None
    """Config of a Hugging Face encoder; None for the built-in one."""
    words: dict[str, Any] | None = None
    """Settings of the built-in encoder."""
    num_words: int = 0
    num_characters: int = 0
    aux: str = "none"
    head: str = "crf"
    loss: str = "crf"
    dropout: float = 0.1
    """Share of the features that training drops."""
    window: int = 512
    """Tokens that the encoder reads at once, special ones included."""
    special_ids: list[int] | None = None
    """Tokens that are no text."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Name the tags."""
        names: Any = self.id2label or LABELS  # type: ignore[has-type]
        self.id2label = dict(names)
        self.label2id = {name: int(i) for i, name in names.items()}
        super().__post_init__(**kwargs)


class Emissions(NamedTuple):
    """Scores of the real tokens, which come first in every row."""

    scores_BTK: Tensor
    lengths_B: Tensor
    order_BT: Tensor
    """Position of each in the input; real ones first."""
    real_BT: Tensor
    """Positions of the input that are text."""

    def back(self, values_BTK: Tensor, fill: Tensor) -> Tensor:
        """Return values of the lattice at the positions of the input, and `fill` elsewhere."""
        rank_BT = (self.real_BT.cumsum(1) - 1).clamp(min=0)
        at_BTK = values_BTK.gather(1, rank_BT[..., None].expand_as(values_BTK))
        return torch.where(self.real_BT[..., None], at_BTK, fill)


class SpanModel(PreTrainedModel):
    """Tags the tokens of a text."""

    config_class = SpanConfig
    base_model_prefix = "encoder"
    config: SpanConfig

    def __init__(self, config: SpanConfig, encoder: nn.Module | None = None) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or LABELS)
        self.encoder = encoder or _new_encoder(config)
        width = _width(self.encoder, config)
        _check_states(self.encoder, config)
        self.pool = _pooling(self.encoder, config, width)
        self.features = AuxiliaryFeatures(config.aux, width)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.features.out_width, self.num_labels)
        self.crf = Crf(self.num_labels) if config.head == "crf" else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave new weights as torch and the encoder make them."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        only_loss: bool = False,
        **inputs: Any,
    ) -> TokenClassifierOutput:
        """Return log-marginals as ``logits``, ``[B, T, K]``, and the mean loss per real token.

        Args:
            input_ids: Tokens, ``[B, T]``; for the built-in encoder, see `WordCoder`.
            attention_mask: False for padding, ``[B, T]``.
            labels: The right tags, ``[B, T]``; those of special tokens and padding are not read.
            only_loss: Leave out the logits, which the loss of a chain does not need.
            inputs: What else the encoder takes.
        """
        emissions = self.emissions(input_ids, attention_mask, **inputs)
        loss = None
        if labels is not None:
            loss = self.loss(emissions, labels) / emissions.lengths_B.sum().clamp(min=1)
        if only_loss:
            return TokenClassifierOutput(loss=loss)
        logps_BTK = self.log_marginals(emissions)
        outside_K = torch.full((self.num_labels,), FORBIDDEN, device=logps_BTK.device)
        outside_K[0] = 0.0
        return TokenClassifierOutput(loss=loss, logits=emissions.back(logps_BTK, outside_K))

    def emissions(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> Emissions:
        """Return the scores that the chain starts from; see `forward`."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        scores_BTK = self.scores(input_ids, attention_mask, **inputs)
        mask_BT = attention_mask.bool()
        if isinstance(self.encoder, WordEncoder):
            order_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
            return Emissions(scores_BTK, mask_BT.sum(1), order_BT, mask_BT)
        special_N = torch.tensor(self.config.special_ids or [], device=input_ids.device)
        real_BT = mask_BT & ~torch.isin(input_ids, special_N)
        order_BT = torch.argsort(~real_BT, dim=1, stable=True)
        scores_BTK = scores_BTK.gather(1, order_BT[..., None].expand_as(scores_BTK))
        return Emissions(scores_BTK, real_BT.sum(1), order_BT, real_BT)

    def scores(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """Return the scores of the tags at all positions of the input, ``[B, T, K]``."""
        mask_BT = attention_mask.bool()
        if isinstance(self.encoder, WordEncoder):
            states = self.encoder(input_ids, mask_BT.sum(1), **inputs)
            return self._classified(states, mask_BT, None)
        wants_states = self.config.aux in NEEDS_STATES
        inputs = {name: value for name, value in inputs.items() if value is not None}
        inputs.pop("return_dict", None)
        out = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=wants_states,
            return_dict=True,
            **inputs,
        )
        states = out.hidden_states if wants_states else (out.last_hidden_state,)
        return self._classified(states, mask_BT, getattr(out, "pooler_output", None))

    def _classified(
        self, states: tuple[Tensor, ...], mask_BT: Tensor, pooled_BH: Tensor | None
    ) -> Tensor:
        if self.pool is not None:
            pooled_BH = self.pool(states[-1], mask_BT)
        features_BTH = self.features(states, pooled_BH)
        return self.classifier(self.dropout(features_BTH))

    def log_marginals(self, emissions: Emissions) -> Tensor:
        """Return log p(y_t = k) of the real tokens, first in every row, float32, ``[B, T, K]``."""
        if self.crf is None:
            return emissions.scores_BTK.float().log_softmax(-1)
        return self.crf.log_marginals(emissions.scores_BTK, emissions.lengths_B)

    def viterbi(self, emissions: Emissions) -> Tensor:
        """Return the most probable tags of the real tokens, ``[B, T]``."""
        if self.crf is None:
            return emissions.scores_BTK.argmax(-1)
        return self.crf.viterbi(emissions.scores_BTK, emissions.lengths_B)

    def loss(self, emissions: Emissions, labels_BT: Tensor) -> Tensor:
        """Return the loss of the config, summed over the real tokens, shape ``[]``."""
        tags_BT = labels_BT.gather(1, emissions.order_BT)
        if self.config.loss == "crf":
            if self.crf is None:
                raise SettingsError("found loss: crf with head: softmax, expected head: crf")
            return self.crf.nll(emissions.scores_BTK, tags_BT, emissions.lengths_B).sum()
        logps_BTK = self.log_marginals(emissions)
        position_T = torch.arange(tags_BT.shape[1], device=tags_BT.device)
        real_BT = position_T < emissions.lengths_B[:, None]
        return token_loss(self.config.loss, logps_BTK[real_BT], tags_BT[real_BT])  # type: ignore[arg-type]


def _new_encoder(config: SpanConfig) -> nn.Module:
    if config.encoder is None:
        own = WordEncoderSettings(**(config.words or {}))
        states = config.aux in NEEDS_STATES
        return WordEncoder(own, config.num_words, config.num_characters, states)
    keys = dict(config.encoder)
    return AutoModel.from_config(AutoConfig.for_model(keys.pop("model_type"), **keys))


def _width(encoder: Any, config: SpanConfig) -> int:
    if isinstance(encoder, WordEncoder):
        return encoder.width
    return int(encoder.config.hidden_size)


def _check_states(encoder: Any, config: SpanConfig) -> None:
    """Refuse four layers of an encoder that has fewer."""
    if isinstance(encoder, WordEncoder):
        num_states = len(encoder.layers) + 1
    else:
        num_states = int(encoder.config.num_hidden_layers) + 1
    if config.aux == "last4" and num_states < 4:
        raise SettingsError(
            f"found aux last4 with {num_states} states (embeddings and {num_states - 1} layers),"
            " expected at least 4; use another aux"
        )


def _pooling(encoder: Any, config: SpanConfig, width: int) -> nn.Module | None:
    """Return what makes p of the last layer; None where the encoder does, or nobody wants it."""
    needed = config.aux in NEEDS_POOLED
    if isinstance(encoder, WordEncoder):
        return MeanAndMax(width) if needed else None
    if getattr(encoder, "pooler", None) is not None:
        if needed:
            return None
        encoder.pooler = None  # weights that no loss reaches
    model_type = encoder.config.model_type
    return SummaryToken(width, last=model_type == "xlnet") if needed else None


AutoConfig.register("inarch_spans", SpanConfig, exist_ok=True)
AutoModelForTokenClassification.register(SpanConfig, SpanModel, exist_ok=True)
