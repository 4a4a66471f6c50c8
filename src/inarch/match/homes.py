"""Where bytes of another vocabulary live in the target's: the map by canonical bytes.

Source:   none published.
Differs:  from MinED and mapping statistics in that no string is ever compared for likeness: the
          home of bytes that are no token of the target is the first token that the target itself
          writes when it is asked to write them.
Shapes:   V_s = ids of the source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from inarch.match.maps import NO_HOME, VocabMap, with_roles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inarch.io.tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class Homes:
    """The target's tokens, looked up by bytes that are a continuation of some text."""

    target: Tokenizer
    exact: dict[bytes, int]
    """The token that spells exactly these bytes."""
    longest: int
    """Bytes of the longest token."""
    encoder: tokenizers.Tokenizer | None
    """The target's own, for text that is not the start of one; None where it has no backend."""
    known: dict[bytes, int]
    """What was looked up so far."""

    def of(self, spelled: bytes) -> int:
        """Return the token that spells these bytes, else the first of those that do, else -1."""
        if spelled not in self.known:
            self.look_up([spelled])
        return self.known[spelled]

    def look_up(self, many: Iterable[bytes]) -> None:
        """Find the homes of many bytes at once, so that `of` is a look-up."""
        rest = []
        for spelled in many:
            if spelled in self.exact:
                self.known[spelled] = self.exact[spelled]
            elif spelled not in self.known:
                rest.append(spelled)
        for spelled, first in zip(rest, self._first_tokens(rest), strict=True):
            piece = None if first == NO_HOME else self.target.pieces[first]
            fits = bool(piece) and spelled.startswith(piece or b"")
            self.known[spelled] = first if fits else self._longest_prefix(spelled)

    def _first_tokens(self, many: list[bytes]) -> list[int]:
        """Return the first token of the target's own encoding, -1 where it has none."""
        if self.encoder is None:
            return [NO_HOME] * len(many)
        texts = [spelled.decode("utf-8", "ignore") for spelled in many]
        encodings = self.encoder.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids[0] if encoding.ids else NO_HOME for encoding in encodings]

    def _longest_prefix(self, spelled: bytes) -> int:
        for length in range(min(len(spelled), self.longest), 0, -1):
            if spelled[:length] in self.exact:
                return self.exact[spelled[:length]]
        return NO_HOME


def homes_in(target: Tokenizer) -> Homes:
    """Return the look-up for a target, with nothing looked up yet."""
    exact = _ids_by_bytes(target)
    longest = max(map(len, exact), default=0)
    return Homes(target, exact, longest, _continuation_encoder(target), {})


def bytes_map(target: Tokenizer, source: Tokenizer, homes: Homes) -> VocabMap:
    """Return the map by canonical bytes; specials go by role, equal tokenizers map to themselves.

    Args:
        target: The tokenizer whose ids come out.
        source: The tokenizer whose ids go in.
        homes: The target's tokens by bytes.
    """
    if target.digest == source.digest:
        identity = np.arange(source.size, dtype=np.int32)
        return VocabMap("bytes", identity, np.ones(source.size, np.bool_), True)
    homes.look_up({piece for piece in source.pieces if piece})
    ids = np.array(
        [homes.of(piece) if piece else NO_HOME for piece in source.pieces], dtype=np.int32
    )
    return with_roles("bytes", ids, target, source)


def _ids_by_bytes(target: Tokenizer) -> dict[bytes, int]:
    """Return the id of each spelling: normal tokens before ``<0x41>``, then the lowest id."""
    lone = {
        token
        for token, (name, piece) in enumerate(zip(target.names, target.pieces, strict=True))
        if piece is not None and len(piece) == 1 and name == f"<0x{piece[0]:02X}>"
    }
    table: dict[bytes, int] = {}
    for token in sorted(range(target.size), key=lambda token: (token in lone, token)):
        piece = target.pieces[token]
        if piece:
            table.setdefault(piece, token)
    return table


def _continuation_encoder(target: Tokenizer) -> tokenizers.Tokenizer | None:
    """Return the target's encoder for text that is not the start of one: no space in front."""
    if target.backend is None:
        return None
    pipeline = json.loads(target.backend.to_str())
    pipeline["post_processor"] = None
    pipeline["normalizer"] = _without_prefix(pipeline["normalizer"])
    pipeline["pre_tokenizer"] = _without_prefix(pipeline["pre_tokenizer"])
    encoder = tokenizers.Tokenizer.from_str(json.dumps(pipeline))
    encoder.encode_special_tokens = True  # a special token's spelling in a token is plain text
    return encoder


def _without_prefix(part: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a pipeline part that puts no space in front."""
    if part is None or part["type"] == "Prepend":
        return None
    part = dict(part)
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            part[key] = [kept for step in part[key] if (kept := _without_prefix(step))]
    if part["type"] == "Metaspace":
        part["prepend_scheme"] = "never"
    if "add_prefix_space" in part:
        part["add_prefix_space"] = False
    return part
