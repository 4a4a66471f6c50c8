"""Language models that lack some of their attention or feed-forward blocks.

This file is part of inarch, and a copy of it lies in the folder of every model in its ``native``
format, where it needs nothing but torch and transformers. The model is the stock class of its
base type with modules that say nothing in the places of the blocks that are gone. The config names
them under ``inarch_prune.build``, and again in ``per_layer_config``, the schema of transformers
and vLLM, as ``skip``.

Attention that is gone keeps one number per token in the KV cache: the length of the past, and with
it positions and masks, is read from there.

Shapes: B = batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:  # imported while transformers is, which has no models yet then
    PreTrainedModel = object

MODEL_TYPE = "inarch_pruned"
PLAN = "inarch_prune"
"""Key of the config; its ``build`` says what the model lacks."""


class PassOn(nn.Module):
    """Stands where a norm of a block was, or what the block began with."""

    def forward(self, hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the hidden states, ``[B, T, D]``."""
        return hidden_states


class Silent(nn.Module):
    """Stands where a block was, and adds nothing to the residual stream."""

    def __init__(self, layer: int, returned: int | None):
        super().__init__()
        self.layer_idx = layer
        self.returned = returned
        """Length of the tuple that the block returned; None: a tensor."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return zeros, as the block would, and note in the cache that tokens went by."""
        hidden_BTD = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return self.answer(torch.zeros_like(hidden_BTD), (*args, *kwargs.values()))

    def answer(self, output_BTD: Tensor, args: tuple[Any, ...]) -> Any:
        """Return an output as the block would."""
        for cache in args:
            if isinstance(cache, Cache):
                stub_B1T1 = output_BTD.new_zeros(output_BTD.shape[0], 1, output_BTD.shape[1], 1)
                cache.update(stub_B1T1, stub_B1T1, self.layer_idx)
        return output_BTD if self.returned is None else (output_BTD, *[None] * (self.returned - 1))


