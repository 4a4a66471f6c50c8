"""Which row of which model each row of the result is made of.

Shapes: K = models, V = rows of the result.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import SettingsError
from inarch.merge._sources import GIVEN, MEAN, Givers, Ids
from inarch.merge._token_settings import ModelToken, TokenRule, ZeroRow
from inarch.merge._vocabulary import Vocabulary


class TokenModel(NamedTuple):
    """What a plan needs to know of a model."""

    label: str
    """As the user wrote it."""
    folder: Path
    """Where its tokenizer is."""
    config: Mapping[str, Any]
    """Its ``config.json``."""
    rows: int
    """Rows of its embedding."""


class Layout(NamedTuple):
    """Where the rows of the result come from, for each of K models."""

    models: tuple[TokenModel, ...]
    own: tuple[Ids, ...]
    """The model's own row for each of the result, or GIVEN or MEAN, K arrays ``[V]``."""
    givers: Givers

    @property
    def num_rows(self) -> int:
        """Return V."""
        return len(self.own[0])

    def padded(self, multiple: int) -> "Layout":
        """Return a layout with a multiple of rows; the new ones are the means of their models."""
        more = -self.num_rows % multiple
        own = tuple(np.concatenate([own, np.full(more, MEAN, np.int32)]) for own in self.own)
        offsets = np.pad(self.givers.offsets, (0, more), mode="edge")
        return Layout(self.models, own, self.givers._replace(offsets=offsets))


def cropped(num_rows: int, models: Sequence[TokenModel]) -> Layout:
    """Return a layout that takes the first rows of every model."""
    nothing = np.zeros(0, np.int32)
    own = np.arange(num_rows, dtype=np.int32)
    givers = Givers(np.zeros(num_rows + 1, np.int32), nothing, nothing)
    return Layout(tuple(models), (own,) * len(models), givers)


def lay_out(
    ids: Mapping[str, int],
    models: Sequence[TokenModel],
    vocabularies: Sequence[Vocabulary],
    rules: Mapping[str, TokenRule],
    base: int | None,
    origin: int | None,
) -> tuple[Layout, list[str]]:
    """Return where the rows of each model come from, and what a user should know about it.

    Args:
        ids: Row of the result for each token.
        models: The models.
        vocabularies: Their tokens.
        rules: What the recipe says of single tokens.
        base: The base model, whose row stands in where another lacks a token.
        origin: The model that the ids are of; rows that stand for no token are its own.

    Raises:
        SettingsError: A rule names a model or a token that is not there.
    """
    own_KV, notes = _own_rows(ids, models, vocabularies)
    if origin is not None:
        holes = np.setdiff1d(np.arange(models[origin].rows), list(ids.values()))
        holes = holes[holes < own_KV.shape[1]]
        own_KV[origin, holes] = holes
    has_KV = own_KV >= 0
    gives_KV, rows_KV = has_KV.copy(), own_KV.copy()
    if base is not None:
        gives_KV[:, has_KV[base]] = False
        gives_KV[base] = has_KV[base]
    for token, rule in rules.items():
        index = ids[token]
        if rule.source is None:
            if not has_KV[:, index].any():
                raise SettingsError(
                    f"tokenizer.tokens: no model has {token!r}; give it a source, such as another "
                    "token of a model, or `kind: zero`"
                )
            continue
        gives_KV[:, index] = False
        if not isinstance(rule.source, ZeroRow):
            giver, row = _giver(token, rule.source, models, vocabularies)
            gives_KV[giver, index], rows_KV[giver, index] = True, row
        if rule.force:
            own_KV[:, index] = GIVEN
    gives_KV &= (own_KV == GIVEN).any(axis=0)
    homeless = set(np.flatnonzero(~has_KV.any(axis=0) & ~gives_KV.any(axis=0)).tolist())
    if homeless := homeless - {ids[token] for token in rules}:
        notes.append(f"{len(homeless)} rows come from no model and are zeros.")
    rows, givers = np.nonzero(gives_KV.T)
    offsets = np.append(0, np.cumsum(gives_KV.sum(axis=0)))
    made = Givers(
        offsets.astype(np.int32), givers.astype(np.int32), rows_KV[givers, rows].astype(np.int32)
    )
    return Layout(tuple(models), tuple(own_KV), made), notes


def _own_rows(
    ids: Mapping[str, int], models: Sequence[TokenModel], vocabularies: Sequence[Vocabulary]
) -> tuple[Ids, list[str]]:
    """Return each model's own row for each of the result, or GIVEN, ``[K, V]``, and notes."""
    own_KV = np.full((len(models), max(ids.values()) + 1), GIVEN, np.int32)
    notes = []
    for own_V, model, vocabulary in zip(own_KV, models, vocabularies, strict=True):
        for token, index in ids.items():
            row = vocabulary.ids.get(token, model.rows)
            if row < model.rows:
                own_V[index] = row
        if vocabulary.size > model.rows:
            beyond = sum(index >= model.rows for index in vocabulary.ids.values())
            notes.append(
                f"{model.label} has {beyond} tokens beyond the {model.rows} rows of its embedding, "
                "and counts as a model that lacks them."
            )
        if lacking := sum(int(own_V[index]) == GIVEN for index in ids.values()):
            notes.append(f"{model.label} lacks {lacking} of {len(ids)} tokens.")
    return own_KV, notes


def _giver(
    token: str,
    source: str | ModelToken,
    models: Sequence[TokenModel],
    vocabularies: Sequence[Vocabulary],
) -> tuple[int, int]:
    """Return the model, and the row of it, that a rule names."""
    name = source if isinstance(source, str) else source.model
    labels = [model.label for model in models]
    place = f"tokenizer.tokens: the rule of {token!r}"
    if name not in labels:
        raise SettingsError(
            f"{place} names the model {name!r}, expected one that is merged: {', '.join(labels)}"
        )
    giver = labels.index(name)
    wanted, row = (token, None) if isinstance(source, str) else (source.token, source.token_id)
    if wanted is not None:
        row = vocabularies[giver].ids.get(wanted)
    if row is None:
        raise SettingsError(
            f"{place} takes the token {wanted!r} of {name}, which does not have it; expected a "
            "model that does, or `kind: model_token` with one of its tokens"
        )
    if not 0 <= row < models[giver].rows:
        raise SettingsError(
            f"{place} takes row {row} of {name}, which has the rows 0 to {models[giver].rows - 1}"
        )
    return giver, row
