"""From a recipe and checkpoints to jobs: small models on disk, merged in memory."""

import json

import numpy as np
import pytest
import torch
from tests.merge.checkpoints import (
    EMBED,
    HEAD,
    NORM,
    ROWS,
    WIDTH,
    firsts,
    llama,
    llama_shapes,
    merged,
    plan_of,
    save,
)

from inarch.errors import SettingsError, WeightsError
from inarch.merge import METHODS
from inarch.merge._config import MergeConfig
from inarch.merge._models import open_models
from inarch.merge._outline import refs_of
from inarch.merge._plan import make_plan
from inarch.merge._sources import FileSource
from inarch.merge.linear import LinearSettings

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def recipe(method: str, *models: object, **keys) -> str:
    made = {"merge_method": method, "models": [{"model": m} for m in models], **keys}
    return json.dumps(made, ensure_ascii=False)


def linear(*models: object, **keys) -> str:
    return recipe("linear", *models, **({"parameters": {"weight": 1}} | keys))


class TestJobs:
    def test_sources_keep_the_users_order_and_the_base_is_apart(self, folder):
        a, b, c = (llama(folder / x, layers=1) for x in "abc")
        text = recipe("task_arithmetic", c, a, b, base_model=a, parameters={"weight": 1})
        for job in plan_of(folder, text).jobs:
            assert [model.label for model in job.models] == [c, b]
            assert job.base.label == a

    def test_the_numbers_of_a_tensor_are_in_its_settings(self, folder):
        a, b = (llama(folder / x) for x in "ab")
        text = json.dumps(
            {
                "merge_method": "linear",
                "models": [
                    {"model": a, "parameters": {"weight": [0, 3]}},
                    {"model": b, "parameters": {"weight": [{"filter": "up", "value": 7}]}},
                ],
                "parameters": {"weight": 1, "normalize": [{"filter": "up", "value": False}]},
            }
        )
        jobs = {job.name: job for job in plan_of(folder, text).jobs}
        # The second of four layers is a third of the way from 0 to 3.
        assert jobs[UP].settings == LinearSettings(weight=(1.0, 7.0), normalize=False)
        assert jobs[UP.replace("up", "gate")].settings == LinearSettings(weight=(1.0, 1.0))
        assert jobs[HEAD].settings == LinearSettings(weight=(0.0, 1.0))

    def test_passthrough_copies_unless_it_scales_or_changes_the_format(self, folder):
        a = llama(folder / "a", layers=1, dtype=torch.bfloat16)
        assert all(job.copy for job in plan_of(folder, recipe("passthrough", a)).jobs)
        other = plan_of(folder, recipe("passthrough", a, dtype="float16"))
        assert not any(job.copy for job in other.jobs)
        scaled = plan_of(
            folder,
            recipe("passthrough", a, parameters={"scale": [{"filter": "up", "value": 2}]}),
        )
        assert [job.name for job in scaled.jobs if not job.copy] == [UP.replace(".1.", ".0.")]

    def test_a_stack_of_slices(self, folder):
        a = llama(folder / "a", lambda name: int(name.split(".")[2]) if "layers" in name else 10)
        b = llama(folder / "b", lambda name: 20)
        text = json.dumps(
            {
                "merge_method": "passthrough",
                "slices": [
                    {"sources": [{"model": a, "layer_range": [0, 3]}]},
                    {"sources": [{"model": a, "layer_range": [2, 4]}]},
                    {"sources": [{"model": b, "layer_range": [0, 1]}]},
                ],
            }
        )
        made, plan = merged(folder, text)
        assert list(firsts(made, "q_proj").values()) == [0, 1, 2, 2, 3, 20]
        assert firsts(made, "embed", ".norm", "head") == {EMBED: 10, NORM: 20, HEAD: 20}
        assert plan.config["num_hidden_layers"] == 6
        assert len(plan.jobs) == len(llama_shapes(6))

    def test_filters_that_fit_nothing_are_noted(self, folder):
        a = llama(folder / "a")
        values = [{"filter": "modelnorm", "value": 0.6}, {"value": 1}]
        plan = plan_of(folder, linear(a, parameters={"weight": values}))
        assert plan.notes == (
            "parameters.weight.0: no tensor that this could be about has `modelnorm` in its name",
        )

    def test_filters_of_a_base_are_told_of_once(self, folder):
        a, base = llama(folder / "a"), llama(folder / "b")
        values = [{"filter": "mlp", "value": 0.6}, {"value": 1}]
        models = [{"model": a}, {"model": base, "parameters": {"weight": values}}]
        text = {"merge_method": "ties", "models": models, "base_model": base}
        plan = plan_of(folder, json.dumps(text | {"parameters": {"weight": 1}}))
        assert plan.notes == (
            "models.1.parameters.weight: has no effect, as this model is the base",
        )

    @pytest.mark.parametrize(("density", "kept"), [(0, 0.0), (1, 2.0)])
    def test_the_ends_of_density(self, folder, density, kept):
        a, base = llama(folder / "a", 2.0), llama(folder / "b", 0.0)
        made, _ = merged(
            folder,
            recipe("ties", a, base_model=base, parameters={"weight": 1, "density": density}),
        )
        assert set(firsts(made, "").values()) == {kept}

    def test_weights_that_sum_to_zero(self, folder):
        a, b = llama(folder / "a"), llama(folder / "b")
        text = linear(a, b, parameters={"weight": [{"filter": "up", "value": 1}, {"value": 1}]})
        assert plan_of(folder, text)
        text = json.dumps(
            {
                "merge_method": "linear",
                "models": [
                    {"model": a, "parameters": {"weight": 1}},
                    {"model": b, "parameters": {"weight": -1}},
                ],
            }
        )
        with pytest.raises(SettingsError, match="sum to zero"):
            merged(folder, text)

    def test_a_folder_with_a_plus_in_its_name(self, folder):
        path = llama(folder / "a+b", layers=1)
        with pytest.raises(WeightsError, match=r"write it as \{model: \{path: .*a\+b\}\}$"):
            plan_of(folder, linear(path))
        assert plan_of(folder, linear({"model": {"path": path}})).origin == path

    def test_paths_in_any_script(self, folder):
        a = llama(folder / "模型 😀" / "ü", 3.0, layers=1)
        made, plan = merged(folder, linear(a))
        assert plan.jobs[0].models[0].label == a
        assert set(firsts(made, "").values()) == {3.0}


