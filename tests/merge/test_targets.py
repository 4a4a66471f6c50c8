"""Which tensors a result has, and which tensors of the models go into each."""

from typing import Any, NamedTuple

import pytest

from inarch.errors import SettingsError, WeightsError
from inarch.io.headers import TensorInfo
from inarch.merge._outline import Input, Slice
from inarch.merge._targets import find_targets, index

HEAD, EMBED, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"


class Model(NamedTuple):
    """A checkpoint without numbers."""

    tensors: dict[str, TensorInfo]
    aliases: dict[str, str]
    config: dict[str, Any]


def model(*names: str, layers: int = 0, parts=("q",), tied=False, **config) -> Model:
    every = [f"model.layers.{i}.{part}" for i in range(layers) for part in parts]
    tensors = {name: TensorInfo(name, "F32", (2,)) for name in (*names, *every)}
    return Model(tensors, {HEAD: EMBED} if tied else {}, config)


def slice_(*inputs: str | tuple[str, int, int]) -> Slice:
    made = [
        Input(one, None, ()) if isinstance(one, str) else Input(one[0], one[1:], ())
        for one in inputs
    ]
    return Slice(("slices", 0), tuple(made), None, (), copies=False)


def targets(models: dict[str, Model], *slices: Slice, module: str = "default"):
    indexes = {label: index(one) for label, one in models.items()}
    return {
        target.name: (*target.inputs, round(target.t, 3))
        for target in find_targets([(module, slices)], indexes)
    }


def test_whole_models():
    models = {x: model(EMBED, NORM, HEAD, layers=3) for x in "ab"}
    assert targets(models, slice_("a", "b")) == {
        EMBED: (EMBED, EMBED, 0.0),
        NORM: (NORM, NORM, 0.0),
        HEAD: (HEAD, HEAD, 0.0),
        "model.layers.0.q": ("model.layers.0.q", "model.layers.0.q", 0.0),
        "model.layers.1.q": ("model.layers.1.q", "model.layers.1.q", 0.5),
        "model.layers.2.q": ("model.layers.2.q", "model.layers.2.q", 1.0),
    }


def test_slices_are_stacked_and_have_their_own_gradients():
    models = {x: model(layers=4) for x in "ab"}
    assert targets(models, slice_(("a", 0, 2), ("b", 2, 4)), slice_(("b", 1, 2), ("a", 3, 4))) == {
        "model.layers.0.q": ("model.layers.0.q", "model.layers.2.q", 0.0),
        "model.layers.1.q": ("model.layers.1.q", "model.layers.3.q", 1.0),
        # A lone layer is at the end of its gradient.
        "model.layers.2.q": ("model.layers.1.q", "model.layers.3.q", 1.0),
    }


def test_embeddings_are_of_the_first_slice_and_what_is_behind_of_the_last():
    models = {x: model(EMBED, NORM, HEAD, layers=1) for x in "abc"}
    indexes = {label: index(one) for label, one in models.items()}
    slices = [slice_(("a", 0, 1)), slice_(("b", 0, 1)), slice_(("c", 0, 1))]
    found = find_targets([("default", tuple(slices))], indexes)
    labels = {target.name: target.slice.models[0].label for target in found}
    assert (labels[EMBED], labels[NORM], labels[HEAD]) == ("a", "c", "c")


def test_an_empty_slice_gives_only_what_is_outside_of_layers():
    models = {"a": model(EMBED, NORM, layers=2), "b": model(EMBED, NORM, layers=2)}
    found = targets(models, slice_(("a", 0, 0)), slice_(("b", 1, 2)))
    assert found == {
        EMBED: (EMBED, 0.0),
        NORM: (NORM, 0.0),
        "model.layers.0.q": ("model.layers.1.q", 1.0),
    }


def test_buffers_of_old_files_are_left_out():
    models = {
        "a": model(EMBED, "model.layers.0.self_attn.rotary_emb.inv_freq", layers=1),
        "b": model(EMBED, layers=1),
    }
    assert list(targets(models, slice_("a", "b"))) == [EMBED, "model.layers.0.q"]


