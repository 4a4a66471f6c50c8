"""The tokenizer of the result: one model's, with tokens of the others behind its own.

What is guaranteed: the tokens of that model, the *origin*, keep their ids, and every other token
gets an id above them. The origin's merges and scores stay as they are, so that a text becomes the
tokens that the origin made of it, but for

- added tokens of the other models, which are cut out of a text wherever they stand;
- single characters that the origin could only spell as bytes, or not at all;
- whole words, where the origin looks words up before it spells them (WordLevel, WordPiece, and BPE
  with ``ignore_merges``).

All other tokens of the other models have an id and a row, but are not made of any text: two ways to
spell cannot be followed at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.io.files import write_json, write_text
from inarch.io.sidecar import TOKENIZER_FILES, copy_side_files
from inarch.merge._vocabulary import Vocabulary, read_beside, read_vocabulary

_LASTING = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files that still hold when tokens are added; the others spell the vocabulary in another way."""


def union_ids(
    origin: Vocabulary, others: Iterable[Vocabulary], more: Iterable[str]
) -> dict[str, int]:
    """Return the ids of all tokens: those of the origin, then what each of the others adds.

    New tokens follow in the order of the models, and of a model in that of its ids.

    Args:
        origin: Its tokens keep their ids.
        others: The models of a union.
        more: Tokens that come behind all others, if they are not there.
    """
    ids = dict(origin.ids)
    size = origin.size
    for tokens in (*(vocabulary.ids for vocabulary in others), more):
        for token in tokens:
            if token not in ids:
                ids[token], size = size, size + 1
    return ids


def write_tokenizer(
    out: Path,
    folder: Path,
    template: str | None,
    new: Mapping[str, int],
    added: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the files of a tokenizer into a folder.

    Args:
        out: The folder.
        folder: That of the origin.
        template: The chat template; None keeps the origin's.
        new: The ids of the tokens that the origin lacks.
        added: Those of them that are cut out of a text first, and how they are found in it.

    Raises:
        DataError: The disk is full.
    """
    copy_side_files(folder, out, _LASTING if new else TOKENIZER_FILES)
    config = read_beside(folder, "tokenizer_config.json")
    if new:
        tokens = [{"id": new[token], "content": token, **flags} for token, flags in added.items()]
        write_json(out / "tokenizer.json", _extend(folder, new, tokens))
        decoder = config.get("added_tokens_decoder")  # transformers 4 looks here, too
        if decoder is not None:
            decoder |= {
                str(new[token]): {"content": token, **flags} for token, flags in added.items()
            }
    if template is not None:
        config.pop("chat_template", None)
        (out / "chat_template.json").unlink(missing_ok=True)
        write_text(out / "chat_template.jinja", template)
    if config and (new or template is not None):
        write_json(out / "tokenizer_config.json", config)


def _extend(
    folder: Path, new: Mapping[str, int], added: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the content of ``tokenizer.json`` with more tokens.

    All tokens stand in the model's own vocabulary: added ones that do not are numbered behind it
    when the file is read, whatever id they are given there.
    """
    origin = read_vocabulary(folder)
    assert origin is not None, "the plan has read it"  # noqa: S101
    ids = {**origin.ids, **new}
    model = dict(origin.state["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = dict(sorted(ids.items(), key=lambda item: item[1]))
    else:
        names = {index: token for token, index in ids.items()}
        known = len(model["vocab"])
        # Far below all others, so that no text is spelled with them that can be spelled without.
        score = min(score for _, score in model["vocab"]) - 1000.0
        rest = [[names.get(i, f"<unused {i}>"), score] for i in range(known, max(names) + 1)]
        model["vocab"] = [*model["vocab"], *rest]
    own = [
        {"id": origin.ids[token], "content": token, **flags}
        for token, flags in origin.added.items()
    ]
    tokens = sorted([*own, *added], key=lambda token: token["id"])
    return {**origin.state, "model": model, "added_tokens": tokens}
