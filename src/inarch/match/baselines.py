"""Vocabulary maps that compare strings: exact match (EM) and minimum edit distance (MinED).

Source:   EM and MinED as in FuseLLM (arXiv:2401.10491, section 3.3).
Differs:  begin and end tokens go by role. Duplicates are summed, where the released code
          keeps the first and drops the rest.
Shapes:   V_s = ids of the source, V_t = ids of the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inarch.errors import MissingExtra
from inarch.match.maps import NO_HOME, VocabMap, marked_names, space_marker, with_roles

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from inarch.io.tokenizers import Tokenizer

_CHUNK = 256
"""Source tokens compared with all target tokens at once."""


def exact_map(target: Tokenizer, source: Tokenizer) -> VocabMap:
    """Return the map by equal strings after translating the mark for a space; others go nowhere."""
    return with_roles("exact", _by_string(target, source), target, source)


def min_edit_map(target: Tokenizer, source: Tokenizer) -> VocabMap:
    """Return the map by equal strings, else by least Levenshtein distance, ties to the lowest id.

    Every id of the source that has a string gets one of the target.

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    fuzz = _rapidfuzz()
    ids = _by_string(target, source)
    names = marked_names(source, space_marker(target))
    choices = [(token, name) for token, name in enumerate(target.names) if name is not None]
    rest = [token for token in np.flatnonzero(ids == NO_HOME).tolist() if names[token] is not None]
    for start in range(0, len(rest), _CHUNK):
        chunk = rest[start : start + _CHUNK]
        distances = fuzz.process.cdist(
            [names[token] for token in chunk],
            [name for _, name in choices],
            scorer=fuzz.distance.Levenshtein.distance,
            dtype=np.uint16,
        )
        ids[chunk] = [choices[best][0] for best in distances.argmin(axis=1)]
    return with_roles("min_edit", ids, target, source)


def _by_string(target: Tokenizer, source: Tokenizer) -> NDArray[np.int32]:
    homes = {name: token for token, name in enumerate(target.names) if name is not None}
    names = marked_names(source, space_marker(target))
    return np.array([homes.get(name, NO_HOME) if name else NO_HOME for name in names], np.int32)


def edit_distance() -> Callable[[str, str], int]:
    """Return the Levenshtein distance.

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    return _rapidfuzz().distance.Levenshtein.distance


def _rapidfuzz() -> Any:
    try:
        import rapidfuzz
    except ImportError as absent:
        msg = (
            "found no rapidfuzz, which the vocabulary maps by edit distance need; "
            "install it with: pip install 'inarch[baselines]'"
        )
        raise MissingExtra(msg) from absent
    return rapidfuzz
