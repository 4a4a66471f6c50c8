"""The LM head, reached from inside the model's own forward and applied chunk by chunk.

Full logits never exist: ``run_with_head`` puts a function in the place where the model would apply
its head, and ``chunked_sum`` lets that function see the logits of a few positions at a time, in the
forward and in the backward pass.

Shapes: B = batch, T = tokens of a row, N = positions, n = positions of a chunk, D = hidden width,
V = width of the head, m = sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inarch.numerics.patch import patched

R = TypeVar("R")
PerChunk = Callable[[Tensor, slice], Tensor]

CHUNK_LOGITS = 2**23
"""Logits of a chunk, 32 MiB of float32; on a CPU more is not faster (benchmarks/sparse_loss.py)."""


class Head(NamedTuple):
    """The part of a model that turns hidden states into logits."""

    width: int
    """Logits per position: the vocabulary, and the padding that many heads have."""
    forward: Callable[[Tensor], Tensor]
    """Hidden states to logits."""
    linear: nn.Linear | None
    """The head where it is a plain linear layer, which has a backward pass of its own here."""

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits of some positions, float32, ``[N, V]``."""
        return self.forward(hidden_ND).float()


_is_exposed: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models looked at: does the head's output leave the model untouched?"""


def run_with_head(
    model: nn.Module, inputs: Mapping[str, Tensor], fn: Callable[[Tensor, Head], R]
) -> R:
    """Return ``fn(hidden_BTD, head)``, called in the place of the LM head.

    The model's own forward runs, with the wrappers of DDP, FSDP, peft and accelerate around it.
    Models that have no output embedding, or that change the logits afterwards (soft caps, scales),
    are found out by one small forward per model. They run densely: ``hidden_BTD`` is then their
    logits and ``head.logits`` the identity, so that ``fn`` need not know.

    Args:
        model: A causal LM, wrapped or not.
        inputs: Arguments of its forward, among them ``input_ids``, ``[B, T]``.
        fn: Gets the hidden states after the last norm, ``[B, T, D]``, and the head. To work under
            FSDP, a result that is to be differentiated must be one tensor.
    """
    bare = _bare(model)
    if bare not in _is_exposed:
        _is_exposed[bare] = _probe(model, bare, inputs["input_ids"][:1, :2])
    if not _is_exposed[bare]:
        logits_BTV = model(**inputs, use_cache=False).logits
        return fn(logits_BTV, Head(logits_BTV.shape[-1], _same, None))

    module = bare.get_output_embeddings()
    linear = module if type(module) is nn.Linear else None
    head = Head(module.weight.shape[0], module.forward, linear)
    results: list[R] = []

    def stand_in(hidden_BTD: Tensor) -> Tensor:
        result = fn(hidden_BTD, head)
        results.append(result)
        return result if isinstance(result, Tensor) else hidden_BTD[..., :0]

    with patched([(module, stand_in)]):
        logits = model(**inputs, use_cache=False).logits
    # A tensor leaves by the model's own output, where FSDP hangs the hooks of its backward.
    return logits if isinstance(results[0], Tensor) else results[0]


def _bare(model: nn.Module) -> Any:
    """Return the model inside DDP, FSDP and torch.compile; peft wrappers hand on what is asked."""
    while True:
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module) or not hasattr(inner, "get_output_embeddings"):
            return model
        model = inner


def _same(logits: Tensor) -> Tensor:
    return logits


@torch.no_grad()
def _probe(model: nn.Module, bare: Any, ids_12: Tensor) -> bool:
    """Return whether what the head puts out is what the model puts out.

    The head's output is replaced by values so large and so different that no scale, cap, cut or
    offset leaves them alone.
    """
    module = bare.get_output_embeddings()
    if module is None or getattr(module, "weight", None) is None:
        return False
    planted: list[Tensor] = []

    def plant(_module: nn.Module, _args: Any, logits: Tensor) -> Tensor:
        values = torch.linspace(-999, 999, logits.numel(), device=logits.device)
        planted.append(values.view_as(logits).to(logits.dtype))
        return planted[-1]

    modes = [(part, part.training) for part in bare.modules()]
    handle = module.register_forward_hook(plant)
    try:
        # Without dropout, because a resumed run probes at another step than an unbroken one did.
        bare.eval()
        logits = model(input_ids=ids_12, use_cache=False).logits
    finally:
        handle.remove()
        for part, mode in modes:
            part.training = mode
    return len(planted) == 1 and torch.equal(planted[0].float(), logits.float())


