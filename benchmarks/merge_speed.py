"""`inarch merge` against mergekit on four 1.1B models, and against reading and writing alone.

    python benchmarks/merge_speed.py [--folder DIR] [--only linear --only sce] [--rounds 1]

The models (and their base) are made once: 22 layers, hidden 2048, bfloat16, sharded; 11 GB. Each
program is a process of its own on the same files, with a warm page cache: mergekit as
``mergekit-yaml`` with both of the flags that were found to matter, inarch as ``inarch merge``, and
the limit: every input read once and the output written once, in parts, by two threads, with no sum
at all. Reported: wall and CPU seconds of the whole process, and the most anonymous memory. The
first run of inarch after an installation compiles its loops, once per machine; it is named so.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import yaml

HIDDEN, INNER, VOCAB, LAYERS, KV = 2048, 5632, 32000, 22, 256
SHARD_BYTES = 500_000_000
TASK = {"models": [{"weight": w} for w in (0.4, 0.3, 0.2, 0.1)], "base": True}
METHODS = {
    "linear": {"models": TASK["models"]},
    "slerp": {"models": [{}], "base_is_model": True, "parameters": {"t": 0.4}},
    "task_arithmetic": TASK,
    "model_stock": {"models": [{}] * 4, "base": True},
    "ties": {**TASK, "parameters": {"density": 0.5}},
    "dare_ties": {**TASK, "parameters": {"density": 0.5}},
    "sce": {"models": [{}] * 4, "base": True, "parameters": {"select_topk": 0.1}},
}
PROGRAMS = {
    "mergekit": ["mergekit-yaml", "{config}", "{out}", "--allow-crimes"],
    "mergekit 500M": ["mergekit-yaml", "{config}", "{out}", "--out-shard-size", "500M"],
    "inarch, first": ["-m", "inarch", "merge", "{config}", "{out}"],
    "inarch": ["-m", "inarch", "merge", "{config}", "{out}"],
}


def main() -> None:
    """Measure, print a line per run, and write the dated JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "inarch-merge")
    parser.add_argument("--only", action="append", choices=METHODS)
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-json", action="store_true")
    args = parser.parse_args()
    models = [make_model(args.folder / f"m{k}", k) for k in range(5)]
    warm(models)
    runs = [dict(program="limit", method="read 4, write 1", **limit(args.folder, models[1:]))]
    show(runs[-1])
    for _ in range(args.rounds):
        for method in args.only or METHODS:
            config = write_config(args.folder, method, models)
            for program in args.program or PROGRAMS:
                out = args.folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                command = [part.format(config=config, out=out) for part in PROGRAMS[program]]
                runs.append({"program": program, "method": method, **measure(command)})
                show(runs[-1])
                shutil.rmtree(out, ignore_errors=True)
            runs.append(
                dict(program="limit", method="read 4, write 1", **limit(args.folder, models[1:]))
            )
            show(runs[-1])
    if not args.no_json:
        save(runs)


def make_model(folder: Path, number: int) -> Path:
    """Write a model of random weights; all but the first are the first and a little noise."""
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            prefix + "self_attn.k_proj.weight": (KV, HIDDEN),
            prefix + "self_attn.v_proj.weight": (KV, HIDDEN),
            prefix + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            prefix + "mlp.gate_proj.weight": (INNER, HIDDEN),
            prefix + "mlp.up_proj.weight": (INNER, HIDDEN),
            prefix + "mlp.down_proj.weight": (HIDDEN, INNER),
            prefix + "input_layernorm.weight": (HIDDEN,),
            prefix + "post_attention_layernorm.weight": (HIDDEN,),
        }
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}
    write_shards(folder, shapes, number)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": VOCAB,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_shards(folder: Path, shapes: dict[str, tuple[int, ...]], number: int) -> None:
    """Write the shards and their index."""
    import torch
    from safetensors.torch import save_file

    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, shape in shapes.items():
        seed = zlib.crc32(name.encode())
        values = torch.ones(shape)
        if len(shape) > 1:
            values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.02
        if number:
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed + number))
            values += noise * (0.001 * number)
        if size + values.numel() * 2 > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = values.bfloat16()
        size += values.numel() * 2
    weight_map = {}
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
    )


