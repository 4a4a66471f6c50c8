"""Compare gradients under DDP, FSDP1 and FSDP2 with those of whole models; run by torchrun."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from inarch.io.models import new_model
from inarch.numerics import Head, chunked_sum, run_with_head, token_logps

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def wrap(model: nn.Module, way: str) -> nn.Module:
    if way == "ddp":
        return DistributedDataParallel(model)
    if way == "fsdp1":
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def gradients(model: nn.Module, wrapped: nn.Module, way: str) -> dict[str, Tensor]:
    if way == "fsdp1":
        with FullyShardedDataParallel.summon_full_params(wrapped, with_grads=True):
            return {name: p.grad.clone() for name, p in model.named_parameters()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    return {n: g.full_tensor() for n, g in grads.items()} if way == "fsdp2" else grads


def loss(model: nn.Module, ids_BT: Tensor) -> Tensor:
    next_N = ids_BT[:, 1:].flatten()

    def sums(hidden_BTD: Tensor, head: Head) -> Tensor:
        def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
            return -token_logps(logits_nV, next_N[part]).sum()[None]

        return chunked_sum(hidden_BTD[:, :-1].flatten(0, 1), head, per_chunk, chunk=5)

    return run_with_head(model, {"input_ids": ids_BT}, sums)[0]


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ids_BT = torch.randint(61, (3, 9), generator=torch.Generator().manual_seed(dist.get_rank()))
    for tied in (False, True):
        for way in ("ddp", "fsdp1", "fsdp2"):
            config = CONFIG | {"tie_word_embeddings": tied}
            whole, model = (new_model(config, 61, seed=0).train() for _ in range(2))
            wrapped = wrap(model, way)
            loss(wrapped, ids_BT).backward()
            loss(whole, ids_BT).backward()
            found = gradients(model, wrapped, way)
            for name, p in whole.named_parameters():
                dist.all_reduce(p.grad)
                assert p.grad.abs().max() > 0, name
                torch.testing.assert_close(found[name.removeprefix("module.")], p.grad / 2)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
