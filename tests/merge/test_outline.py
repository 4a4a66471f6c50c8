"""What a recipe comes to before any checkpoint is looked at."""

import pytest

from inarch.errors import SettingsError
from inarch.merge import METHODS
from inarch.merge._config import MergeConfig
from inarch.merge._outline import load_config, outline


@pytest.fixture
def made(tmp_path):
    def made(text: str):
        path = tmp_path / "r.yml"
        path.write_text(text, encoding="utf-8")
        return outline(load_config(path, METHODS), METHODS)

    return made


def parts(slice_):
    """Labels of the models, and of the base."""
    return [one.label for one in slice_.models], slice_.base and slice_.base.label


def whole(outlined):
    (slices,) = outlined.modules.values()
    (one,) = slices
    return parts(one)


TIES = "merge_method: ties\nbase_model: base\nparameters: {weight: 1}\n"


class TestBases:
    def test_a_base_that_is_listed_is_no_model(self, made):
        found = made(TIES + "models: [{model: a}, {model: base}, {model: b}]")
        assert whole(found) == (["a", "b"], "base")
        assert found.labels == ("a", "base", "b")

    def test_a_base_that_is_not_listed_comes_behind(self, made):
        found = made(TIES + "models: [{model: a}, {model: b}]")
        assert whole(found) == (["a", "b"], "base")
        assert found.labels == ("a", "b", "base")

    def test_what_the_base_is_given_has_no_effect(self, made):
        text = TIES + "models: [{model: a}, {model: base, parameters: {weight: 0.3, density: 1}}]"
        assert made(text).notes == (
            "models.1.parameters.weight: has no effect, as this model is the base",
            "models.1.parameters.density: has no effect, as this model is the base",
        )

    @pytest.mark.parametrize("models", ["[{model: a}, {model: b}]", "[{model: b}, {model: a}]"])
    def test_of_slerp_the_base_is_one_of_two(self, made, models):
        text = f"merge_method: slerp\nbase_model: a\nparameters: {{t: 0.5}}\nmodels: {models}"
        assert whole(made(text)) == (["b"], "a")

    def test_of_slerp_the_base_may_be_left_out(self, made):
        text = "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nmodels: [{model: b}]"
        assert whole(made(text)) == (["b"], "a")

    def test_linear_takes_the_base_as_one_more_model_if_it_has_a_weight(self, made):
        text = "merge_method: linear\nbase_model: base\n"
        found = made(text + "parameters: {weight: 1}\nmodels: [{model: a}]")
        assert whole(found) == (["a", "base"], None)
        found = made(text + "models: [{model: a, parameters: {weight: 1}}]")
        assert whole(found) == (["a"], None)
        assert found.notes == ("base_model: takes no part in the merge; the result takes after it",)
        assert found.labels == ("a", "base")

    def test_passthrough_only_takes_after_it(self, made):
        found = made("merge_method: passthrough\nbase_model: base\nmodels: [{model: a}]")
        assert whole(found) == (["a"], None)

    def test_an_optional_base(self, made):
        text = "merge_method: nuslerp\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
        assert whole(made(text)) == (["a", "b"], None)
        assert whole(made(text + "base_model: c")) == (["a", "b"], "c")

    def test_a_slice_may_have_its_own(self, made):
        found = made(
            TIES + "slices:\n- sources: [{model: a, layer_range: [0, 1]}, "
            "{model: base, layer_range: [0, 1]}]\n- base_model: a\n  sources: "
            "[{model: a, layer_range: [1, 2]}, {model: base, layer_range: [1, 2]}]"
        )
        assert [parts(slice_) for slice_ in found.modules[None]] == [
            (["a"], "base"),
            (["base"], "a"),
        ]


class TestCopies:
    def test_a_lone_source_is_copied(self, made):
        found = made(
            TIES + "slices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
            "- sources: [{model: a, layer_range: [1, 2]}, {model: base, layer_range: [1, 2]}]"
        )
        assert [slice_.copies for slice_ in found.modules[None]] == [True, False]
        assert found.notes == ("slices.0: one model only, which is copied",)

    def test_what_a_copied_source_is_given_has_no_effect(self, made):
        found = made(
            TIES + "slices:\n- parameters: {density: 1}\n  sources:\n"
            "  - {model: a, layer_range: [0, 1], parameters: {weight: 2}}"
        )
        assert found.notes == (
            "base_model: takes no part in the merge; the result takes after it",
            "slices.0: one model only, which is copied",
            "slices.0.parameters.density: has no effect, as the model is copied",
            "slices.0.sources.0.parameters.weight: has no effect, as the model is copied",
        )

    def test_linear_weighs_a_lone_source(self, made):
        text = "merge_method: linear\nparameters: {weight: 1}\n"
        found = made(text + "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]")
        assert not found.modules[None][0].copies

    def test_a_module_of_the_base_alone_is_copied(self, made):
        found = made(
            "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nmodules:\n"
            "  text_decoder: {models: [{model: a}, {model: b}]}\n"
            "  vision_tower: {models: [{model: a}]}"
        )
        assert found.modules["vision_tower"][0].copies
        assert parts(found.modules["text_decoder"][0]) == (["b"], "a")


