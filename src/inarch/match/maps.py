"""The record of a vocabulary map, what every method shares, and the maps' cache.

Shapes: V_s = ids of the source.
"""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inarch.io.spelling import METASPACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from inarch.io.tokenizers import Tokenizer

NO_HOME = -1
_FORMAT = 1
_BYTE_LEVEL_SPACE = "Ġ"
_log = logging.getLogger(__name__)


class VocabMap(NamedTuple):
    """Which id of the target each id of the source becomes."""

    method: str
    ids: NDArray[np.int32]
    """Id of the target, or -1 where the mass has no home, ``[V_s]``."""
    exact: NDArray[np.bool_]
    """Both tokens spell the same bytes, or play the same role, ``[V_s]``."""
    sum_duplicates: bool
    """Mass of ids that meet in one is summed; otherwise the first keeps its own."""


def role_pairs(target: Tokenizer, source: Tokenizer) -> dict[int, int]:
    """Return where the source's special tokens go, by role and never by spelling.

    End of text counts first where one id plays several roles. The unknown token goes to the
    target's only where it is nothing else on either side; padding goes nowhere.
    """
    pairs: dict[int, int] = {}
    for role in ("eos", "eot", "bos"):
        if role in source.roles and role in target.roles:
            pairs.setdefault(source.roles[role], target.roles[role])
    source_unk, target_unk = (_plain_unknown(side) for side in (source, target))
    if source_unk is not None and target_unk is not None:
        pairs[source_unk] = target_unk
    return pairs


def _plain_unknown(tokenizer: Tokenizer) -> int | None:
    others = {token for role, token in tokenizer.roles.items() if role != "unk"}
    unknown = tokenizer.roles.get("unk")
    return None if unknown in others else unknown


def marked_names(tokenizer: Tokenizer, marker: str) -> list[str | None]:
    """Return the vocabulary's strings with its own mark for a space replaced by ``marker``."""
    own = space_marker(tokenizer)
    return [name and name.replace(own, marker) if own else name for name in tokenizer.names]


def space_marker(tokenizer: Tokenizer) -> str:
    """Return the character that a vocabulary writes for a space, or ``""``."""
    if tokenizer.alphabet.byte_level:
        return _BYTE_LEVEL_SPACE
    return METASPACE if tokenizer.alphabet.metaspace else ""


def with_roles(
    method: str,
    ids: NDArray[np.int32],
    target: Tokenizer,
    source: Tokenizer,
    *,
    sum_duplicates: bool = True,
) -> VocabMap:
    """Return the map with the special tokens sent by role, and with what is exact in it.

    Args:
        method: Its name.
        ids: Home of each id, -1 for none, ``[V_s]``; changed in place.
        target: The tokenizer whose ids come out.
        source: The tokenizer whose ids go in.
        sum_duplicates: See `VocabMap`.
    """
    roles = role_pairs(target, source)
    ids[list(roles)] = list(roles.values())
    exact = [
        home != NO_HOME and (token in roles or (piece and target.pieces[home] == piece))
        for token, (home, piece) in enumerate(zip(ids.tolist(), source.pieces, strict=True))
    ]
    return VocabMap(method, ids, np.array(exact, np.bool_), sum_duplicates)


def cached(key: tuple[str, ...], build: Callable[[], VocabMap]) -> VocabMap:
    """Return the map that is stored under the content of ``key``, built where there is none.

    The folder is ``$INARCH_CACHE``, else ``~/.cache/inarch``. A file that cannot be read is built
    again; a folder that cannot be written only costs time.
    """
    name = blake2b("\n".join((str(_FORMAT), *key)).encode(), digest_size=16).hexdigest()
    folder = Path(os.environ.get("INARCH_CACHE") or Path.home() / ".cache" / "inarch")
    path = folder / f"vocab-map-{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return VocabMap(
                str(stored["method"]),
                stored["ids"],
                stored["exact"],
                bool(stored["sum_duplicates"]),
            )
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        _log.warning("%s cannot be read (%s); it is built again", path, problem)
    made = build()
    try:
        _store(made, path)
    except OSError as problem:
        _log.warning("the vocabulary map could not be kept in %s: %s", folder, problem)
    return made


def _store(made: VocabMap, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **made._asdict())
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        raise