def write_config(folder: Path, method: str, models: list[Path]) -> Path:
    """Write the recipe, in mergekit's form, that both programs read."""
    plan = METHODS[method]
    first = 0 if plan.get("base_is_model") else 1
    count = len(plan["models"]) + bool(plan.get("base_is_model"))
    rows = [{"model": str(model)} for model in models[first : first + count]]
    for row, parameters in zip(rows, plan["models"], strict=False):
        if parameters:
            row["parameters"] = parameters
    config = {
        "merge_method": method,
        "models": rows,
        "parameters": plan.get("parameters", {}),
        "dtype": "bfloat16",  # mergekit computes in it, which is its fastest; inarch in float32
    }
    if plan.get("base") or plan.get("base_is_model"):
        config["base_model"] = str(models[0])
    path = folder / f"{method}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def warm(models: list[Path]) -> None:
    """Bring every input into the page cache."""
    for model in models:
        for shard in model.glob("*.safetensors"):
            with shard.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass


def limit(folder: Path, models: list[Path]) -> dict[str, float]:
    """Read every byte of the models and write as many as one has, in a process of its own."""
    out = folder / "limit.bin"
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    script += f"import merge_speed as m; m.copy({[str(m) for m in models]!r}, {str(out)!r})"
    result = measure(["-c", script])
    out.unlink()
    return result


def copy(models: list[str], out: str, part: int = 1 << 18, threads: int = 2) -> None:
    """Read all shards of all models in parts, and write the parts of the first."""
    shards = [sorted(Path(model).glob("*.safetensors")) for model in models]
    sizes = [shard.stat().st_size for shard in shards[0]]
    files = [[os.open(shard, os.O_RDONLY) for shard in row] for row in shards]
    target = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.posix_fallocate(target, 0, sum(sizes))

    def move(job: tuple[int, int, int]) -> None:
        shard, start, place = job
        buffer = memoryview(bytearray(min(part, sizes[shard] - start)))
        for row in reversed(files):
            os.preadv(row[shard], [buffer], start)
        os.pwrite(target, buffer, place)

    jobs = [
        (shard, start, sum(sizes[:shard]) + start)
        for shard, size in enumerate(sizes)
        for start in range(0, size, part)
    ]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(move, jobs))
    os.close(target)


def measure(command: list[str]) -> dict[str, float]:
    """Run a program of this environment; return its wall and CPU seconds and peak memory."""
    first, *rest = command
    program = (
        [sys.executable, first]
        if first.startswith("-")
        else [Path(sys.executable).with_name(first)]
    )
    before = os.times()
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*program, *rest],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
    )
    anonymous = resident = 0
    while process.poll() is None:
        status = memory(process.pid)
        anonymous = max(anonymous, status.get("RssAnon", 0))
        resident = max(resident, status.get("VmRSS", 0))
        time.sleep(0.01)
    wall = time.perf_counter() - begun
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{process.stdout.read()}")
    return {
        "wall_s": round(wall, 2),
        "cpu_s": round(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system,
            2,
        ),
        "anonymous_mb": round(anonymous / 1024),
        "resident_mb": round(resident / 1024),
    }


def memory(pid: int) -> dict[str, int]:
    """Return the kilobytes that Linux notes for a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = (line.split() for line in lines if line.startswith(("Rss", "VmRSS")))
    return {field[0].rstrip(":"): int(field[1]) for field in fields}


def show(run: dict[str, object]) -> None:
    """Print one run."""
    print(f"{run['method']:16} {run['program']:14}", end="")
    print(f" wall {run['wall_s']:7.2f} s   cpu {run['cpu_s']:7.2f} s", end="")
    print(
        f"   anonymous {run['anonymous_mb']:5} MB   resident {run['resident_mb']:5} MB", flush=True
    )


def save(runs: list[dict[str, object]]) -> None:
    """Write the dated JSON beside this script."""
    results = {
        "date": date.today().isoformat(),
        "machine": "2 cores AMD EPYC, 24 GB",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runs": runs,
    }
    path = Path(__file__).parent / "results" / f"merge_speed-{date.today()}-amd-epyc.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