class TestLevels:
    def test_a_source_comes_before_its_slice_and_that_before_the_recipe(self, made):
        found = made(
            "merge_method: linear\nparameters: {weight: 1, normalize: true}\nmodules:\n  default:\n"
            "    parameters: {weight: 2}\n    slices:\n    - parameters: {weight: 3}\n"
            "      sources: [{model: a, layer_range: [0, 1], parameters: {weight: 4}}]"
        )
        (slice_,) = found.modules["default"]
        own = [one.values["weight"][0].value[0] for one in slice_.models[0].levels]
        shared = [one.values["weight"][0].value[0] for one in slice_.shared]
        assert (own, shared) == ([4.0, 3.0, 2.0, 1.0], [3.0, 2.0, 1.0])
        assert slice_.models[0].levels[0].path == (
            *("modules", "default", "slices", 0, "sources", 0, "parameters"),
        )


class TestNotes:
    def test_leftovers_are_told_once(self, made):
        found = made(
            "merge_method: model_stock\nbase_model: base\nint8_mask: true\nparameters: "
            "{normalize: true}\nmodels:\n- {model: a, parameters: {weight: 1}}\n"
            "- {model: b, parameters: {weight: 2}}"
        )
        assert found.notes == (
            "parameters.normalize: has no effect with model_stock",
            "models.0.parameters.weight: has no effect with model_stock (2 times)",
            "int8_mask: has no effect",
        )

    def test_sce_without_a_variant_is_mergekits(self, made):
        text = "merge_method: sce\nbase_model: base\nmodels: [{model: a}, {model: b}]\n"
        found = made(text + "parameters: {normalize: false, select_topk: 0.5}")
        assert found.notes == (
            "parameters.normalize: has no effect with sce",
            "parameters: variant: mergekit, as the recipe says none",
        )
        assert made(text + "parameters: {variant: paper}").notes == ()

    def test_a_residual_weight(self, made):
        found = made(
            "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
            "  residual_weight: 0.5"
        )
        assert found.notes == ("slices.0.residual_weight: has no effect, as in mergekit",)

    def test_a_base_of_a_slice_that_is_none_of_its_sources(self, made):
        slice_ = "slices:\n- sources: [{model: a, layer_range: [0, 1]}]\n  base_model: "
        found = made(f"merge_method: passthrough\n{slice_}b")
        assert found.notes == ("slices.0.base_model: has no effect, as it is none of the sources",)
        assert found.labels == ("a",)
        assert made(f"merge_method: passthrough\n{slice_}a").notes == ()

    def test_labels_are_in_the_users_order(self, made):
        found = made(
            "merge_method: passthrough\nmodules:\n"
            "  one: {slices: [{sources: [{model: b, layer_range: [0, 1]}]}]}\n"
            "  two: {models: [{model: a}]}"
        )
        assert found.labels == ("b", "a")


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "merge_method: ties\nparameters: {weight: 1}\nmodels: [{model: a}]",
                "3: models: ties needs a base_model, which must be given; found a",
            ),
            (
                TIES + "slices:\n- sources: [{model: a, layer_range: [0, 1]}, "
                "{model: b, layer_range: [0, 1]}]",
                "5: slices.0: ties needs a base_model, which must be one of these sources; "
                "found a, b",
            ),
            (
                "merge_method: slerp\nbase_model: c\nparameters: {t: 1}\n"
                "models: [{model: a}, {model: b}]",
                "4: models: slerp takes 1 of the models beside base_model, not 2: found a, b",
            ),
            (
                "merge_method: passthrough\nmodels: [{model: a}, {model: b}]",
                "2: models: passthrough takes 1 of the models, not 2: found a, b",
            ),
            (
                "merge_method: model_stock\nbase_model: c\nmodels: [{model: a}]",
                "3: models: model_stock needs 2 models beside base_model or more, found a",
            ),
            (
                "merge_method: slerp\nbase_model: a\nmodels:\n- model: b\n  parameters:\n"
                "    t: 0.5",
                "6: models.0.parameters.t: is one value for all models, not one of each; move it "
                "to the `parameters:` of the recipe or of the slice",
            ),
            (
                "merge_method: linear\nparameters:\n  wieght: 1\nmodels: [{model: a}]",
                "3: parameters.wieght: unknown parameter; did you mean `weight`?",
            ),
        ],
    )
    def test_they_come_with_their_line(self, made, text, problem):
        with pytest.raises(SettingsError) as caught:
            made(text)
        assert str(caught.value).split("r.yml:")[1] == problem

    def test_all_are_told_from_python_too(self):
        config = MergeConfig.model_validate(
            {
                "merge_method": "ties",
                "models": ({"model": "a", "parameters": {"wieght": 1}},),
                "parameters": {"normalise": True},
            }
        )
        with pytest.raises(SettingsError) as caught:
            outline(config, METHODS)
        assert str(caught.value).splitlines() == [
            "parameters.normalise: unknown parameter; did you mean `normalize`?",
            "models.0.parameters.wieght: unknown parameter; did you mean `weight`?",
            "models: ties needs a base_model, which must be given; found a",
        ]
