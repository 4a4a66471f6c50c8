"""What tells apart the files that lie beside the weights of two models: configs and tokenizers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.io.runs import flat
from inarch.io.sidecar import SIDE_FILES

_TOKENIZER = "tokenizer.json"
_NAMED = 20
"""Tokens that are named; all are counted."""


def compare_side_files(a: Path | None, b: Path | None) -> dict[str, Any]:
    """Return what differs beside the weights, ready for JSON.

    ``files`` has a row per file that differs, or, where both are JSON, per key that does, with both
    values as JSON text and None where it is absent. ``tokens`` counts the tokens that are in one
    tokenizer only or have another id, and names some; it is empty where there are none.

    Args:
        a: Folder of a model; None for a single file, beside which nothing is compared.
        b: The other.
    """
    files: list[dict[str, Any]] = []
    tokens: dict[str, Any] = {}
    for name in SIDE_FILES if a and b else ():
        one, other = _read(a / name), _read(b / name)  # type: ignore[operator]
        if isinstance(one, dict) and isinstance(other, dict):
            if name == _TOKENIZER:
                tokens = _compare_ids(_take_ids(one), _take_ids(other))
            files += _compare_values(name, one, other)
        elif one != other:
            shown = [None if content is None else "there" for content in (one, other)]
            files.append({"file": name, "key": None, "a": shown[0], "b": shown[1]})
    return {"files": files, "tokens": tokens}


def _read(path: Path) -> dict[str, Any] | bytes | None:
    """Return the object in a JSON file, the bytes of any other, or None where there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    try:
        found = json.loads(content)
    except ValueError:
        return content
    return found if isinstance(found, dict) else content


def _compare_values(name: str, one: Any, other: Any) -> list[dict[str, Any]]:
    values, others = flat(one), flat(other)
    return [
        {"file": name, "key": key, "a": values.get(key), "b": others.get(key)}
        for key in (*values, *(key for key in others if key not in values))
        if values.get(key) != others.get(key)
    ]


def _take_ids(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Return the id of each token, and take them out of what the file says."""
    model = tokenizer.get("model") or {}
    vocab = model.pop("vocab", {})
    if isinstance(vocab, list):  # unigram: pairs of a piece and its score, in the order of ids
        vocab = {entry[0]: i for i, entry in enumerate(vocab)}
    added = tokenizer.pop("added_tokens", None) or []
    return {**vocab, **{entry["content"]: entry["id"] for entry in added}}


def _compare_ids(ids: Mapping[str, int], others: Mapping[str, int]) -> dict[str, Any]:
    found = {
        "only_a": [token for token in ids if token not in others],
        "only_b": [token for token in others if token not in ids],
        "other_id": [t for t, number in ids.items() if others.get(t, number) != number],
    }
    if not any(found.values()):
        return {}
    counts = {f"num_{name}": len(tokens) for name, tokens in found.items()}
    return counts | {name: tokens[:_NAMED] for name, tokens in found.items()}