class TestTied:
    def test_all(self):
        models = {x: model(EMBED, tied=True) for x in "ab"}
        assert list(targets(models, slice_("a", "b"))) == [EMBED]

    @pytest.mark.parametrize("order", ["ab", "ba"])
    def test_one_of_them(self, order):
        models = {"a": model(EMBED, tied=True), "b": model(EMBED, HEAD)}
        stored = {"a": EMBED, "b": HEAD}
        found = targets(models, slice_(*order))
        assert found[HEAD] == (*(stored[label] for label in order), 0.0)

    def test_a_head_that_the_file_ties_to_one_of_several_tables(self):
        tables = ("model.embed_tokens.weight", "audio.embed_tokens.weight")
        models = {"a": model(*tables, HEAD), "b": model(*tables, tied=True)}
        indexes = {label: index(one) for label, one in models.items()}
        found = find_targets([("default", (slice_("a", "b"),))], indexes)
        assert {one.name: one.inputs for one in found}[HEAD] == (HEAD, EMBED)

    def test_one_that_nobody_told_is_tied(self):
        # A base model, say, saved without its head's class.
        models = {"a": model(EMBED, HEAD), "b": model(EMBED)}
        assert targets(models, slice_("a", "b"))[HEAD] == (HEAD, EMBED, 0.0)

    def test_a_stored_head_that_the_config_ties_is_never_used(self):
        models = {
            "a": model(EMBED, HEAD, tie_word_embeddings=True),
            "b": model(EMBED, HEAD, tie_word_embeddings=True),
        }
        assert list(targets(models, slice_("a", "b"))) == [EMBED]
        models["a"] = model(EMBED, HEAD, text_config={"tie_word_embeddings": True})
        assert list(targets(models, slice_("a", "b"))) == [EMBED]
        models["b"] = model(EMBED, HEAD, tie_word_embeddings=False)
        assert targets(models, slice_("a", "b"))[HEAD] == (EMBED, HEAD, 0.0)

    def test_the_head_of_a_tied_last_slice(self):
        models = {"a": model(EMBED, HEAD, layers=1), "b": model(EMBED, layers=1, tied=True)}
        found = targets(models, slice_(("a", 0, 1)), slice_(("b", 0, 1)))
        assert (found[EMBED], found[HEAD]) == ((EMBED, 0.0), (EMBED, 0.0))

    def test_tables_under_more_names(self):
        names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
        layers = ("encoder.block.0.x", "decoder.block.0.x")
        models = {"a": model(*names, *layers), "b": model("shared.weight", *layers)}
        indexes = {label: index(one) for label, one in models.items()}
        one = (slice_("a", "b"),)
        parts = [(module, one) for module in ("shared", "encoder", "decoder")]
        found = {target.name: target.inputs for target in find_targets(parts, indexes)}
        assert found["encoder.embed_tokens.weight"] == (
            "encoder.embed_tokens.weight",
            "shared.weight",
        )
        assert set(found) == {*names, *layers}


class TestOldNames:
    def test_gpt2_with_and_without_its_prefix(self):
        new = ("transformer.wte.weight", "transformer.h.0.ln_1.weight", "transformer.ln_f.bias")
        old = tuple(name.removeprefix("transformer.") for name in new)
        assert targets({"a": model(*old), "b": model(*new)}, slice_("a", "b")) == {
            new[0]: (old[0], new[0], 0.0),
            new[1]: (old[1], new[1], 1.0),
            new[2]: (old[2], new[2], 0.0),
        }

    def test_berts_norms(self):
        new = ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.output.LayerNorm.bias")
        old = (new[0].replace("weight", "gamma"), new[1].replace("bias", "beta"))
        found = targets({"a": model(*old), "b": model(*new)}, slice_("a", "b"))
        assert found == {new[0]: (old[0], new[0], 0.0), new[1]: (old[1], new[1], 1.0)}

    def test_positions_that_only_old_files_hold(self):
        models = {"a": model("bert.embeddings.position_ids", EMBED), "b": model(EMBED)}
        assert list(targets(models, slice_("a", "b"))) == [EMBED]


class TestMistakes:
    def test_a_tensor_that_only_one_has(self):
        models = {
            "a": model(EMBED, "model.extra", layers=2),
            "b": model(EMBED, layers=2, parts=("q", "q.bias")),
        }
        with pytest.raises(WeightsError) as caught:
            targets(models, slice_("a", "b"))
        assert str(caught.value) == (
            "the models do not have the same tensors: b lacks model.extra; a lacks "
            "model.layers.0.q.bias; a lacks model.layers.1.q.bias. Expected checkpoints of one "
            "architecture"
        )

    def test_long_lists_are_cut(self):
        models = {"a": model(layers=9), "b": model(layers=9, parts=("k",))}
        with pytest.raises(WeightsError, match=r"and 13 more\. Expected"):
            targets(models, slice_("a", "b"))

    def test_a_model_that_lacks_a_layer(self):
        models = {"a": model(layers=4), "b": model(layers=3)}
        with pytest.raises(WeightsError, match="a has 4, b has 3 layers, expected"):
            targets(models, slice_("a", "b"))
        del models["a"].tensors["model.layers.1.q"]
        models["b"] = model(layers=4)
        with pytest.raises(WeightsError, match=r"a lacks model\.layers\.1\.q"):
            targets(models, slice_("a", "b"))

    def test_layers_that_a_model_does_not_have(self):
        with pytest.raises(SettingsError) as caught:
            targets({"a": model(layers=4)}, slice_(("a", 2, 6)))
        assert str(caught.value) == (
            "slices.0: found layer_range [2, 6] of a, which has 4 layers; expected an end of 4 at "
            "most"
        )

    def test_a_module_that_a_model_does_not_have(self):
        seeing = model("vision_tower.x", EMBED)
        with pytest.raises(WeightsError, match="b has no text_decoder, only default"):
            targets({"a": seeing, "b": model(EMBED)}, slice_("a", "b"), module="text_decoder")

    def test_slices_of_two_stacks(self):
        two = model("model.layers.0.x", "mtp.layers.0.x")
        assert len(targets({"a": two}, slice_("a"))) == 2
        with pytest.raises(SettingsError, match=r"stacks of layers, model\.layers, mtp"):
            targets({"a": two}, slice_(("a", 0, 1)))
