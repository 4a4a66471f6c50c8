"""Blocks of many decoders: found, switched off, replayed, owned, entered in the middle."""

import itertools

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3Config,
    PreTrainedModel,
    StaticCache,
)

from inarch.errors import WeightsError
from inarch.io.models import new_model
from inarch.numerics.head import run_with_head
from inarch.prune._blocks import BlockModel
from inarch.prune._order import Block
from tests.prune.architectures import ARCHITECTURES, LAYERS, PARALLEL, REFUSED, VOCAB, tiny

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)

SETS = {
    "mha0": [Block("mha", 0)],
    "mha0+mlp2": [Block("mha", 0), Block("mlp", 2)],
    "mha2+mha3": [Block("mha", 2), Block("mha", 3)],
}
ALL = [Block(kind, layer) for layer in range(LAYERS) for kind in ("mha", "mlp")]


def ids(rows: int = 2, length: int = 7) -> Tensor:
    return torch.randint(1, VOCAB, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model(input_ids=ids(), use_cache=False).logits


# ------------------------------------------------------------------------------------ switched off


@every_architecture
def test_a_layer_without_its_blocks_is_the_identity(name):
    found = BlockModel.of(tiny(name))
    assert list(found.blocks) == ALL
    for layer in range(LAYERS):
        with found.without([Block("mha", layer), Block("mlp", layer)]):
            states = found.states({"input_ids": ids()})
        assert [torch.equal(a, b) for a, b in itertools.pairwise(states)] == [
            other == layer for other in range(LAYERS)
        ]


OUTPUTS = {"o_proj", "down_proj", "out_proj", "dense", "c_proj", "fc2", "fc_out", "dense_4h_to_h"}
OUTPUTS |= {"output_linear"}
"""Names of the projections that blocks end with, for the other way to silence a block."""


@every_architecture
@pytest.mark.parametrize("blocks", SETS.values(), ids=SETS)
def test_a_block_that_is_off_is_one_whose_projection_is_zero(name, blocks):
    model = tiny(name)
    found = BlockModel.of(model)
    full = logits(model)
    with found.without(blocks):
        off = logits(model)
    assert (off - full).abs().max() > 1e-2
    for block in blocks:
        silence(found.parts(block))
    assert torch.equal(off, logits(model))


def silence(parts: tuple[nn.Module, ...]) -> None:
    """Zero the last projection of a block, or of each of its experts."""
    values = dict(parts[-1].named_parameters())
    last = [v for name, v in values.items() if len(parts) == 2 or OUTPUTS & {*name.split(".")}]
    assert last
    for value in last:
        nn.init.zeros_(value)


@every_architecture
def test_a_block_that_is_off_is_not_computed(name):
    model = tiny(name)
    found = BlockModel.of(model)
    blocks = SETS["mha0+mlp2"]
    with found.without(blocks):
        off = logits(model)
        for part in (part for block in blocks for part in found.parts(block)):
            part.to_empty(device="meta")  # whatever meets these weights raises
        assert torch.equal(logits(model), off)


@every_architecture
@pytest.mark.parametrize("blocks", SETS.values(), ids=SETS)
def test_generation_with_a_cache_equals_generation_without(name, blocks):
    model = tiny(name)
    full, left = torch.ones(2, 6, dtype=torch.long), torch.ones(2, 6, dtype=torch.long)
    left[0, :3] = 0
    with BlockModel.of(model).without(blocks):
        for mask in (full, left):
            slow = generated(model, mask, use_cache=False)
            caches = [DynamicCache(config=model.config)]
            if name != "falcon_alibi":  # refuses a static cache, with all its blocks too
                caches.append(StaticCache(model.config, 6 + NEW))
            for cache in caches:
                fast = generated(model, mask, use_cache=True, past_key_values=cache)
                assert torch.equal(fast[0], slow[0])
                torch.testing.assert_close(fast[1], slow[1], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_beams_share_a_cache_without_attention_0():
    model = tiny("llama")
    with BlockModel.of(model).without(SETS["mha0+mlp2"]):
        one, other = (
            model.generate(ids(2, 6), max_new_tokens=NEW, num_beams=3, use_cache=use_cache)
            for use_cache in (False, True)
        )
    assert torch.equal(one, other)


NEW = 5


def generated(model: PreTrainedModel, mask: Tensor, **how: object) -> tuple[Tensor, Tensor]:
    """Return the tokens that a model continues with, and the logits that it chose them by."""
    out = model.generate(
        ids(2, 6) * mask,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
        **how,
    )
    return out.sequences, torch.stack(out.logits)


# ---------------------------------------------------------------------- replayed and entered midway


@every_architecture
def test_a_forward_can_start_at_any_layer(name):
    model = tiny(name)
    found = BlockModel.of(model)
    inputs = {"input_ids": ids(), "attention_mask": right_padded()}
    states = found.states(inputs)
    full = model(**inputs, use_cache=False).logits
    for layer in range(LAYERS + 1):
        for _ in range(2):  # what is injected is not written to
            assert torch.equal(found.resume(inputs, layer, states[layer]), full)
    for layer in range(LAYERS + 1):
        other = states[abs(layer - 1)]
        assert not torch.equal(found.resume(inputs, layer, other), full)


def right_padded() -> Tensor:
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[0, 5:] = 0
    return mask


@every_architecture
@pytest.mark.parametrize("kind", ["mha", "mlp"])
def test_a_candidate_from_stored_states_equals_the_whole_forward(name, kind):
    """One block of a layer is replayed, the other is off, and all before the layer is skipped."""
    model = tiny(name)
    found = BlockModel.of(model)
    if kind == "mlp" and not found.parallel:
        pytest.skip("the feed-forward sees what attention adds")
    inputs = {"input_ids": ids(), "attention_mask": right_padded()}
    with found.recording(ALL) as outputs, found.watching(range(LAYERS)) as states:
        full = model(**inputs, use_cache=False).logits
    assert list(outputs) == ALL or found.parallel
    for layer in range(LAYERS):
        kept, off = Block(kind, layer), Block("mlp" if kind == "mha" else "mha", layer)
        with found.without([off]):
            plain = model(**inputs, use_cache=False).logits
        for _ in range(2):
            with (
                found.without([off]),
                found.replaying({kept: outputs[kept]}),
                found.starting(layer, states[layer]),
            ):
                assert torch.equal(model(**inputs, use_cache=False).logits, plain)
                hidden = run_with_head(model, inputs, lambda h, head: (head.forward(h),))[0]
                torch.testing.assert_close(hidden, plain)
        with found.replaying({kept: outputs[kept]}):
            for _ in range(2):  # Falcon adds to the output of its feed-forward in place
                assert torch.equal(model(**inputs, use_cache=False).logits, full)


def test_a_replayed_block_is_not_computed():
    model = tiny("opt")
    found = BlockModel.of(model)
    with found.recording(ALL[:2]) as outputs:
        full = logits(model)
    for part in (part for block in ALL[:2] for part in found.parts(block)):
        part.to_empty(device="meta")
    with found.replaying(outputs):
        assert torch.equal(logits(model), full)
    with found.starting(2, found_state := torch.ones(2, 7, 16)):
        assert logits(model).shape == (2, 7, VOCAB)  # layers 0 and 1 are not computed either
    assert torch.equal(found_state, torch.ones(2, 7, 16))


# ------------------------------------------------------------------------------------- parameters


NORMS = {
    "llama": ("input_layernorm", "post_attention_layernorm", ""),
    "gemma2": (
        "input_layernorm post_attention_layernorm",
        "pre_feedforward_layernorm post_feedforward_layernorm",
        "",
    ),
    "olmo": ("", "", ""),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm", ""),
    "gpt_neox": ("input_layernorm", "post_attention_layernorm", ""),
    "gpt_neox_sequential": ("input_layernorm", "post_attention_layernorm", ""),
    "gpt2": ("ln_1", "ln_2", ""),
    "opt": ("self_attn_layer_norm", "final_layer_norm", ""),
    "phi": ("", "", "input_layernorm"),
    "falcon": ("", "", "input_layernorm"),
    "falcon_new": ("ln_attn", "ln_mlp", ""),
    "falcon_sequential": ("input_layernorm", "post_attention_layernorm", ""),
    "cohere": ("", "", "input_layernorm"),
    "bloom": ("input_layernorm", "post_attention_layernorm", ""),
    "mpt": ("norm_1", "norm_2", ""),
    "mixtral": ("input_layernorm", "post_attention_layernorm", ""),
    "gpt_oss": ("input_layernorm", "post_attention_layernorm", ""),
    "llama4": ("input_layernorm", "post_attention_layernorm", ""),
}
"""Norms of a layer by what they serve: attention, feed-forward, both. Read off the classes."""


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_norms_belong_to_the_block_that_they_serve(name, device):
    found = BlockModel.of(tiny(name).to(device))
    inside = {id(p) for block in ALL for part in found.parts(block) for p in part.parameters()}
    of_layer = (
        found.parameters_of(Block("mha", 1)),
        found.parameters_of(Block("mlp", 1)),
        found.shared_of(1),
    )
    norms = (
        {full.split(".")[-2] for full, value in owned.items() if id(value) not in inside}
        for owned in of_layer
    )
    assert tuple(norms) == tuple({*expected.split()} for expected in NORMS[name])
    assert found.parallel == (name in PARALLEL)


def test_a_layer_whose_blocks_are_gone_owns_nothing():
    """A cut model may hold modules without parameters in the places of blocks and norms."""
    model = tiny("llama")
    layer = model.model.layers[1]
    full = logits(model)
    with BlockModel.of(model).without(ALL[2:4]):
        off = logits(model)
    layer.self_attn, layer.mlp = Nothing((None,)), Nothing(())
    layer.input_layernorm = layer.post_attention_layernorm = nn.Identity()
    found = BlockModel.of(model)
    assert torch.equal(logits(model), off)
    assert not torch.equal(off, full)
    assert found.parameters_of(ALL[2]) == found.parameters_of(ALL[3]) == found.shared_of(1) == {}
    assert len(found.parameters_of(ALL[4])) == 5


def test_a_parameter_that_serves_no_block_is_shared():
    model = tiny("llama")
    model.model.layers[1].spare = nn.Parameter(torch.ones(2))
    found = BlockModel.of(model)
    assert list(found.shared_of(1)) == ["model.layers.1.spare"]
    assert not found.shared_of(2)


@torch.inference_mode()
def test_owners_are_found_within_inference_mode():
    assert len(BlockModel.of(tiny("phi")).parameters_of(ALL[0])) == 8


def test_a_layer_that_looks_at_its_mask_is_not_told_apart():
    model = tiny("llama")
    found = BlockModel.of(model)
    layer = model.model.layers[1]
    layer.self_attn.register_forward_pre_hook(
        lambda _attention, _args, how: how["attention_mask"] + 1, with_kwargs=True
    )
    with pytest.raises(WeightsError, match="LlamaDecoderLayer does not run alone, with other"):
        found.parameters_of(ALL[2])


class Nothing(nn.Module):
    def __init__(self, rest: tuple[None, ...]):
        super().__init__()
        self.rest = rest

    def forward(self, hidden_states: Tensor, **_: object) -> Tensor | tuple[Tensor | None, ...]:
        zeros = torch.zeros_like(hidden_states)
        return (zeros, *self.rest) if self.rest else zeros


@every_architecture
def test_a_parameter_is_owned_by_the_blocks_that_it_changes(name):
    """Perturb what is outside the blocks and look at the real layer, each block alone."""
    model = tiny(name)
    found = BlockModel.of(model)
    owned = [found.parameters_of(Block(kind, 2)) for kind in ("mha", "mlp")]
    owned.append(found.shared_of(2))
    names = [full for part in owned for full in part]
    prefix = f"{found.layers_path}.2."
    expected = {full for full, _ in model.named_parameters() if full.startswith(prefix)}
    assert len(names) == len(expected)
    assert set(names) == expected
    inside = {
        id(p): {kind}
        for kind in ("mha", "mlp")
        for part in found.parts(Block(kind, 2))
        for p in part.parameters()
    }
    for full, value in (item for part in owned for item in part.items()):
        assert value is model.get_parameter(full)
        serves = inside.get(id(value)) or {
            kind
            for kind, other in (("mha", "mlp"), ("mlp", "mha"))
            if changes(found, value, Block(other, 2))
        }
        index = 2 if len(serves) == 2 else ["mha", "mlp"].index(*serves)
        assert full in owned[index]


def changes(found: BlockModel, value: nn.Parameter, off: Block) -> bool:
    """Whether a layer without one block depends on a parameter."""
    with found.without([off]):
        before = found.states({"input_ids": ids()})[3]
        kept = value.detach().clone()
        with torch.no_grad():
            value += torch.rand(value.shape, generator=torch.Generator().manual_seed(0))
            after = found.states({"input_ids": ids()})[3]
            value.copy_(kept)
    return not torch.equal(before, after)


SIZES = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    "13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40},
    "14b": {"hidden_size": 5120, "intermediate_size": 13696, "num_hidden_layers": 40},
}


@pytest.mark.parametrize(
    ("kind", "size", "vocab", "removed", "percent"),
    [
        ("llama", "7b", 32000, (12, 5), 21.99),
        ("llama", "13b", 32000, (17, 7), 25.12),
        ("llama", "7b", 125696, (11, 7), 22.45),  # Baichuan2-7B has Llama's layers
        ("qwen2", "7b", 151936, (11, 7), 21.83),
        ("qwen2", "14b", 152064, (16, 8), 23.72),
    ],
)
def test_published_ratios(kind, size, vocab, removed, percent):
    """BlockPruner's table 1: the share of all parameters, embeddings among them."""
    heads = SIZES[size]["hidden_size"] // 128
    config = SIZES[size] | {"num_attention_heads": heads, "num_key_value_heads": heads}
    with torch.device("meta"):
        model = new_model(config | {"model_type": kind}, vocab, 0)
    found = BlockModel.of(model)
    chosen = [Block("mha", layer) for layer in range(removed[0])]
    chosen += [Block("mlp", layer) for layer in range(removed[1])]
    gone = sum(p.numel() for block in chosen for p in found.parameters_of(block).values())
    assert round(100 * gone / sum(p.numel() for p in model.parameters()), 2) == percent


# --------------------------------------------------------------------------- restored, and refused


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_all_is_put_back_whatever_raises(name, error):
    model = tiny(name)
    found = BlockModel.of(model)
    attention = found.parts(Block("mha", 1))[0]
    attention.forward = own = attention.forward  # as accelerate's hooks do
    before, keys = logits(model), list(model.state_dict())
    hooks = num_hooks(model)
    outputs = {block: torch.zeros(1) for block in ALL}
    with pytest.raises(error):
        with (
            found.without(ALL[:4]),
            found.recording(ALL),
            found.watching(range(LAYERS + 1)),
            found.starting(0, torch.zeros(2, 7, 16)),
            found.starting(2, torch.zeros(2, 7, 16)),
            found.replaying(outputs),
            found.without(ALL),
        ):
            assert list(model.state_dict()) == keys
            raise error
    assert attention.forward is own
    patched = [module for module in model.modules() if "forward" in module.__dict__]
    assert patched == [attention]
    assert num_hooks(model) == hooks
    assert torch.equal(logits(model), before)


def num_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_an_error_in_the_model_leaves_it_as_it_was():
    model = tiny("llama")
    found = BlockModel.of(model)
    with pytest.raises(IndexError):
        found.states({"input_ids": ids() + VOCAB})
    assert num_hooks(model) == 0
    with pytest.raises(KeyError):  # an unknown block after a known one
        with found.without([ALL[0], Block("mha", 9)]):
            pass
    assert "forward" not in found.parts(ALL[0])[0].__dict__


def test_dropout_is_off():
    model = tiny("gpt2").train()
    BlockModel.of(model)
    assert not any(module.training for module in model.modules())


def test_nested_sets_add_up():
    model = tiny("llama")
    found = BlockModel.of(model)
    with found.without(ALL[:3]):
        together = logits(model)
    with found.without(ALL[:2]):
        with found.without(ALL[1:3]):
            assert torch.equal(logits(model), together)
        with found.without(ALL[2:3]):
            assert torch.equal(logits(model), together)


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_does_more_is_refused(name):
    model = tiny(name)
    with pytest.raises(WeightsError, match=r"layer 0 of .* still changes the hidden states"):
        BlockModel.of(model)
    assert num_hooks(model) == 0
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_norm_with_a_bias_after_a_block_is_refused():
    model = tiny("olmo2")
    norm = nn.LayerNorm(16)
    nn.init.ones_(norm.bias)
    model.model.layers[2].post_feedforward_layernorm = norm
    with pytest.raises(WeightsError, match=r"layer 2 .* up to 1; .* norm with a bias after"):
        BlockModel.of(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.config, "quantization_config", {"bits": 4}), "quantised"),
        (lambda model: setattr(model.config, "is_encoder_decoder", True), "has an encoder"),
        (lambda model: setattr(model.config, "num_hidden_layers", 3), "found 0 lists of 3 layers"),
        (lambda model: delattr(model.model.layers[1], "mlp"), "layer 1 has no mlp block: found"),
        (
            lambda model: setattr(model.model, "twin", nn.ModuleList(model.model.layers)),
            "found 2 lists of 4 layers",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    model = tiny("llama")
    change(model)
    with pytest.raises(WeightsError, match=message):
        BlockModel.of(model)


def test_a_block_that_is_not_called_is_refused():
    model = tiny("llama")
    layer = model.model.layers[1]
    layer.forward = lambda hidden, **_: hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    with pytest.raises(WeightsError, match="layer 1 calls its mha module 0 times"):
        BlockModel.of(model)


def test_layers_that_hand_on_more_than_hidden_states_are_refused():
    model = tiny("llama")
    first, last = model.model.layers[0], model.model.layers[3]
    run_first, run_last, notes = first.forward, last.forward, []
    first.forward = lambda hidden, **how: [run_first(hidden, **how), notes.append(1)][0]
    last.forward = lambda hidden, **how: run_last(hidden + 0 * notes.pop(), **how)
    with pytest.raises(WeightsError, match=r"does not run without its first layers \(pop from"):
        BlockModel.of(model)
    last.forward = lambda hidden, **how: run_last(hidden * 2 ** len(notes), **how) / 2 ** len(notes)
    with pytest.raises(WeightsError, match="hand on more than hidden states"):
        BlockModel.of(model)


def test_the_layers_of_an_image_tower_are_not_the_decoders():
    text = tiny("gemma3").config.to_dict()
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    tower |= {"num_hidden_layers": LAYERS, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=tower, mm_tokens_per_image=4)
    model = AutoModelForCausalLM.from_config(config)
    assert BlockModel.of(model).layers_path == "model.language_model.layers"


@pytest.mark.parametrize("offload", [False, True])
def test_accelerates_hooks_stay_in_place(offload):
    model, plain = tiny("gemma2"), tiny("gemma2")
    if offload:
        cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        dispatch_model(model, {"": "cpu"}, force_hooks=True)
    found, expected = BlockModel.of(model), BlockModel.of(plain)
    with found.without(SETS["mha0+mlp2"]), expected.without(SETS["mha0+mlp2"]):
        assert torch.equal(logits(model), logits(plain))
    assert torch.equal(logits(model), logits(plain))
    for block in ALL:
        assert list(found.parameters_of(block)) == list(expected.parameters_of(block))
    states = found.states({"input_ids": ids()})
    assert torch.equal(found.resume({"input_ids": ids()}, 2, states[2]), logits(plain))


def test_an_offloaded_model_is_tried_too():
    model = tiny("opt_350m")
    cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.raises(WeightsError, match="still changes the hidden states"):
        BlockModel.of(model)
