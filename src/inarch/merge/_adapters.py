"""A model with a LoRA adapter on it, added while the model is read.

An adapter is a folder that PEFT has written: ``adapter_config.json`` and
``adapter_model.safetensors``. A module's weight becomes ``weight + scale B A`` in float32, with
``scale = alpha / r``, or ``alpha / sqrt(r)`` if it says ``use_rslora``. Tensors that the adapter
brings whole (``modules_to_save``, biases, embeddings) replace those of the model.

Source:   LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732; the files of PEFT.
Differs:  the sum is taken in float32 whatever the model is stored in; PEFT rounds the product to
          the type of the model first. Of tied tensors PEFT changes both when it merges, twice with
          ``ensure_weight_tying``; here they become what they were in training.

Shapes: R, C = rows and columns of a weight, r = rank.
"""

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np

from inarch.errors import WeightsError
from inarch.io.dtypes import Floats, widen
from inarch.io.folders import read_json
from inarch.io.weights import Checkpoint
from inarch.merge._jobs import Source
from inarch.merge._names import is_head
from inarch.merge._sources import FileSource, LowRankSource
from inarch.merge._vocabulary import is_vocabulary

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_HARMLESS = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha"),
    *("lora_dropout", "fan_in_fan_out", "bias", "use_rslora", "modules_to_save"),
    *("init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern"),
    *("alpha_pattern", "megatron_config", "megatron_core", "loftq_config", "eva_config"),
    *("corda_config", "lora_ga_config", "qalora_group_size", "runtime_config"),
    *("ensure_weight_tying",),
}
"""Settings of an adapter that are heeded here, or that change nothing once it is trained."""
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin training that leave the model as it was; pissa, olora and others do not."""
_FACTORS = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "A",
    "lora_embedding_B": "B",
}
PREFIX = "base_model.model."


class Adapter:
    """An adapter on disk."""

    def __init__(self, folder: Path, label: str, config: Mapping[str, Any], weights: Checkpoint):
        """Use `open` instead."""
        self.folder, self.label, self.config = folder, label, config
        self._weights = weights
        self._pairs, self._whole = _sort(label, weights)

    @classmethod
    def open(cls, folder: Path, label: str) -> Self:
        """Return the adapter in a folder.

        Args:
            folder: Where PEFT wrote it.
            label: The model with the adapter, as the user wrote it.

        Raises:
            WeightsError: There is none, it is broken, or of a kind that cannot be added to weights.
        """
        if not (folder / CONFIG).is_file():
            raise WeightsError(
                f"{label}: {folder} has no {CONFIG}; expected the folder of an adapter of PEFT"
            )
        config = read_json(folder / CONFIG)
        _check(folder, config)
        if not (folder / WEIGHTS).is_file():
            raise _without_weights(folder)
        return cls(folder, label, config, Checkpoint.open(folder / WEIGHTS, label))

    def apply(self, tensors: Mapping[str, Source], aliases: Mapping[str, str]) -> dict[str, Source]:
        """Return the model's tensors with the adapter on them.

        Where one of two tied tensors is changed, and the other is not, or otherwise, each is a
        tensor of its own from then on, as it was while the adapter was trained.

        Args:
            tensors: The model's, by name.
            aliases: Tied tensors that are not stored, and which stands for each.

        Raises:
            WeightsError: The adapter speaks of modules that the model lacks, or of other shapes.
        """
        made = {**tensors, **{alias: tensors[kept] for alias, kept in aliases.items()}}
        for name, key in self._whole.items():
            found = self._place(name, made)
            made[found] = self._replacement(key, made[found], found)
        for module, (key_a, key_b) in self._pairs.items():
            found = self._place(f"{module}.weight", made)
            made[found] = self._update(module, made[found], key_a, key_b)
        stay_tied = bool(self.config.get("ensure_weight_tying"))
        for alias, kept in aliases.items():
            head, other, before = made[alias], made[kept], tensors[kept]
            is_resized = head is before and other.shape != before.shape
            if stay_tied or is_resized or head is other or _equal(head, other):
                del made[alias]
        return made

    def has_tokenizer(self) -> bool:
        """Return whether the adapter was saved with a tokenizer of its own."""
        return (self.folder / "tokenizer.json").is_file()

    def fingerprint(self) -> str:
        """Return a digest of the config and samples of the tensors, 32 hex digits."""
        text = (self.folder / CONFIG).read_bytes() + self._weights.fingerprint().encode()
        return blake2b(text, digest_size=16).hexdigest()

    def close(self) -> None:
        """Unmap the file."""
        self._weights.close()

    def _place(self, name: str, known: Mapping[str, Source]) -> str:
        """Return the model's name of a tensor: PEFT may write a longer prefix, or a shorter one."""
        near = [one for one in known if one.endswith(f".{name}") or name.endswith(f".{one}")]
        if not near and is_head(name):  # transformers 5 has lm_head for GPT-NeoX's embed_out
            near = [one for one in known if is_head(one)]
        if name in known or len(near) == 1:
            return name if name in known else near[0]
        base = self.config.get("base_model_name_or_path")
        raise WeightsError(
            f"{self.label}: the adapter in {self.folder} is about {name}, which the model lacks; "
            f"expected an adapter of this model, and it was trained on {base or 'another one'}"
        )

    def _replacement(self, key: str, old: Source, name: str) -> Source:
        """Return a tensor of the adapter that stands for one of the model, ``old``."""
        new = FileSource(self._weights, key)
        rows_may_differ = is_vocabulary(name)
        if new.shape[rows_may_differ:] != old.shape[rows_may_differ:]:
            raise self._misfit(name, new.shape, old.shape)
        return new

    def _update(self, module: str, source: Source, key_a: str, key_b: str) -> LowRankSource:
        """Return a weight of the model with the adapter's update on it."""
        shapes = [self._weights.tensors[key].shape for key in (key_a, key_b)]
        if len(shapes[0]) != 2 or len(shapes[1]) != 2:
            raise self._misfit(f"{module}.weight", shapes[0], source.shape)
        (rank, columns), (rows, rank_b) = shapes
        expected = _by_pattern(self.config.get("rank_pattern"), module, self.config.get("r"))
        if rank != rank_b or rank != expected:
            raise WeightsError(
                f"{self.label}: the update of {module} has the rank {rank} in A, {rank_b} in B and "
                f"{expected} in {CONFIG}; expected one rank. Fetch the adapter again"
            )
        # Conv1D of GPT-2, and embeddings, are stored the other way round. A square shape tells
        # nothing, so the adapter's word counts first.
        fits = [source.shape == (rows, columns), source.shape == (columns, rows)]
        turned = bool(self.config.get("fan_in_fan_out")) or "embedding" in key_a
        turned = turned if fits[turned] else not turned
        if not fits[turned]:
            raise self._misfit(f"{module}.weight", (rows, columns), source.shape)
        scale = self._scale(module, rank)

        def load() -> tuple[Floats, Floats]:
            a, b = self._read(key_a), self._read(key_b)
            left, right = (a.T, b.T) if turned else (b, a)
            return left * scale, np.ascontiguousarray(right)

        return LowRankSource(source, load)

    def _scale(self, module: str, rank: int) -> np.float32:
        alpha = _by_pattern(self.config.get("alpha_pattern"), module, self.config.get("lora_alpha"))
        return np.float32(alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank))

    def _read(self, key: str) -> Floats:
        """Return a factor in float32."""
        tensor = self._weights.tensors[key]
        values = np.empty(tensor.num_elements, np.float32)
        if not widen(self._weights.raw(key), tensor.dtype, values):
            raise WeightsError(
                f"{self.label}: {key} of the adapter holds NaN or infinity, which a merge would "
                "spread; leave this adapter out, or train it again"
            )
        return values.reshape(tensor.shape)

    def _misfit(self, name: str, found: Iterable[int], expected: Iterable[int]) -> WeightsError:
        return WeightsError(
            f"{self.label}: the adapter's {name} is made for the shape {list(found)}, and the "
            f"model's is {list(expected)}; expected an adapter of this model"
        )


