"""Progress of what takes longer than two seconds: a bar, or lines where there is no screen."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

logger = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""A bar appears after this time."""
LINE_EVERY_S = 30.0
"""Time between two lines of the log."""

console = Console(stderr=True)
"""What bars are drawn on. The CLI logs to it too, so that lines and bars do not cut each other."""


@contextmanager
def track(
    title: str, total: int | None, unit: str, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Give a function that is called with the number of items just finished.

    Args:
        title: What is going on, ``"teach llama"``.
        total: Number of items, None if it is not known.
        unit: What the items are, ``"tokens"``.
        done: Items that an earlier run finished; they do not count for the speed.
    """
    show = _bar if console.is_terminal else _lines
    with show(title, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int | None, unit: str, done: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    task = progress.add_task(title, total=total, completed=done)
    appear = threading.Timer(PATIENCE_S, progress.start)
    appear.daemon = True
    appear.start()
    try:
        yield lambda number: progress.advance(task, number)
    finally:
        appear.cancel()
        appear.join()
        progress.stop()


class _Rate(ProgressColumn):
    """Items per second."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_short(speed)} {self._unit}/s" if speed else "", style="cyan")


@contextmanager
def _lines(title: str, total: int | None, unit: str, done: int) -> Iterator[Callable[[int], None]]:
    begun = last = time.monotonic()
    now_done = done

    def advance(number: int) -> None:
        nonlocal last, now_done
        now_done += number
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            logger.info(
                "%s", _line(title, total, unit, now_done, (now_done - done) / (now - begun))
            )

    yield advance


def _line(title: str, total: int | None, unit: str, done: int, rate: float) -> str:
    """Return ``teach llama: 1200 of 9000 rows, 60 rows/s, 0:02:10 left``."""
    of = "" if total is None else f" of {total}"
    line = f"{title}: {done}{of} {unit}, {_short(rate)} {unit}/s"
    if total is not None and rate > 0:
        line += f", {timedelta(seconds=round((total - done) / rate))} left"
    return line


def _short(number: float) -> str:
    """Return a number with two or three digits: ``0.25``, ``7.3``, ``980``, ``12.4k``, ``3.1M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
