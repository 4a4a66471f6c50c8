"""The fusion loss and its gradients: sparse and chunked against dense targets and full logits.

    python benchmarks/sparse_loss.py [--tokens 2048] [--hidden 512] [--vocab 32000 152000]

Three ways to one number, lambda CE + (1 - lambda) H(P, Q) with k = 10 renormalised candidates
per position, each in processes of its own on one thread:

    sparse      inarch.numerics: a gather of k log-probs per position, the head applied by chunks
    dense       a [T, V] bfloat16 target filled at once, full float32 logits
    reference   the same, with the target filled position by position in Python, as the released
                FuseLLM and FuseChat collators do (written here from their description)

Peak memory is the resident peak less that of a process that only makes the inputs; the gradient of
the head, [V, D] in float32, is part of both and of the limit. Time is processor time, the least of
several runs; the limit is that of the three products of matrices alone. Writes
benchmarks/results/sparse_loss-DATE-HARDWARE.json.
"""

import argparse
import json
import platform
import re
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch.numerics import Head, chunked_sum, divergence, logps_at

LAMBDA, K = 0.9, 10
CHUNK = 128
WAYS = ("inputs", "products", "sparse", "dense", "reference")
RESULTS = Path(__file__).parent / "results"
Inputs = tuple[Tensor, nn.Linear, Tensor, Tensor, Tensor]


def make_inputs(num_tokens: int, hidden: int, vocab: int) -> Inputs:
    """Return hidden states, head, next ids, and a teacher's ids and log-probs."""
    torch.manual_seed(0)
    hidden_TD = torch.randn(num_tokens, hidden, requires_grad=True)
    head = nn.Linear(hidden, vocab, bias=False)
    ids_Tk = torch.randint(vocab - K, (num_tokens, 1)) + torch.arange(K)
    logps_Tk = torch.randn(num_tokens, K).log_softmax(1) - 0.1  # a tail of 1 - e^-0.1 is left
    return hidden_TD, head, torch.randint(vocab, (num_tokens,)), ids_Tk, logps_Tk