class SilentSum(Silent):
    """Stands where a block was that adds the residual itself, as those of BLOOM do."""

    def forward(self, hidden_states: Tensor, residual: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the residual as it is."""
        return self.answer(residual, (*args, *kwargs.values()))


class PrunedConfig(PreTrainedConfig):
    """Reads a config.json into a config of the base type, which is saved as one of this type."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Return the config; its class is a subclass of the base type's.

        Raises:
            ValueError: It does not say what the model is built of, or this transformers lacks it.
        """
        plan = config_dict.get(PLAN, {}).get("build", {})
        base_type, blocks = plan.get("base_model_type"), config_dict.get("block_configs")
        if base_type not in CONFIG_MAPPING:
            raise ValueError(
                f"found {PLAN}.build.base_model_type {base_type!r} in the config of a pruned model,"
                " expected a model type that this version of transformers knows"
            )
        # The names of experts on disk go by the model type of the instance.
        config_dict = config_dict | {"model_type": base_type}
        if blocks is not None:
            config_dict["block_configs"] = [_open(block) for block in blocks]
            config_dict["intermediate_size"] = plan["width"]
        return classes(base_type, blocks is not None)[0].from_dict(config_dict, **kwargs)


class PrunedForCausalLM:
    """Makes pruned models: subclasses of the base type's class, by this name."""

    @classmethod
    def from_pretrained(cls, name: str, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Return the model of a folder, or of an id on the hub."""
        if not hasattr(config, PLAN):
            config = PrunedConfig.from_pretrained(name)
        base_type = getattr(config, PLAN)["build"]["base_model_type"]
        _, model_class = classes(base_type, hasattr(config, "block_configs"))
        return model_class.from_pretrained(name, *args, config=config, **kwargs)


class DeciLMForCausalLM(PrunedForCausalLM):
    """The name by which llama.cpp and vLLM know models whose layers differ."""


@functools.cache
def classes(base_type: str, is_deci: bool = False) -> tuple[Any, Any]:
    """Return the config class and the model class for pruned models of a type, registered.

    Raises:
        ValueError: transformers has no causal LM of this type.
    """
    from transformers import AutoModelForCausalLM

    base_config = CONFIG_MAPPING[base_type]
    if base_config not in AutoModelForCausalLM._model_mapping:
        raise ValueError(f"transformers has no causal LM of type {base_type!r}")
    base_model = AutoModelForCausalLM._model_mapping[base_config]
    config_class = type(
        "PrunedConfig",
        (_Uneven, base_config) if is_deci else (base_config,),
        {"__module__": __name__, "model_type": MODEL_TYPE, "_auto_class": "AutoConfig"},
    )
    model_class = type(
        (DeciLMForCausalLM if is_deci else PrunedForCausalLM).__name__,
        (_Pruned, base_model),
        {
            "__module__": __name__,
            "config_class": config_class,
            "_auto_class": "AutoModelForCausalLM",
            # Else it looks for experts in this file, finds none and computes them another way.
            "_can_set_experts_implementation": base_model._can_set_experts_implementation,
        },
    )
    AutoModelForCausalLM.register(config_class, model_class, exist_ok=True)
    return config_class, model_class


class _Uneven:
    """What the config of a model whose feed-forwards differ does beside its base class."""

    def to_dict(self) -> dict[str, Any]:
        """Return the keys; one width for all layers is none of them, so stock classes refuse."""
        return super().to_dict() | {"intermediate_size": None}  # type: ignore[misc]


class _Pruned(PreTrainedModel):
    """What the class of a pruned model does beside its base class."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any):
        super().__init__(config, *args, **kwargs)
        plan = getattr(config, PLAN)["build"]
        layers = self.get_submodule(plan["layers"])
        for block in plan["gone"]:
            layer = layers[block["layer"]]
            *first, last = block["modules"]
            for name in (*block["norms"], *first):
                layer.set_submodule(name, PassOn())
            kind = SilentSum if block["sums"] else Silent
            layer.set_submodule(last, kind(block["layer"], block["returned"]))
        for block in plan["narrow"]:
            _narrow(layers[block["layer"]].get_submodule(block["module"]), config, block["to"])
        if guard := _guard(plan):
            self._keys_to_ignore_on_load_unexpected.add(f"^{re.escape(guard)}$")

    def save_pretrained(
        self, folder: Any, *args: Any, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> None:
        """Save the model with its code, and with a guard against classes that do not know of it.

        The guard is an empty tensor by the name of a weight that is gone. A stock class would fill
        the gaps with random numbers and go on; at a tensor of the wrong shape it stops.
        """
        state_dict = dict(self.state_dict() if state_dict is None else state_dict)
        if guard := _guard(getattr(self.config, PLAN)["build"]):
            state_dict[guard] = torch.empty(0, dtype=self.dtype)
        super().save_pretrained(folder, *args, state_dict=state_dict, **kwargs)


def _guard(plan: dict[str, Any]) -> str | None:
    if not plan["guarded"] or not plan["gone"]:
        return None
    block = plan["gone"][0]
    return f"{plan['layers']}.{block['layer']}.{block['weight']}"


def _narrow(module: nn.Module, config: Any, width: int) -> None:
    """Make the middle of a feed-forward narrower."""
    for name, linear in module.named_children():
        if isinstance(linear, nn.Linear):
            shape = (linear.in_features, linear.out_features)
            num_in, num_out = (width if n == config.intermediate_size else n for n in shape)
            weight, has_bias = linear.weight, linear.bias is not None
            new = nn.Linear(num_in, num_out, has_bias, device=weight.device, dtype=weight.dtype)
            setattr(module, name, new)


class _Open(dict[str, Any]):
    """A mapping whose keys are attributes too, as vLLM reads them."""

    def __getattr__(self, key: str) -> Any:
        if key in self:
            return self[key]
        raise AttributeError(key)


def _open(value: Any) -> Any:
    return _Open({key: _open(v) for key, v in value.items()}) if isinstance(value, dict) else value


if __name__.startswith("inarch."):  # a copy beside a model needs no registration
    AutoConfig.register(MODEL_TYPE, PrunedConfig, exist_ok=True)
