"""What names tell, in the spellings of many architectures."""

import pytest

from inarch.merge._names import (
    canonical,
    is_behind,
    is_buffer,
    is_embedding,
    is_head,
    modules,
    place,
)


@pytest.mark.parametrize(
    ("name", "stack", "layer", "rest"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers", 3, "self_attn.q_proj.weight"),
        ("model.layers.31.mlp.up_proj.bias", "model.layers", 31, "mlp.up_proj.bias"),
        ("gpt_neox.layers.0.attention.dense.bias", "gpt_neox.layers", 0, "attention.dense.bias"),
        ("transformer.h.11.attn.c_attn.weight", "transformer.h", 11, "attn.c_attn.weight"),
        ("h.11.attn.c_attn.weight", "h", 11, "attn.c_attn.weight"),
        ("model.decoder.layers.5.fc1.weight", "model.decoder.layers", 5, "fc1.weight"),
        (
            "model.layers.2.block_sparse_moe.experts.7.w1.weight",
            "model.layers",
            2,
            "block_sparse_moe.experts.7.w1.weight",
        ),
        (
            "bert.encoder.layer.4.output.dense.weight",
            "bert.encoder.layer",
            4,
            "output.dense.weight",
        ),
        (
            "encoder.block.1.layer.0.SelfAttention.q.weight",
            "encoder.block",
            1,
            "layer.0.SelfAttention.q.weight",
        ),
        ("visual.blocks.9.mlp.fc1.weight", "visual.blocks", 9, "mlp.fc1.weight"),
        ("transformer.blocks.9.norm_1.weight", "transformer.blocks", 9, "norm_1.weight"),
        ("backbone.layers.0.mixer.A_log", "backbone.layers", 0, "mixer.A_log"),
    ],
)
def test_the_place_of_a_layer(name, stack, layer, rest):
    where = place(name)
    assert where == (stack, layer, rest)
    assert where.at(layer) == name
    assert where.at(99) == f"{stack}.99.{rest}"


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "multi_modal_projector.0.weight",
        "model.visual.deepstack_merger_list.0.norm.weight",
        "albert.encoder.albert_layer_groups.0.ffn.weight",
    ],
)
def test_what_is_in_no_layer(name):
    assert place(name) == (None, 0, name)
    assert place(name).at(5) == name


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("model.norm.weight", True),
        ("transformer.ln_f.bias", True),
        ("gpt_neox.final_layer_norm.weight", True),
        ("model.decoder.final_layer_norm.weight", True),
        ("backbone.norm_f.weight", True),
        ("lm_head.weight", True),
        ("embed_out.weight", True),
        ("score.weight", True),
        ("bert.pooler.dense.weight", True),
        ("cls.predictions.bias", True),
        ("model.embed_tokens.weight", False),
        ("transformer.wpe.weight", False),
        ("bert.embeddings.LayerNorm.weight", False),
        ("word_embeddings_layernorm.weight", False),
        ("shared.weight", False),
    ],
)
def test_what_comes_behind_the_layers(name, behind):
    assert is_behind(name) is behind


@pytest.mark.parametrize(
    ("name", "shape", "buffer"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (64,), True),
        ("transformer.rotary_pos_emb.inv_freq", (64,), True),
        ("bert.embeddings.position_ids", (1, 512), True),
        ("gpt_neox.layers.0.attention.masked_bias", (), True),
        ("gpt_neox.layers.0.attention.bias", (1, 1, 64, 64), True),
        ("h.0.attn.bias", (1, 1, 64, 64), True),
        ("h.0.attn.c_attn.bias", (64,), False),
        ("encoder.layers.0.attn.bias", (64,), False),
        ("model.layers.0.self_attn.q_proj.bias", (64,), False),
    ],
)
def test_buffers_are_no_weights(name, shape, buffer):
    assert is_buffer(name, shape) is buffer


@pytest.mark.parametrize(
    ("name", "head", "embedding"),
    [
        ("lm_head.weight", True, False),
        ("language_model.lm_head.weight", True, False),
        ("embed_out.weight", True, False),
        ("output.weight", True, False),
        ("bert.encoder.layer.0.output.weight", False, False),
        ("model.embed_tokens.weight", False, True),
        ("model.language_model.embed_tokens.weight", False, True),
        ("transformer.wte.weight", False, True),
        ("transformer.wpe.weight", False, False),
        ("gpt_neox.embed_in.weight", False, True),
        ("bert.embeddings.word_embeddings.weight", False, True),
        ("bert.embeddings.position_embeddings.weight", False, False),
        ("shared.weight", False, True),
        ("backbone.embeddings.weight", False, True),
        ("cls.predictions.decoder.weight", True, False),
        ("vocab_projector.weight", True, False),
        ("lm_head.decoder.weight", True, False),
        ("lm_head.dense.weight", False, False),
    ],
)
def test_heads_and_embeddings(name, head, embedding):
    assert (is_head(name), is_embedding(name)) == (head, embedding)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("h.3.attn.c_attn.bias", "transformer.h.3.attn.c_attn.bias"),
        ("wpe.weight", "transformer.wpe.weight"),
        ("ln_f.weight", "transformer.ln_f.weight"),
        ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
        ("bert.pooler.LayerNorm.beta", "bert.pooler.LayerNorm.bias"),
        ("model.layers.0.layer_scale.gamma", "model.layers.0.layer_scale.gamma"),
        ("transformer.h.3.ln_1.bias", "transformer.h.3.ln_1.bias"),
        ("head.weight", "head.weight"),
    ],
)
def test_old_names(old, new):
    assert canonical(old) == new


def test_a_plain_model_is_one_module():
    names = [
        "model.layers.0.x",
        "lm_head.weight",
        "bert.encoder.layer.0.y",
        "model.decoder.layers.0",
    ]
    assert set(modules(names).values()) == {"default"}


def test_a_model_that_sees():
    assert modules(
        [
            "language_model.model.layers.0.x",
            "language_model.lm_head.weight",
            "vision_tower.vision_model.encoder.layers.0.x",
            "multi_modal_projector.linear_1.weight",
        ]
    ) == {
        "language_model.model.layers.0.x": "text_decoder",
        "language_model.lm_head.weight": "text_decoder",
        "vision_tower.vision_model.encoder.layers.0.x": "vision_tower",
        "multi_modal_projector.linear_1.weight": "multi_modal_projector",
    }


def test_the_merger_of_qwen_is_its_projector():
    found = modules(["visual.blocks.0.x", "visual.merger.mlp.0.weight", "model.layers.0.x"])
    assert list(found.values()) == ["vision_tower", "multi_modal_projector", "text_decoder"]


def test_an_encoder_and_a_decoder():
    found = modules(["shared.weight", "encoder.block.0.x", "decoder.block.0.x", "lm_head.weight"])
    assert list(found.values()) == ["shared", "encoder", "decoder", "decoder"]
    found = modules(["model.encoder.layers.0.x", "model.decoder.layers.0.x", "proj_out.weight"])
    assert list(found.values()) == ["encoder", "decoder", "decoder"]
