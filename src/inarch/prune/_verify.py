"""A saved model, loaded in a process of its own and compared with what it should say.

Shapes: B = rows, T = tokens, V = width of the head.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from inarch.errors import WeightsError
from inarch.io.modeling_inarch_pruned import MODEL_TYPE

_CHILD = """if True:
    import json, sys
    import torch
    folder, tensors, attention, threads, device, registered = sys.argv[1:]
    if registered == "True":
        import inarch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(int(threads))
    choice = {} if attention == "None" else {"attn_implementation": attention}
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, trust_remote_code=False,
        output_loading_info=True, **choice)
    model, expected = model.to(device), load_file(tensors, device)
    with torch.no_grad():
        logits = model(input_ids=expected["ids"], use_cache=False).logits
    gap = (logits.float() - expected["logits"].float()).abs().max().item()
    keys = ("missing_keys", "unexpected_keys", "mismatched_keys")
    print(json.dumps({
        "class_name": type(model).__name__,
        "module": type(model).__module__,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "wrong_keys": {key: sorted(map(str, report[key])) for key in keys if report[key]},
        "is_equal": torch.equal(logits, expected["logits"]),
        "gap": gap,
        "has_inarch": "inarch" in sys.modules,
    }))
"""


class Reloaded(NamedTuple):
    """What a fresh process made of a saved model."""

    class_name: str
    """The class that `AutoModelForCausalLM` chose."""
    module: str
    """The module of that class; of transformers, for a stock class."""
    num_parameters: int
    """Its parameters, tied ones once."""
    has_inarch: bool
    """Whether inarch was there; for a model of a stock class it is not."""


def verify(
    folder: str | Path,
    logits_BTV: Tensor,
    ids_BT: Tensor,
    *,
    attention: str | None = None,
    timeout_s: float = 3600,
) -> Reloaded:
    """Return what a fresh Python process loads from a folder, once it is seen to be the same model.

    The process knows plain transformers, and imports inarch only where the model's type is of
    inarch. All weights have to come from the folder, and the logits have to be equal bit for bit,
    which they are on the same device with the same number of threads and kind of attention.

    Args:
        folder: Of the saved model.
        logits_BTV: What the masked model says, in its own dtype and on its device, ``[B, T, V]``.
        ids_BT: The tokens that it says it about, no padding, ``[B, T]``.
        attention: The ``attn_implementation`` that it had, if not the default.
        timeout_s: How long the process may take.

    Raises:
        WeightsError: The folder does not load, lacks weights, or makes another model.
    """
    config = json.loads((Path(folder) / "config.json").read_text())
    is_ours = config["model_type"] == MODEL_TYPE
    with tempfile.TemporaryDirectory() as scratch:
        tensors = Path(scratch) / "expected.safetensors"
        both = {"ids": ids_BT, "logits": logits_BTV}
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in both.items()}, tensors
        )
        threads, device = torch.get_num_threads(), logits_BTV.device
        arguments = [folder, tensors, attention, threads, device, is_ours]
        found = _run([str(argument) for argument in arguments], timeout_s)
    if found["wrong_keys"]:
        raise WeightsError(
            f"{folder} was saved, but loads with {found['wrong_keys']}; expected every weight of"
            " the model and no other; do not use it, and report this with the model's config.json"
        )
    if not found["is_equal"]:
        raise WeightsError(
            f"{folder} was saved, but its logits differ from those of the masked model by up to"
            f" {found['gap']:.3g}; expected equal ones; do not use it, and report this with the"
            " model's config.json"
        )
    return Reloaded(**{name: found[name] for name in Reloaded._fields})


def _run(arguments: list[str], timeout_s: float) -> dict[str, Any]:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONPATH": path,
    }
    command = [sys.executable, "-c", _CHILD, *arguments]
    try:
        ended = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise WeightsError(
            f"{arguments[0]} was saved, but a fresh process did not load and run it within"
            f" {timeout_s:g} s; expected it to; allow more time, or check it by hand"
        ) from None
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise WeightsError(
            f"{arguments[0]} was saved, but a fresh process cannot load it: {reason}; expected it"
            " to load with transformers alone; do not use it"
        )
    return json.loads(ended.stdout.strip().splitlines()[-1])