class _Products(torch.autograd.Function):
    """The products that no way can do without, on a gradient of the logits that is given."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, weight_VD: Tensor) -> Tensor:
        grad_TD, grad_VD = torch.empty_like(hidden_TD), torch.zeros_like(weight_VD)
        for part in range(0, len(hidden_TD), CHUNK):
            hidden_nD = hidden_TD[part : part + CHUNK]
            logits_nV = hidden_nD @ weight_VD.T
            torch.mm(logits_nV, weight_VD, out=grad_TD[part : part + CHUNK])
            grad_VD.addmm_(logits_nV.T, hidden_nD)
        ctx.grads = grad_TD, grad_VD
        return hidden_TD.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return ctx.grads


def products(
    hidden_TD: Tensor, head: nn.Linear, next_T: Tensor, ids: Tensor, logps: Tensor
) -> Tensor:
    """Do the products of matrices alone."""
    return _Products.apply(hidden_TD, head.weight)


def sparse(
    hidden_TD: Tensor, head: nn.Linear, next_T: Tensor, ids: Tensor, logps: Tensor
) -> Tensor:
    """Return the loss by inarch.numerics."""
    tail_T = torch.full((len(ids),), -torch.inf)

    def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
        student = logps_at(logits_nV, ids[part], next_T[part])
        fused_n = divergence(
            student.logps_Nk,
            student.tail_N,
            logps[part],
            tail_T[part],
            kind="ce",
            tail_policy="renormalise",
        )
        return (-LAMBDA * student.next_logps_N + (1 - LAMBDA) * fused_n).sum()[None]

    sums = chunked_sum(hidden_TD, Head(head.out_features, head.forward, head), per_chunk)
    return sums[0] / len(next_T)


def dense_loss(hidden_TD: Tensor, head: nn.Linear, next_T: Tensor, target_TV: Tensor) -> Tensor:
    """Return the loss of full logits and a dense target."""
    logits_TV = head(hidden_TD).float()
    clm = nn.functional.cross_entropy(logits_TV, next_T)
    fused = nn.functional.cross_entropy(logits_TV, target_TV.float())
    return LAMBDA * clm + (1 - LAMBDA) * fused


def dense(hidden_TD: Tensor, head: nn.Linear, next_T: Tensor, ids: Tensor, logps: Tensor) -> Tensor:
    """Return the loss with a target that is filled at once."""
    target_TV = torch.zeros(len(ids), head.out_features, dtype=torch.bfloat16)
    target_TV.scatter_(1, ids, logps.softmax(1).bfloat16())
    return dense_loss(hidden_TD, head, next_T, target_TV)


def reference(
    hidden_TD: Tensor, head: nn.Linear, next_T: Tensor, ids: Tensor, logps: Tensor
) -> Tensor:
    """Return the loss with a target that is filled position by position."""
    rows = []
    for row_ids, row_logps in zip(ids.tolist(), logps.tolist(), strict=True):
        row_V = torch.zeros(head.out_features, dtype=torch.bfloat16)
        probs = torch.tensor(row_logps, dtype=torch.bfloat16).softmax(0)
        for token, prob in zip(row_ids, probs, strict=True):
            row_V[token] = prob
        rows.append(row_V)
    return dense_loss(hidden_TD, head, next_T, torch.stack(rows))


LOSSES = {"products": products, "sparse": sparse, "dense": dense, "reference": reference}


def measure(way: str, num_tokens: int, hidden: int, vocab: int, repeats: int) -> dict[str, float]:
    """Return loss, gradient norms, least processor time and peak memory of this process."""
    torch.set_num_threads(1)
    inputs = make_inputs(num_tokens, hidden, vocab)
    hidden_TD, head = inputs[:2]
    found = {"cpu_s": float("inf")}
    for _ in range(repeats if way != "inputs" else 0):
        hidden_TD.grad = head.weight.grad = None
        began = time.process_time()
        loss = LOSSES[way](*inputs)
        loss.backward()
        found["cpu_s"] = min(found["cpu_s"], time.process_time() - began)
        found["loss"] = loss.item()
        found["hidden_grad_norm"] = hidden_TD.grad.norm().item()
        found["weight_grad_norm"] = head.weight.grad.norm().item()
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return found


def compare(num_tokens: int, hidden: int, vocab: int, repeats: int) -> dict[str, object]:
    """Return all ways at one width of the head, with ratios to ``sparse``."""
    ways = {}
    for way in WAYS:
        task = [way, str(num_tokens), str(hidden), str(vocab), str(repeats)]
        output = subprocess.run(
            [sys.executable, __file__, "--measure", *task], check=True, capture_output=True
        )
        ways[way] = json.loads(output.stdout)
    base = ways.pop("inputs")["peak_mib"]
    for found in ways.values():
        found["peak_mib"] -= base
    ours, limit = ways["sparse"], ways.pop("products")
    return {
        "vocab": vocab,
        "ways": ways,
        "limit": {"cpu_s": limit["cpu_s"], "head_gradient_mib": vocab * hidden * 4 / 2**20},
        "ratios_to_sparse": {
            way: {name: ways[way][name] / ours[name] for name in ("peak_mib", "cpu_s", "loss")}
            for way in ("dense", "reference")
        },
    }


def hardware() -> str:
    """Return the processor's name, fit for a file name."""
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text() if cpu.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return re.sub(r"[^a-z0-9]+", "-", (name[1] if name else platform.processor()).lower()).strip(
        "-"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--vocab", type=int, nargs="+", default=[32_000, 152_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        way, *numbers = args.measure
        print(json.dumps(measure(way, *map(int, numbers))))
        return
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": platform.platform() + ", " + hardware() + ", one thread",
        "torch": torch.__version__,
        "setting": {"tokens": args.tokens, "hidden": args.hidden, "k": K, "lambda": LAMBDA},
        "results": [compare(args.tokens, args.hidden, vocab, args.repeats) for vocab in args.vocab],
    }
    day = datetime.now(UTC).date()
    path = RESULTS / f"sparse_loss-{day}-{hardware()}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
