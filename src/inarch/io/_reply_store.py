"""Replies of endpoints on disk: one line of JSON each, under a digest of what was asked."""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from inarch.errors import DataError
from inarch.io.files import append_metrics, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Reply(NamedTuple):
    """What an endpoint answered."""

    text: str
    finish_reason: str
    """Why it ends here: ``stop``, ``length``, ``content_filter``."""
    model: str
    """The model that answered, as the endpoint calls it."""
    num_prompt_tokens: int | None = None
    """As the endpoint counts; None where it does not."""
    num_answer_tokens: int | None = None
    top_logprobs: tuple[tuple[str, float], ...] | None = None
    """Most probable first tokens of the answer with their log-probs, in nats, best first; None
    where they were not asked for, or not given."""


def request_key(url: str, body: Mapping[str, Any], sample: int) -> str:
    """Return the digest of all that determines a reply, 32 hexadecimal digits."""
    text = json.dumps({"url": url, "body": body, "sample": sample}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextmanager
def hold(cache: Path) -> Iterator[None]:
    """Hold a cache against others who would ask through it.

    Raises:
        DataError: Another one does, or its folder cannot be made.
    """
    make_folder(cache.parent)
    with (cache.with_name(f".{cache.name}.lock")).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another run asks an endpoint through {cache}; wait for it, or use another file"
            ) from None
        except OSError:  # some network file systems have no locks
            pass
        yield


def stored(cache: Path) -> Iterator[tuple[str, Reply]]:
    """Yield the replies of a cache with their keys, without a last line that a kill cut short.

    Raises:
        DataError: Another line is no reply.
    """
    if not cache.exists():
        return
    with cache.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                key, reply = row.pop("key"), Reply(**row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{cache}:{number}: found no reply of an endpoint ({error}); expected what "
                    "inarch wrote there; delete that line or the file"
                ) from None
            if reply.top_logprobs is not None:
                reply = reply._replace(top_logprobs=_pairs(reply.top_logprobs))
            yield key, reply


def _pairs(found: Any) -> tuple[tuple[str, float], ...]:
    return tuple((str(token), float(logp)) for token, logp in found)


def keep(cache: Path, key: str, reply: Reply) -> None:
    """Add a reply to a cache.

    Raises:
        DataError: The disk is full.
    """
    append_metrics(cache, {"key": key} | reply._asdict())
