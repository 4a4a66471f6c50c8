"""Which id a model gives each token, and which of its tensors have a row for each.

The files are read as JSON, without transformers; only a model that has no ``tokenizer.json`` is
loaded by it.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import WeightsError
from inarch.io.folders import read_json
from inarch.io.sidecar import TOKENIZER_FILES

PLAIN = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": False,
}
"""How an added token is found in a text where nothing else is said: as it is written."""


_VOCABULARY = re.compile(
    r"(?:^|\.)(?:embed_tokens|embed_tokens_per_layer|wte|word_embeddings|tok_embeddings|embed_in"
    r"|backbone\.embeddings|shared|embed_out|lm_head|lm_head\.linear|lm_head\.decoder|output"
    r"|output_layer|vocab_projector|cls\.predictions|cls\.predictions\.decoder)\.(?:weight|bias)$"
)


class Vocabulary(NamedTuple):
    """The tokens of one model."""

    folder: Path
    """Where its files are."""
    ids: dict[str, int]
    """The id of each token, added ones included, in the order of the ids."""
    added: dict[str, dict[str, Any]]
    """The added tokens, which are cut out of a text first, and how they are found in it."""
    state: dict[str, Any]
    """The whole ``tokenizer.json``."""

    @property
    def size(self) -> int:
        """Return the number of rows that the ids need: the greatest id and one."""
        return max(self.ids.values(), default=-1) + 1


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Return the tokens of the model in a folder; None where it has no tokenizer.

    Raises:
        WeightsError: The files cannot be read, or two tokens have one id.
    """
    state = _state(folder)
    if state is None:
        return None
    found = state["model"]["vocab"]
    ids = dict(found) if isinstance(found, dict) else {piece[0]: i for i, piece in enumerate(found)}
    added: dict[str, dict[str, Any]] = {}
    for token in [*state["added_tokens"], *_more_added(folder)]:
        ids.setdefault(token["content"], token["id"])
        flags = {key: token.get(key, value) for key, value in PLAIN.items()}
        added.setdefault(token["content"], flags)
    names = {token: text for text, token in ids.items()}
    if len(names) < len(ids):
        text = next(text for text, token in ids.items() if names[token] != text)
        raise WeightsError(
            f"the tokenizer of {folder} gives the id {ids[text]} to both {text!r} and "
            f"{names[ids[text]]!r}; expected one token for an id. Mend its tokenizer.json"
        )
    return Vocabulary(folder, dict(sorted(ids.items(), key=lambda item: item[1])), added, state)


def read_beside(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of a folder; an empty one where the file is absent."""
    return read_json(folder / name) if (folder / name).is_file() else {}


def _state(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``tokenizer.json``, made by transformers where it is absent."""
    state = read_beside(folder, "tokenizer.json")
    if not state:
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            return None
        from inarch.io.tokenizers import load_tokenizer

        backend = load_tokenizer(str(folder)).backend
        state = json.loads(backend.to_str()) if backend else {}
    model = state.get("model")
    if not (isinstance(model, dict) and model.get("vocab")):
        raise WeightsError(
            f"the tokenizer of {folder} lists no vocabulary; expected one that transformers can "
            "save as tokenizer.json: load it where its code is trusted and save it again"
        )
    return {"added_tokens": [], **state} | {"added_tokens": state.get("added_tokens") or []}


def _more_added(folder: Path) -> list[dict[str, Any]]:
    """Return the added tokens that older files keep beside ``tokenizer.json``."""
    decoder = read_beside(folder, "tokenizer_config.json").get("added_tokens_decoder") or {}
    older = read_beside(folder, "added_tokens.json")
    return [
        *({**token, "id": int(index)} for index, token in decoder.items()),
        *({"content": text, "id": index} for text, index in older.items()),
    ]


def is_vocabulary(name: str) -> bool:
    """Return whether the first axis of a tensor are the tokens: embeddings, heads, their biases."""
    return bool(_VOCABULARY.search(name)) and not re.search(r"\.[1-9]\d*\.", name)
