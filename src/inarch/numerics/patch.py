"""Other forwards on modules, within a `with`: names, weights and hooks stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

Forward = Callable[..., Any]


@contextmanager
def patched(forwards: Iterable[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Give modules other forwards, and back their own at the end, come what may."""
    with ExitStack() as stack:
        for module, forward in forwards:
            stack.callback(_put_back, module, module.__dict__.get("forward"))
            module.forward = forward
        yield


def _put_back(module: nn.Module, own: Forward | None) -> None:
    if own is not None:  # accelerate puts one there
        module.forward = own
    elif "forward" in module.__dict__:  # left behind, it would keep the module alive in a cycle
        del module.forward
