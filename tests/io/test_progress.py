"""Progress: silent for short work, a bar on a screen, few lines in a log."""

import io
import logging

import pytest
from rich.console import Console

from inarch.io import progress


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))
    return clock


@pytest.fixture
def screen(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "console", console)
    return screen


def test_a_log_gets_a_line_every_thirty_seconds(clock, caplog):
    caplog.set_level(logging.INFO)
    with progress.track("teach llama", 100, "rows", done=10) as advance:
        for _ in range(7):  # a line after 30 s and after 60 s, none at 70 s
            clock.now += 10
            advance(5)
    # 15 rows in 30 s are 0.5 rows/s; 75 remain, 150 s. After 60 s 60 remain, 120 s.
    assert caplog.messages == [
        "teach llama: 25 of 100 rows, 0.5 rows/s, 0:02:30 left",
        "teach llama: 40 of 100 rows, 0.5 rows/s, 0:02:00 left",
    ]


def test_an_unknown_total_has_no_end(clock, caplog):
    caplog.set_level(logging.INFO)
    with progress.track("read", None, "bytes") as advance:
        clock.now += 40
        advance(4_000_000)
    assert caplog.messages == ["read: 4000000 bytes, 100.0k bytes/s"]


def test_short_work_shows_nothing(screen, caplog):
    with progress.track("quick", 3, "rows") as advance:
        advance(3)
    assert screen.getvalue() == ""
    assert caplog.messages == []


def test_longer_work_shows_a_bar(screen, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    with progress.track("teach llama", 8, "rows", done=1) as advance:
        progress.time.sleep(0.2)
        for _ in range(6):
            advance(1)
    assert "teach llama" in screen.getvalue()
    assert "7/8" in screen.getvalue()
    assert "rows/s" in screen.getvalue()


@pytest.mark.parametrize(
    ("number", "short"),
    [(0.254, "0.25"), (7.31, "7.3"), (12, "12"), (999, "999"), (12_431, "12.4k"), (3.1e6, "3.1M")],
)
def test_numbers_are_short(number, short):
    assert progress._short(number) == short
