"""Causal language models: loaded from safetensors or new from a config, never half of each."""

from __future__ import annotations

import difflib
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from inarch.errors import SettingsError, WeightsError
from inarch.io.files import digest_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The names of number formats in settings."""

_POSITION_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def load_model(
    path_or_id: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> PreTrainedModel:
    """Return a causal LM in evaluation mode, with every weight from the checkpoint.

    Args:
        path_or_id: Folder, or id on the hub, with safetensors weights.
        dtype: Format of the weights in memory; by default the one that they are stored in.
        device: Where to put them.

    Raises:
        WeightsError: There is no such checkpoint, it holds no safetensors, it is cut off, it needs
            code of its own, or its tensors are not those that its config asks for.
    """
    name = str(path_or_id)
    _check_files(Path(name))
    try:
        with quiet_transformers():
            model, report = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=dtype or "auto",
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise WeightsError(
            f"the weights of {name} cannot be read ({error}); expected whole safetensors files;"
            " fetch the checkpoint again"
        ) from error
    except (OSError, ValueError, ImportError, StrictDataclassError) as error:
        raise WeightsError(
            f"cannot load {name}: {_reason(error)} Expected a folder, or an id on the hub, of a"
            " causal LM that transformers knows, with safetensors weights"
        ) from error
    _check_tensors(name, report)
    return model.to(device)


def new_model(config: Mapping[str, Any], vocab_size: int, seed: int) -> PreTrainedModel:
    """Return a causal LM with random weights, float32, in evaluation mode.

    Args:
        config: See `new_config`.
        vocab_size: Width of the embedding and the head.
        seed: Of the weights. The global random state is left alone.

    Raises:
        SettingsError: Unknown ``model_type``, a misspelt key, or values that do not make a model.
    """
    full = new_config(config, vocab_size)
    with _explain_values(full.model_type), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(full, dtype=torch.float32).eval()


def new_config(config: Mapping[str, Any], vocab_size: int) -> PretrainedConfig:
    """Return the whole config of a new model.

    Args:
        config: ``model_type`` and any keys of that type's config. Ids of special tokens that it
            does not name are unset, as the defaults belong to another tokenizer.
        vocab_size: Width of the embedding and the head.

    Raises:
        SettingsError: Unknown ``model_type``, a misspelt key, or values that do not fit.
    """
    keys = dict(config)
    model_type = keys.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        meant = difflib.get_close_matches(str(model_type), list(CONFIG_MAPPING), n=1)
        raise SettingsError(
            f"found model_type: {model_type!r}, expected a type that transformers knows"
            f"{f'; did you mean {meant[0]!r}?' if meant else ''}"
        )
    _check_keys(model_type, keys.keys())
    specials = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    with _explain_values(model_type):
        return AutoConfig.for_model(model_type, **specials | keys, vocab_size=vocab_size)


@contextmanager
def _explain_values(model_type: str) -> Iterator[None]:
    try:
        with quiet_transformers():
            yield
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise SettingsError(
            f"this config makes no {model_type} language model: {_reason(error)}"
        ) from error


def pick_device(wish: str = "auto") -> str:
    """Return the torch device that a setting means: ``auto`` is this process's accelerator."""
    accelerator = torch.accelerator.current_accelerator() if wish == "auto" else None
    if accelerator is None:
        return "cpu"
    # Under a launcher, each process has an accelerator of its own.
    return f"{accelerator.type}:{os.environ.get('LOCAL_RANK', 0)}"


def digest_model(path: str | None, tokenizer: str | None = None) -> str:
    """Return what identifies a model's weights and tokenizer.

    Args:
        path: Folder or hub id; None for a model without weights of its own.
        tokenizer: Where the tokenizer is, if it is not with the model.
    """
    return " ".join(_digest(place, _stamps(place)) for place in (path, tokenizer) if place)


@lru_cache(maxsize=64)
def _digest(place: str, stamps: tuple[object, ...]) -> str:
    """Return the digest of a folder; weights that stay are read once per process for this."""
    return digest_folder(place)


def _stamps(place: str) -> tuple[object, ...]:
    """Return what tells a folder from itself after a change, without reading its files."""
    found = [(str(file), file.stat()) for file in Path(place).rglob("*") if file.is_file()]
    return tuple(sorted((name, it.st_ino, it.st_size, it.st_mtime_ns) for name, it in found))


def head_width(model: PreTrainedModel) -> int:
    """Return the number of logits per position, which may exceed the tokenizer's vocabulary."""
    head = model.get_output_embeddings()
    return int(model.config.get_text_config().vocab_size if head is None else head.weight.shape[0])


def max_positions(config: PretrainedConfig) -> int | None:
    """Return how many tokens a row may have; None where the config sets no limit."""
    text_config = config.get_text_config()
    found = (getattr(text_config, key, None) for key in _POSITION_KEYS)
    return next((int(value) for value in found if value), None)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars and writing warnings; its errors are still raised."""
    verbosity = transformers_logging.get_verbosity()
    has_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()


def _check_files(folder: Path) -> None:
    """Say what is wrong with a local folder, where transformers would speak of the hub."""
    looks_local = (
        folder.is_absolute() or len(folder.parts) > 2 or folder.parts[:1] in ((".",), ("..",))
    )
    if not folder.exists():
        if looks_local:
            raise WeightsError(f"there is no folder {folder}; expected one with a model in it")
        return
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; expected the folder of a saved model")
    if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise WeightsError(
            f"{folder} holds its weights as .bin, which can run code when read; expected"
            " .safetensors; load it once where you trust it and save it with"
            " model.save_pretrained(folder)"
        )


def _check_tensors(name: str, report: Mapping[str, Any]) -> None:
    absent, misfits = sorted(report["missing_keys"]), list(report["mismatched_keys"])
    if absent or misfits:
        wrong = [f"{key} is absent" for key in absent]
        wrong += [f"{key} has shape {list(a)}, not {list(b)}" for key, a, b in misfits]
        raise WeightsError(
            f"the weights of {name} do not fit its config.json: {'; '.join(wrong[:4])}"
            f"{f' and {len(wrong) - 4} more' if len(wrong) > 4 else ''}; expected all tensors that"
            " the config asks for, as transformers would fill in random ones; fetch it again, or"
            " check that it is a causal LM"
        )
    if report["unexpected_keys"]:
        logger.warning(
            "%s: %d tensors have no place in the model and are left out, such as %s",
            name,
            len(report["unexpected_keys"]),
            min(report["unexpected_keys"]),
        )


def _check_keys(model_type: str, keys: Iterable[str]) -> None:
    """Refuse misspelt keys; others that a config class does not list may be read all the same."""
    config_class = CONFIG_MAPPING[model_type]
    known = sorted(config_class().to_dict().keys() | config_class.attribute_map.keys())
    for key in sorted(set(keys) - set(known)):
        if meant := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
            raise SettingsError(
                f"found key {key!r} in the config of a new model, which model_type {model_type!r}"
                f" does not have; did you mean {meant[0]!r}?"
            )
        logger.warning("%s does not list the key %r of the new model's config", model_type, key)


def _reason(error: Exception) -> str:
    """Return the line of an error that says why: hub errors wrap another one in their last line."""
    lines = str(error).strip().splitlines()
    return lines[-1 if isinstance(error, StrictDataclassError) else 0].strip()
