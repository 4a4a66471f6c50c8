"""A model's own forward, entered at any layer, and the hidden states that it passes through.

What a model does before its layers (positions, masks) and after them (last norm, projections, soft
caps, head) runs as ever, so the results are bit for bit those of the whole forward.

Shapes: B = batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from inarch.numerics import patched
from inarch.prune._slots import hidden_of, packed, unpacked


@contextmanager
def entered(
    layers: nn.ModuleList, start: int, hidden_BTD: Tensor, returned: int | None
) -> Iterator[None]:
    """Within, a forward skips the layers before ``start``, which gets ``hidden_BTD``.

    Args:
        layers: The decoder layers.
        start: Index of the layer; the number of layers means what comes after the last.
        hidden_BTD: Its input.
        returned: Length of the tuple that layers return; None: a tensor.
    """

    def skip(*args: Any, **kwargs: Any) -> Any:
        return packed(hidden_of(args, kwargs), returned)

    def inject(*_args: Any, **_kwargs: Any) -> Any:
        return packed(hidden_BTD.clone(), returned)

    if start == 0:
        with _fed(layers[0], hidden_BTD):
            yield
        return
    skipped = [(layer, skip) for layer in layers[: start - 1]]
    with patched([*skipped, (layers[start - 1], inject)]):
        yield


@contextmanager
def watched(layers: nn.ModuleList, indices: Iterable[int]) -> Iterator[dict[int, Tensor]]:
    """Within, a forward puts the inputs of layers into the dictionary that this yields.

    Args:
        layers: The decoder layers.
        indices: Of layers; the number of layers means the output of the last one. Only layers that
            run are seen.
    """
    seen: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for index in indices:
            if index < len(layers):
                hook = layers[index].register_forward_pre_hook(
                    _keep_input(seen, index), with_kwargs=True
                )
            else:
                hook = layers[-1].register_forward_hook(_keep_output(seen, index))
            stack.callback(hook.remove)
        yield seen


@contextmanager
def _fed(layer: nn.Module, hidden_BTD: Tensor) -> Iterator[None]:
    def swap(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (hidden_BTD.clone(), *args[1:])

    hook = layer.register_forward_pre_hook(swap)
    try:
        yield
    finally:
        hook.remove()


def _keep_input(seen: dict[int, Tensor], index: int) -> Any:
    def keep(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[index] = hidden_of(args, kwargs).clone()

    return keep


def _keep_output(seen: dict[int, Tensor], index: int) -> Any:
    def keep(_layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen[index] = unpacked(output).clone()

    return keep
