"""Which files of a model's folder are its weights, and why others are none."""

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inarch.errors import WeightsError
from inarch.io.headers import Header, TensorInfo, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"

_ONE_OF_MANY = re.compile(r"-of-(?!0*1\.)\d+\.")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_BESIDE_CODES = re.compile(
    r"[._](weight_scale(_inv)?|weight_packed|input_scale|qweight|qzeros|g_idx|SCB|scales"
    r"|weight\.(absmax|quant_map|nested_absmax|quant_state\..*))$"
)
"""Ends of names of what turns codes into numbers: fp8, GPTQ, AWQ, bitsandbytes, MLX, MXFP4."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        WeightsError: The file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON ({error}); fetch or write this file again") from None
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, expected an object; fetch it again"
        )
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` of a folder says.

    Raises:
        WeightsError: There is none, or it is broken.
    """
    if (folder / CONFIG).is_file():
        return read_json(folder / CONFIG)
    if (folder / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder} is an adapter, expected a whole model; write the model that it was trained "
            f"on before it: model+{folder}"
        )
    raise WeightsError(
        f"{folder} has no {CONFIG}; expected the folder of a saved model: {CONFIG} and {SINGLE}, "
        f"or {INDEX} and its files"
    )


def find_weights(folder: Path) -> dict[Path, Header]:
    """Return the files of a folder that hold its weights, with their headers.

    As in transformers, ``model.safetensors`` goes before an index.

    Raises:
        WeightsError: There are none, or they do not fit each other.
    """
    single = folder / SINGLE
    if single.is_file():
        return {single: read_header(single)}
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if indexes:
        return _read_indexed(folder / INDEX if folder / INDEX in indexes else indexes[0])
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1 and not _ONE_OF_MANY.search(files[0].name):
        return {files[0]: read_header(files[0])}
    if files:
        raise WeightsError(
            f"{folder} holds {files[0].name} and no {INDEX} that says which files make up the "
            "model; fetch it, or finish the run that writes them"
        )
    raise _without_safetensors(folder)


def _read_indexed(index: Path) -> dict[Path, Header]:
    """Return the files that an index names, which hold what it says."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{index} has no weight_map; fetch or write this file again")
    for name, entry in weight_map.items():
        # A symbolic link is fine, the hub's cache is made of them; a path is not.
        is_name = isinstance(entry, str) and entry == os.path.basename(entry)
        if not is_name or entry in ("", ".", ".."):
            raise WeightsError(
                f"{index} places {name!r} in {entry!r}, expected the name of a file beside it: an "
                "index may not lead out of its folder; do not trust this checkpoint"
            )
    files = {}
    where: dict[str, str] = {}
    for entry in sorted(set(weight_map.values())):
        path = index.parent / entry
        if not path.is_file():
            raise WeightsError(f"{index} names {entry}, which is not there; fetch it as well")
        files[path] = read_header(path)
        for tensor in files[path].tensors:
            if tensor.name in where:
                raise WeightsError(
                    f"{index.parent}: both {where[tensor.name]} and {entry} hold {tensor.name!r}, "
                    "expected each tensor once; fetch or write the checkpoint again"
                )
            where[tensor.name] = entry
    for name, entry in weight_map.items():
        if where.get(name) != entry:
            holder = f"{where[name]} does" if name in where else "no file does"
            raise WeightsError(
                f"{index} says that {entry} holds {name!r}, but {holder}; fetch the index and its "
                "files again, from one place"
            )
    return files


def _without_safetensors(folder: Path) -> WeightsError:
    """Return the error for a folder without safetensors: how to make them, if there is a way."""
    pickles = [file for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
    if not pickles:
        return WeightsError(
            f"{folder} holds no weights, expected {SINGLE}, or {INDEX} and its files; if the model "
            "has them as .bin on the hub, load it with transformers and save it here"
        )
    if pickles[0].suffix == ".bin":
        new = str(folder.absolute()) + "-safetensors"
        code = (
            "import sys; from transformers import AutoModelForCausalLM as M; "
            "M.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"
        )
        command = ["python", "-c", code, str(folder.absolute()), new]
        then = f"copy its tokenizer files to {new}, and use that"
    else:
        code = (
            "import sys, torch; from safetensors.torch import save_file; "
            "d = torch.load(sys.argv[1], 'cpu', weights_only=True); "
            "save_file({k: v.clone().contiguous() for k, v in d.items()}, sys.argv[2], "
            "{'format': 'pt'})"
        )
        command = [
            "python",
            "-c",
            code,
            *(str(x.absolute()) for x in (pickles[0], folder / SINGLE)),
        ]
        then = "use the folder again"
    return WeightsError(
        f"{folder} holds its weights as {pickles[0].name}, a pickle, which can run code when read; "
        f"expected safetensors. If you trust it, convert it once and {then}:\n{shlex.join(command)}"
    )


def refuse_codes(label: str, config: Mapping[str, Any], tensors: Iterable[TensorInfo]) -> None:
    """Refuse a quantised checkpoint, by what its config says and what lies beside its weights.

    Raises:
        WeightsError: It is one.
    """
    keys = ("quantization_config", "quantization", "compression_config")
    said = next((config[key] for key in keys if config.get(key)), None)
    method = said.get("quant_method") if isinstance(said, dict) else None
    sign = next((t.name for t in tensors if _BESIDE_CODES.search(t.name)), None)
    if said or sign:
        why = f"it holds {sign}" if not said else f"{CONFIG} says so{f': {method}' * bool(method)}"
        raise WeightsError(
            f"{label} is quantised ({why}), so its numbers are codes, which cannot be averaged; "
            "expected float32, float16, bfloat16 or a plain float8; use the checkpoint that it was "
            "made from"
        )