def chunked_sum(
    hidden_ND: Tensor, head: Head, per_chunk: PerChunk, *, chunk: int | None = None
) -> Tensor:
    """Return the sum over chunks of ``per_chunk(logits_nV, slice)``, float32, ``[m]``.

    Element 0 is differentiable, with the gradients of the dense computation for the hidden states
    and the head; the others are metrics. With a plain linear head the gradients are computed in the
    forward pass, while the logits of a chunk are there, and can be used once; otherwise each chunk
    is computed again in the backward pass.

    Args:
        hidden_ND: Hidden states as the head of ``run_with_head`` takes them, ``[N, D]``.
        head: The head.
        per_chunk: From the float32 logits of the positions in the slice, ``[n, V]``, to their sums,
            ``[m]``. Gradients flow through the logits only. Called once, with an empty slice,
            where there are no positions.
        chunk: Positions per chunk; by default as many as make 32 MiB of logits or, if that is more,
            D / 4, with which the buffers of a chunk are about as large as the head's gradient.
    """
    size = chunk or _chunk_size(hidden_ND.shape[1], head)
    slices = [slice(i, i + size) for i in range(0, len(hidden_ND), size)] or [slice(0, 0)]
    if not torch.is_grad_enabled():
        return _total([per_chunk(head.logits(hidden_ND[part]), part).float() for part in slices])
    if head.linear is not None:
        weight, bias = head.linear.weight, head.linear.bias
        loss, metrics = _LinearHeadSum.apply(hidden_ND, weight, bias, per_chunk, slices)
        return torch.cat([loss[None], metrics])

    def sums_of(part_nD: Tensor, part: slice) -> Tensor:
        return per_chunk(head.logits(part_nD), part).float()

    sums_m = _total(
        [checkpoint(sums_of, hidden_ND[part], part, use_reentrant=False) for part in slices]
    )
    return torch.cat([sums_m[:1], sums_m[1:].detach()])


def _chunk_size(hidden_width: int, head: Head) -> int:
    # Every chunk reads the whole head and adds to its whole gradient, so few rows are a waste.
    few = 1 if head.linear is None else hidden_width // 4
    return max(1, few, CHUNK_LOGITS // head.width)


def _total(sums: list[Tensor]) -> Tensor:
    return torch.stack(sums).sum(0)


class _LinearHeadSum(torch.autograd.Function):
    """Sums over chunks of logits = hidden weight^T + bias, with gradients ready after forward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        per_chunk: PerChunk,
        slices: list[slice],
    ) -> tuple[Tensor, Tensor]:
        kind = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)

        # Weight gradients add up over chunks, so they are kept in float32; hidden ones do not.
        grad_hidden_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if wants_weight else None
        grad_bias_V = (
            weight_VD.new_zeros(len(weight_VD), dtype=torch.float32) if wants_bias else None
        )
        sums = []
        with torch.autocast(kind, enabled=False):
            for part in slices:
                hidden_nD = hidden_ND[part]
                logits_nV = nn.functional.linear(hidden_nD, weight_VD, bias_V).float()
                sums_m, grad_nV = _sums_and_grad(logits_nV, part, per_chunk)
                sums.append(sums_m)
                low_nV = grad_nV.to(weight_VD.dtype)
                if grad_hidden_ND is not None:
                    torch.mm(low_nV, weight_VD, out=grad_hidden_ND[part])
                if grad_weight_VD is not None:
                    _add_product(grad_weight_VD, low_nV, hidden_nD)
                if grad_bias_V is not None:
                    grad_bias_V += grad_nV.sum(0)
        ctx.grads = [grad_hidden_ND, grad_weight_VD, grad_bias_V]
        sums_m = _total(sums)
        loss, metrics = sums_m[0].clone(), sums_m[1:].clone()
        ctx.mark_non_differentiable(metrics)
        return loss, metrics

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _grad_metrics: Tensor) -> tuple[Any, ...]:
        if ctx.grads is None:
            raise RuntimeError("the gradients of chunked_sum were used up by an earlier backward")
        grads, ctx.grads = ctx.grads, None
        scaled = [
            None if grad is None else grad.mul_(grad_loss).to(dtype)
            for grad, dtype in zip(grads, ctx.dtypes, strict=True)
        ]
        return *scaled, None, None


def _sums_and_grad(logits_nV: Tensor, part: slice, per_chunk: PerChunk) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        logits_nV = logits_nV.detach().requires_grad_()
        sums_m = per_chunk(logits_nV, part).float()
        (grad_nV,) = torch.autograd.grad(sums_m[0], logits_nV)
    return sums_m.detach(), grad_nV


def _add_product(total_VD: Tensor, grad_nV: Tensor, hidden_nD: Tensor) -> None:
    if grad_nV.dtype == torch.float32:
        total_VD.addmm_(grad_nV.T, hidden_nD)
    else:
        total_VD += grad_nV.T @ hidden_nD