class TestFormats:
    @pytest.mark.parametrize(
        ("one", "other", "keys", "made"),
        [
            ("bfloat16", "bfloat16", {}, "BF16"),
            ("bfloat16", "float16", {}, "F32"),
            ("bfloat16", "float32", {}, "F32"),
            ("float8_e4m3fn", "float8_e4m3fn", {}, "F8_E4M3"),
            ("float8_e4m3fn", "float16", {}, "F16"),
            ("float8_e4m3fn", "float8_e5m2", {}, "BF16"),
            ("float64", "float32", {}, "F64"),
            ("float32", "float32", {"dtype": "bfloat16"}, "BF16"),
            ("float32", "float32", {"dtype": "bfloat16", "out_dtype": "float16"}, "F16"),
            ("float32", "float32", {"out_dtype": "float8_e5m2"}, "F8_E5M2"),
        ],
    )
    def test_of_the_result(self, folder, one, other, keys, made):
        a, b = (
            llama(folder / x, layers=1, dtype=getattr(torch, dtype))
            for x, dtype in (("a", one), ("b", other))
        )
        plan = plan_of(folder, linear(a, b, **keys))
        assert {job.dtype for job in plan.jobs} == {made}
        names = {"BF16": "bfloat16", "F32": "float32", "F16": "float16", "F64": "float64"}
        names |= {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
        assert plan.config["torch_dtype"] == names[made]

    def test_the_config_names_the_format_of_most_numbers(self, folder):
        shapes = {"layers.0.x": (4, 4), "layers.0.norm": (4,)}
        a = save(folder / "a", shapes, {}, dtype=torch.bfloat16)
        b = save(folder / "b", {"layers.0.x": (4, 4)}, {}, dtype=torch.float16)
        text = {
            "merge_method": "passthrough",
            "slices": [{"sources": [{"model": m, "layer_range": [0, 1]}]} for m in (b, a)],
        }
        plan = plan_of(folder, json.dumps(text))
        assert plan.config["torch_dtype"] == "bfloat16"

    def test_whole_numbers_are_copied_where_all_agree(self, folder):
        a, b = llama(folder / "a", layers=1), llama(folder / "b", 3.0, layers=1)
        _add(a, "ids", torch.arange(5))
        _add(b, "ids", torch.arange(5))
        made, plan = merged(folder, linear(a, b, dtype="bfloat16"))
        (job,) = (job for job in plan.jobs if job.name == "ids")
        assert (job.copy, job.dtype, len(job.models)) == (True, "I64", 1)
        assert made["ids"].tolist() == [0, 1, 2, 3, 4]
        assert set(firsts(made, "weight").values()) == {2.0}

    @pytest.mark.parametrize("other", [torch.arange(1, 6), torch.arange(5).to(torch.int32)])
    def test_whole_numbers_that_differ(self, folder, other):
        a, b = llama(folder / "a", layers=1), llama(folder / "b", layers=1)
        _add(a, "ids", torch.arange(5))
        _add(b, "ids", other)
        with pytest.raises(WeightsError, match=f"^ids holds I64 in {a}.* in {b}; whole numbers"):
            plan_of(folder, linear(a, b))


def _add(folder: str, name: str, values: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    path = f"{folder}/model.safetensors"
    save_file(load_file(path) | {name: values}, path)


class TestConfig:
    def test_it_is_that_of_the_base(self, folder):
        a = llama(folder / "a", layers=1, rope_theta=1.0)
        b = llama(folder / "b", layers=1, rope_theta=2.0)
        plan = plan_of(folder, recipe("slerp", a, b, base_model=b, parameters={"t": 0.5}))
        assert (plan.origin, plan.config["rope_theta"]) == (b, 2.0)

    def test_without_a_base_it_is_that_of_the_first(self, folder):
        a = llama(folder / "a", layers=1, rope_theta=1.0)
        b = llama(folder / "b", layers=1, rope_theta=2.0)
        plan = plan_of(folder, linear(b, a))
        assert (plan.origin, plan.config["rope_theta"]) == (b, 2.0)

    def test_lists_of_layers_follow_them(self, folder):
        a = llama(folder / "a", layers=2, layer_types=["x", "y"])
        b = llama(folder / "b", layers=2, layer_types=["X", "Y"])
        text = {
            "merge_method": "slerp",
            "base_model": b,
            "parameters": {"t": 0.5},
            "slices": [
                {"sources": [{"model": m, "layer_range": [i, i + 1]} for m in (a, b)]}
                for i in (0, 1, 1)
            ],
        }
        plan = plan_of(folder, json.dumps(text))
        assert plan.config["layer_types"] == ["X", "Y", "Y"]
        assert plan.config["num_hidden_layers"] == 3

    def test_a_result_with_a_head_is_not_tied(self, folder):
        a = llama(folder / "a", 2.0, layers=1, tied=True)
        b = llama(folder / "b", 4.0, layers=1)
        made, plan = merged(folder, linear(a, b))
        assert firsts(made, "head", "embed") == {HEAD: 3.0, EMBED: 3.0}
        assert plan.config["tie_word_embeddings"] is False

    def test_a_head_that_is_the_models_own_says_nothing_about_ties(self, folder):
        # Of BERT, say: its config ties by default, and other tensors depend on that.
        shapes = {EMBED: (4, 2), HEAD: (4, 2)}
        a, b = (save(folder / x, shapes, {"model_type": "x"}) for x in "ab")
        assert "tie_word_embeddings" not in plan_of(folder, linear(a, b)).config

    def test_a_tied_result_has_no_head(self, folder):
        a, b = (llama(folder / x, layers=1, tied=True) for x in "ab")
        made, plan = merged(folder, linear(a, b))
        assert HEAD not in made
        assert plan.config["tie_word_embeddings"] is True


class TestUnlikeModels:
    def test_architectures(self, folder):
        a = llama(folder / "a", layers=1)
        b = llama(folder / "b", layers=1, model_type="mistral")
        with pytest.raises(WeightsError, match=f"{b} has model_type mistral and {a} llama"):
            plan_of(folder, linear(a, b))
        c = llama(folder / "c", layers=1, architectures=["LlamaForSequenceClassification"])
        with pytest.raises(WeightsError, match=f"{c} has architectures"):
            plan_of(folder, linear(a, c))
        early = llama(folder / "early", layers=1, architectures=["LLaMAForCausalLM"])
        unknown = llama(folder / "unknown", layers=1, architectures=None)
        assert plan_of(folder, linear(a, early, unknown)).origin == a

    def test_shapes(self, folder):
        a = llama(folder / "a")
        b = llama(folder / "b", change={UP: (13, WIDTH)})
        with pytest.raises(WeightsError) as caught:
            plan_of(folder, linear(a, b))
        assert str(caught.value) == (
            f"{UP} of {b} has the shape [13, 8], {UP} of {a} [12, 8]; expected one shape"
        )

    def test_rows_of_embeddings(self, folder):
        a = llama(folder / "a", layers=1)
        b = llama(folder / "b", layers=1, change={EMBED: (18, WIDTH), HEAD: (18, WIDTH)})
        with pytest.raises(WeightsError, match="line tokens up"):
            plan_of(folder, linear(a, b))
        wide = llama(folder / "wide", layers=1, change={EMBED: (18, WIDTH + 1)})
        with pytest.raises(WeightsError, match=r"\[16, 8\]; expected one shape$"):
            plan_of(folder, linear(a, wide))

    def test_a_model_that_lacks_a_layer(self, folder):
        a, b = llama(folder / "a", layers=4), llama(folder / "b", layers=3)
        with pytest.raises(WeightsError, match=r"has 4.* has 3 layers"):
            plan_of(folder, linear(a, b))

    def test_a_model_that_lacks_a_tensor(self, folder):
        a, b = llama(folder / "a"), llama(folder / "b", change={UP: None})
        with pytest.raises(WeightsError, match=f"{b} lacks {UP}"):
            plan_of(folder, linear(a, b))

    def test_an_unknown_model(self, folder):
        a = llama(folder / "a")
        with pytest.raises(WeightsError, match="missing"):
            plan_of(folder, linear(a, str(folder / "missing")))


class TestVocabulary:
    def test_rows_are_laid_out_over_all_models_of_the_recipe(self, folder):
        """Rows may come from models that have no part in the slice of the embedding."""
        a, b = llama(folder / "a", 1.0, layers=1), llama(folder / "b", 2.0, layers=1, tied=True)
        config = MergeConfig.model_validate(
            {
                "merge_method": "passthrough",
                "slices": tuple(
                    {"sources": ({"model": m, "layer_range": (0, 1)},)} for m in (a, b)
                ),
            }
        )
        asked = {}

        def remap(name, sources):
            asked[name] = [source.label for source in sources if source is not None]
            return [sources[1], sources[0]] if name in (EMBED, HEAD) else sources

        with open_models(refs_of(config)) as models:
            plan = make_plan(config, models, METHODS, remap)
            jobs = {job.name: job.models[0] for job in plan.jobs}
            assert all(isinstance(source, FileSource) for source in jobs.values())
        assert asked == {EMBED: [a, b], NORM: [a, b], HEAD: [a, b]}
        # The embedding is the first slice's, the head the last one's; both were swapped.
        assert (jobs[EMBED].label, jobs[HEAD].label, jobs[NORM].label) == (b, a, b)


SEEING = {
    "language_model.model.embed_tokens.weight": (ROWS, WIDTH),
    "language_model.model.layers.0.x": (WIDTH,),
    "language_model.model.layers.1.x": (WIDTH,),
    "language_model.model.norm.weight": (WIDTH,),
    "vision_tower.encoder.layers.0.x": (WIDTH,),
    "multi_modal_projector.linear.weight": (WIDTH,),
}
SECTIONS = {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 1}}


class TestModules:
    def make(self, folder):
        return [save(folder / x, SEEING, SECTIONS, v) for x, v in (("a", 1.0), ("b", 3.0))]

    def test_whole_models(self, folder):
        a, b = self.make(folder)
        made, _ = merged(folder, linear(a, b, parameters={"weight": [1, 3]}))
        # Each stack has its own gradient; weights are 1 and 1, whatever they are.
        assert set(firsts(made, "").values()) == {2.0}
        assert set(made) == set(SEEING)

    def test_each_its_own_way(self, folder):
        a, b = self.make(folder)
        text = {
            "merge_method": "slerp",
            "base_model": a,
            "parameters": {"t": [0, 1]},
            "modules": {
                "text_decoder": {
                    "slices": [
                        {"sources": [{"model": m, "layer_range": [i, i + 1]} for m in (a, b)]}
                        for i in (0, 1, 1)
                    ]
                },
                "vision_tower": {"models": [{"model": a}]},
                "multi_modal_projector": {"models": [{"model": b}], "parameters": {"t": 0.5}},
            },
        }
        made, plan = merged(folder, json.dumps(text))
        assert firsts(made, "layers") == {
            **{f"language_model.model.layers.{i}.x": 3.0 for i in range(3)},
            "vision_tower.encoder.layers.0.x": 1.0,
        }
        assert firsts(made, "embed", "projector") == {
            "language_model.model.embed_tokens.weight": 1.0,
            "multi_modal_projector.linear.weight": pytest.approx(2.0),
        }
        assert plan.config["text_config"] == {"num_hidden_layers": 3}
        assert plan.config["vision_config"] == {"num_hidden_layers": 1}

    def test_all_must_be_there(self, folder):
        a, b = self.make(folder)
        text = {"merge_method": "linear", "parameters": {"weight": 1}}
        modules = {"text": {"models": [{"model": a}]}}
        with pytest.raises(
            SettingsError, match=r"modules: found text, expected those of .*: text_d"
        ):
            plan_of(folder, json.dumps(text | {"modules": modules}))
        slices = [{"sources": [{"model": b, "layer_range": [0, 1]}]}]
        with pytest.raises(SettingsError, match="say below `modules:`"):
            plan_of(folder, json.dumps(text | {"slices": slices}))

    def test_the_only_module_may_have_any_name(self, folder):
        a = llama(folder / "a", 2.0)
        slices = [{"sources": [{"model": a, "layer_range": [0, 1]}]}]
        text = {"merge_method": "passthrough", "modules": {"default": {"slices": slices}}}
        made, _ = merged(folder, json.dumps(text))
        assert len(made) == len(llama_shapes(1))


def test_old_buffers_are_left_out(folder):
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    a, b = llama(folder / "a", layers=1, change={buffer: (4,)}), llama(folder / "b", layers=1)
    made, _ = merged(folder, linear(a, b))
    assert buffer not in made


def test_the_plan_is_the_same_each_time(folder):
    a, b = llama(folder / "a"), llama(folder / "b")
    first, second = (plan_of(folder, linear(a, b)) for _ in range(2))
    assert [job.name for job in first.jobs] == [job.name for job in second.jobs]
    np.testing.assert_equal(first.config, second.config)