def _sort(label: str, weights: Checkpoint) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return the keys of the factors A and B of each module, and the key of each whole tensor."""
    factors: dict[str, dict[str, str]] = {}
    whole = {}
    for key in weights.tensors:
        name = key.removeprefix(PREFIX)
        end = next((end for end in _FACTORS if name.endswith(f".{end}")), None)
        if end and name != key:
            factors.setdefault(name.removesuffix(f".{end}"), {})[_FACTORS[end]] = key
        elif name == key or re.search(r"\.(lora_|token_adapter\.)", name):
            raise WeightsError(
                f"{label}: found {key} in the adapter, expected pairs of lora_A and lora_B under "
                f"{PREFIX}; load it with PEFT, save merge_and_unload(), and merge that model"
            )
        else:
            whole[re.sub(r"\.(base_layer|modules_to_save)\.", ".", name)] = key
    for module, pair in factors.items():
        if len(pair) < 2:
            raise WeightsError(
                f"{label}: the adapter has only lora_{next(iter(pair))} of {module}; expected A "
                "and B. Fetch it again"
            )
    if not factors and not whole:
        raise WeightsError(f"{label}: the adapter holds no tensors; fetch it again")
    return {module: (pair["A"], pair["B"]) for module, pair in factors.items()}, whole


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what is more than a low-rank sum, by name."""
    kind = str(config.get("peft_type"))
    other = next((key for key in config if key not in _HARMLESS and config[key]), None)
    start = config.get("init_lora_weights", True)
    if kind != "LORA":
        what = f"peft_type {kind}"
    elif other:
        what = f"{other}: {config[other]!r}"
    elif not all(isinstance(config.get(key), int | float) for key in ("r", "lora_alpha")):
        what = f"r: {config.get('r')!r} and lora_alpha: {config.get('lora_alpha')!r}"
    elif start not in _STARTS:
        what = f"init_lora_weights: {start!r}, which began with another model than the one saved"
    else:
        return
    raise WeightsError(
        f"the adapter in {folder} has {what}; expected plain LoRA. Load it with PEFT, save "
        "merge_and_unload(), and merge that model"
    )


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """Return the value of the first pattern that the end of a module's name matches."""
    for pattern, value in (patterns or {}).items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise WeightsError(
                f"{CONFIG} has the pattern {pattern!r}, which is no regular expression ({error}); "
                "mend it"
            ) from None
    return default


def _equal(one: Source, other: Source) -> bool:
    a, b = one.raw(), other.raw()
    return one.dtype == other.dtype and a is not None and b is not None and np.array_equal(a, b)


def _without_weights(folder: Path) -> WeightsError:
    old = folder / "adapter_model.bin"
    if not old.is_file():
        return WeightsError(f"{folder} has no {WEIGHTS}; expected the folder of a saved adapter")
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "found = torch.load(sys.argv[1], weights_only=True); "
        "save_file({key: value.contiguous() for key, value in found.items()}, sys.argv[2])"
    )
    command = shlex.join(["python", "-c", code, str(old), str(folder / WEIGHTS)])
    return WeightsError(
        f"{folder} holds its weights as a pickle ({old.name}), which can run code when read; "
        f"expected {WEIGHTS}. If you trust it, convert it once with\n{command}"
    )
