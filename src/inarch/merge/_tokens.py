"""Which row of which model each token of the result is made of.

Models whose tokenizers differ have their embeddings and heads laid out anew before they are merged:
row i speaks of the same token in all of them. A token that a model lacks gets, in its place,

1. what ``tokenizer.tokens`` says of it; otherwise
2. the row of ``base_model``, where that has the token; otherwise
3. the mean of the rows of all models that have it, summed in the user's order in float32;
4. zero, if none has.

Ids are those of the tokenizer that ``tokenizer.source`` names, for a union of the base model's, and
never change. What is added comes behind them: the other models' tokens in the order of the models
and of their ids, then new ones in the order of the recipe.

Source:   the documentation of mergekit, "Tokenizer Configuration"; settings mean the same here.
Differs:  mergekit numbers the tokens of a union in the order of a hash, anew in each run; adds all
          as tokens that are cut out of a text first, single letters too; leaves the ids of special
          tokens in config.json as they were; and drops tokens that have no row.

Shapes: K = models, V = rows of the result.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inarch.errors import SettingsError, WeightsError
from inarch.io.hub import find_folder
from inarch.merge._jobs import Source
from inarch.merge._layout import Layout, TokenModel, cropped, lay_out
from inarch.merge._sources import RowsSource
from inarch.merge._templates import choose_template
from inarch.merge._token_settings import TokenizerSettings, TokenRule
from inarch.merge._union import union_ids, write_tokenizer
from inarch.merge._vocabulary import (
    PLAIN,
    Vocabulary,
    is_vocabulary,
    read_beside,
    read_vocabulary,
)


@dataclasses.dataclass(frozen=True)
class TokenPlan:
    """How the rows of embeddings and heads are laid out, and what goes beside the weights."""

    vocab_size: int
    """Rows of the result."""
    origin: int | None
    """The model whose tokenizer, special ids and generation config the result has; None where that
    is a folder besides the models."""
    notes: tuple[str, ...]
    """What a user should know, a sentence each."""
    layout: Layout | None = None
    """How rows are laid out anew, if they are."""
    special: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Ids of special tokens that configs must have: ``eos_token_id`` and its kin."""
    tokenizer: "_Tokenizer | None" = None
    """What is written beside the weights."""

    def remap(self, name: str, sources: Sequence[Source | None]) -> list[Source | None]:
        """Return the sources of one tensor with their rows laid out as in the result.

        Tensors that are not about the vocabulary, see `is_vocabulary`, pass through.

        Args:
            name: The tensor.
            sources: Of each model of the plan, in its order; None where a model lacks the tensor.

        Raises:
            WeightsError: A token takes its row from a model that lacks the tensor, or one has
                fewer rows than its model has elsewhere.
        """
        if self.layout is None or not is_vocabulary(name):
            return list(sources)
        present = [source for source in sources if source is not None]
        for index in np.unique(self.layout.givers.models).tolist():
            if sources[index] is None:
                raise WeightsError(
                    f"{self.layout.models[index].label} has no {name}, from which tokens that "
                    "others lack take their rows; leave it out, or take another tokenizer.source"
                )
        for source, model in zip(sources, self.layout.models, strict=True):
            if source is not None and source.shape[0] < model.rows:
                raise WeightsError(
                    f"{source.label}: {name} has {source.shape[0]} rows, expected {model.rows}, as "
                    "other tensors have a row for each token; save the model again"
                )
        others = [source or present[0] for source in sources]
        return [
            None if source is None else RowsSource(source, own, self.layout.givers, others)
            for source, own in zip(sources, self.layout.own, strict=True)
        ]

    def patch(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config, or a generation config, with the size of the vocabulary and special ids.

        Only keys that it has are set, and a list that holds the id stays. The part of a multimodal
        config that is about text follows.
        """
        made = dict(config)
        for key in self.special.keys() & made.keys():
            if not (isinstance(made[key], list) and self.special[key] in made[key]):
                made[key] = self.special[key]
        if self.layout is not None and "vocab_size" in made:
            made["vocab_size"] = self.vocab_size
        for key in _TEXT_CONFIGS & made.keys():
            made[key] = made[key] and self.patch(made[key])
        return made

    def write(self, out: Path) -> None:
        """Write the tokenizer and the chat template into the folder of the result."""
        if self.tokenizer is not None:
            write_tokenizer(out, *self.tokenizer)


class _Tokenizer(NamedTuple):
    """What `write_tokenizer` needs beside the folder of the result."""

    folder: Path
    template: str | None
    new: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]]


_TEXT_CONFIGS = {"text_config", "llm_config"}


def token_plan(
    settings: TokenizerSettings | None,
    chat_template: str | None,
    models: Sequence[TokenModel],
    base: int | None,
) -> TokenPlan:
    """Return how the vocabularies of models become one.

    Args:
        settings: None where the recipe has neither ``tokenizer`` nor ``tokenizer_source``: rows
            then stay as they are.
        chat_template: As the recipe has it; see `choose_template`.
        models: All models of the merge, each once, in the user's order; the base among them.
        base: Index of the recipe's ``base_model``.

    Raises:
        SettingsError: A rule names a model or a token that is not there; or the models have
            different rows, and no setting says what to do.
        WeightsError: A model has no tokenizer, or one that cannot be read.
    """
    template = chat_template and choose_template(chat_template, [model.folder for model in models])
    if settings is None:
        return _plan_as_it_is(template or None, models, base or 0)
    vocabularies = [_read(model) for model in models]
    origin_index = _find_origin(settings.source, models, base or 0)
    origin = (
        _read_outside(settings.source, models)
        if origin_index is None
        else vocabularies[origin_index]
    )
    rules = settings.tokens or {}
    others = vocabularies if settings.source == "union" else ()
    ids = union_ids(origin, others, rules)
    layout, notes = lay_out(ids, models, vocabularies, rules, base, origin_index)
    layout = layout.padded(settings.pad_to_multiple_of or 1)
    new = {token: index for token, index in ids.items() if token not in origin.ids}
    added = {token: flags for token in new if (flags := _flags(token, vocabularies, rules))}
    if dead := len(new) - len(added):
        notes.append(
            f"{dead} ordinary tokens of other models have ids and rows, and are hardly made of any "
            f"text: {origin.folder} says how texts are spelled."
        )
    return TokenPlan(
        layout.num_rows,
        origin_index,
        tuple(notes),
        layout,
        _special_ids(origin, {} if origin_index is None else models[origin_index].config),
        _Tokenizer(origin.folder, template or None, new, added),
    )


def _plan_as_it_is(template: str | None, models: Sequence[TokenModel], origin: int) -> TokenPlan:
    """Return the plan of a recipe that does not speak of tokenizers: rows stay, or are cropped."""
    files = [model.folder / "tokenizer.json" for model in models]
    tokenizer = _Tokenizer(models[origin].folder, template, {}, {})
    rows = {model.rows for model in models}
    plan = TokenPlan(max(rows), origin, (), tokenizer=tokenizer)
    contents = {file.read_bytes() if file.is_file() else b"" for file in files}
    if len(rows) == len(contents) == 1:
        return plan
    vocabularies = [read_vocabulary(model.folder) for model in models]
    own = vocabularies[origin]
    notes = []
    for model, vocabulary in zip(models, vocabularies, strict=True):
        if own and vocabulary and (other := len(vocabulary.ids.items() - own.ids.items())):
            notes.append(
                f"{model.label} has {other} tokens that {models[origin].label} lacks or gives "
                "another id, and rows are merged by their number; unless that is meant, say "
                "`tokenizer_source: base`, or union."
            )
    if len(rows) == 1:
        return dataclasses.replace(plan, notes=tuple(notes))
    size = min(rows)
    if notes or not own or None in vocabularies or own.size > size:
        found = ", ".join(f"{model.label} has {model.rows} rows" for model in models)
        raise SettingsError(
            f"the models have different vocabularies: {found}; add `tokenizer_source: union` for "
            "the tokens of all, or `tokenizer_source: base` for those of the base model"
        )
    note = f"Embeddings and heads are cropped to {size} rows; the others stand for no token."
    return dataclasses.replace(plan, vocab_size=size, notes=(note,), layout=cropped(size, models))


def _read(model: TokenModel) -> Vocabulary:
    """Return the tokens of a model, which must have a tokenizer."""
    found = read_vocabulary(model.folder)
    if found is None:
        raise WeightsError(
            f"{model.label} has no tokenizer in {model.folder}; expected tokenizer.json. Copy it "
            "there, or merge without `tokenizer` and `tokenizer_source`"
        )
    return found


def _find_origin(source: str, models: Sequence[TokenModel], base: int) -> int | None:
    """Return the model that ``tokenizer.source`` speaks of; None if it is none of them."""
    if source in ("union", "base"):
        return base
    return next((i for i, model in enumerate(models) if model.label == source), None)


def _read_outside(source: str, models: Sequence[TokenModel]) -> Vocabulary:
    """Return the tokens of a folder that is none of the models."""
    expected = f"union, base, one of the models ({', '.join(model.label for model in models)})"
    try:
        found = read_vocabulary(find_folder(source))
    except WeightsError as error:
        raise SettingsError(
            f"found tokenizer source {source!r}, expected {expected} or a folder with a tokenizer: "
            f"{error}"
        ) from None
    if found is None:
        raise SettingsError(
            f"found tokenizer source {source!r}, which has no tokenizer.json; expected {expected} "
            "or a folder with a tokenizer"
        )
    return found


def _flags(
    token: str, vocabularies: Sequence[Vocabulary], rules: Mapping[str, TokenRule]
) -> Mapping[str, Any] | None:
    """Return how a new token is found in a text; None if it is not cut out of it."""
    found = (vocabulary.added.get(token) for vocabulary in vocabularies)
    return next((flags for flags in found if flags), PLAIN if token in rules else None)


def _special_ids(origin: Vocabulary, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids that the origin's config, or else its tokenizer, gives to special tokens."""
    config = config or read_beside(origin.folder, "config.json")
    if config:
        nested = {**(config.get("text_config") or {}), **config}
        return {key: value for key, value in nested.items() if key.endswith("_token_id")}
    words = read_beside(origin.folder, "tokenizer_config.json")
    roles = {f"{role}_token_id": words.get(f"{role}_token") for role in ("bos", "eos", "pad")}
    texts = {
        key: word.get("content") if isinstance(word, dict) else word for key, word in roles.items()
    }
    return {key: origin.ids.get(text) for key, text in texts.items() if text}
