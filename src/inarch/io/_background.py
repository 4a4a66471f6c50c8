"""A coroutine that runs in a thread while its results are worked on."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")


def results(produce: Callable[[Callable[[T], None]], Coroutine[None, None, None]]) -> Iterator[T]:
    """Yield what a coroutine hands over, while it goes on; it is cancelled if the caller stops.

    Args:
        produce: Gets the function to hand results to.

    Raises:
        BaseException: What the coroutine raises; of a group of errors, the first.
    """
    done: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(produce(lambda result: done.put((result,))))

    def run() -> None:
        try:
            loop.run_until_complete(task)
            done.put(None)
        except BaseExceptionGroup as errors:
            done.put(errors.exceptions[0])
        except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
            done.put(error)

    thread = threading.Thread(target=run, name="inarch", daemon=True)
    thread.start()
    try:
        while (item := done.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
