"""When to ask an endpoint again: which failures pass, and how long to wait."""

import email.utils
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Of the waits that nobody asks for."""
LONGEST_ASKED_WAIT_S = 600.0
"""A server that asks for more, such as the rest of a day, is not waited for."""

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now"."""


def passes(status: int) -> bool:
    """Return whether the same request may get another HTTP status later."""
    return status in PASSING or status >= 500


def wait_s(attempt: int, asked_s: float | None) -> float:
    """Return the seconds to wait before a request is sent again.

    They double with each attempt, up to a limit; a share of up to a half is taken off by chance,
    so that requests that failed together do not come back together. What the server asks for is
    never undercut.

    Args:
        attempt: Attempts that have failed so far, from 1.
        asked_s: What the server asks for, in seconds, see `asked_wait_s`.
    """
    backoff_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 32))
    chance = random.random()
    return max(backoff_s * (1 - 0.5 * chance), (asked_s or 0.0) * (1 + 0.1 * chance))


def asked_wait_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a ``Retry-After``, given in seconds or as a date; None without one.

    Args:
        headers: Of the response, names in lower case.
        now: The time that a date is compared with; by default this moment.
    """
    value = headers.get("retry-after", "").strip()
    with suppress(ValueError):
        return max(0.0, float(value))
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
