"""Waits before an endpoint is asked again, by hand."""

from datetime import UTC, datetime

import pytest

from inarch.io import _retry
from inarch.io._retry import asked_wait_s, passes, wait_s


def test_what_may_pass() -> None:
    statuses = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529)
    assert [status for status in statuses if passes(status)] == [408, 409, 429, 500, 503, 529]


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    # 0.5 s doubled with each attempt, up to 30 s, and up to a half taken off
    [(1, 0.25, 0.5), (2, 0.5, 1.0), (4, 2.0, 4.0), (7, 15.0, 30.0), (5000, 15.0, 30.0)],
)
def test_waits_double_and_differ(attempt: int, shortest: float, longest: float) -> None:
    waits = [wait_s(attempt, None) for _ in range(300)]
    assert shortest <= min(waits) < shortest * 1.1
    assert longest * 0.9 < max(waits) <= longest


def test_what_a_server_asks_for_is_never_undercut() -> None:
    waits = [wait_s(1, 20.0) for _ in range(100)]
    assert 20 <= min(waits) < max(waits) <= 22
    assert min(wait_s(7, 0.0) for _ in range(100)) >= 15


NOW = datetime(2026, 11, 21, 6, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("-3", 0.0),
        ("Sat, 21 Nov 2026 06:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 07:00:10 +0100", 10.0),
        ("Sat, 21 Nov 2026 05:00:00 GMT", 0.0),  # gone by
        ("Saturday, 21-Nov-26 06:00:05 GMT", 5.0),  # the old form
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert asked_wait_s({"retry-after": header}, NOW) == seconds
    assert asked_wait_s({}, NOW) is None


def test_dates_are_compared_with_the_clock() -> None:
    assert asked_wait_s({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}) > 1e9  # type: ignore[operator]
    assert _retry.LONGEST_ASKED_WAIT_S < 1e9
