"""Which number a parameter is for one tensor, and which parameters a recipe may give."""

from typing import Literal

import pytest
from pydantic import Field, TypeAdapter

from inarch.errors import SettingsError
from inarch.merge._gradients import Value
from inarch.merge._method import Method
from inarch.merge._parameters import Level, Resolver, check, describe
from inarch.merge._settings import PerModel
from inarch.settings import Settings, UnitFloat

VALUE = TypeAdapter(Value)


class Made(Settings):
    weight: PerModel
    density: tuple[UnitFloat, ...] = (0.5,)
    lambda_: float = Field(1.0, alias="lambda")
    normalize: bool = False
    steps: int = 3
    share: UnitFloat = 1.0
    unit: Literal["matrix", "layer"] = "matrix"
    given: PerModel | None = None


class Scalars(Settings):
    t: float


class WithVariant(Settings):
    select_topk: float = 1.0
    variant: Literal["paper", "mergekit"] = "paper"
    normalize: bool | None = None


METHODS = {
    "made": Method(lambda stack, settings: None, Made, "required"),
    "scalars": Method(lambda stack, settings: None, Scalars, "required", 1, 1),
    "variants": Method(lambda stack, settings: None, WithVariant, "required"),
}


def level(*path, **values) -> Level:
    return Level(path, {key: VALUE.validate_python(value) for key, value in values.items()})


def resolve(name="x.mlp", shared=(), models=(), t=0.0, method="made"):
    levels = [*shared, *(one for _, _, own in models for one in own)]
    return Resolver(method, METHODS[method], levels).settings(name, shared, models, t)


def test_parameters_are_read_off_the_settings():
    assert {key: found[:-1] for key, found in describe(Made).items()} == {
        "weight": ("weight", "number", True, None, True, ()),
        "density": ("density", "number", True, (0.5,), False, ()),
        "lambda": ("lambda", "number", False, 1.0, False, ()),
        "normalize": ("normalize", "true or false", False, False, False, ()),
        "steps": ("steps", "whole number", False, 3, False, ()),
        "share": ("share", "number", False, 1.0, False, ()),
        "unit": ("unit", "word", False, "matrix", False, ("matrix", "layer")),
        "given": ("given", "number", True, None, False, ()),
    }


class TestResolving:
    def test_models_look_up_their_own_name_and_the_merge_that_of_the_result(self):
        by_layer = [{"filter": f".{i}.", "value": i} for i in range(5)]
        shared = [level(weight=tuple(by_layer), **{"lambda": tuple(by_layer)})]
        made = resolve("l.0.x", shared, [("a", "l.1.x", shared), ("b", "l.3.x", shared)])
        assert made.weight == (1.0, 3.0)
        assert made.lambda_ == 0.0

    def test_the_first_level_that_speaks_about_the_tensor_wins(self):
        near, far = level(0, weight={"filter": "mlp", "value": 1}), level(1, weight=2)
        assert resolve("x.mlp", models=[("a", "x.mlp", [near, far])]).weight == (1.0,)
        assert resolve("x.attn", models=[("a", "x.attn", [near, far])]).weight == (2.0,)

    def test_gradients(self):
        shared = [level(weight=(0, 4), **{"lambda": (1, 2)})]
        made = resolve(shared=shared, models=[("a", "x", shared)], t=0.25)
        assert (made.weight, made.lambda_) == ((1.0,), 1.25)

    def test_what_nobody_says_is_left_to_the_method(self):
        made = resolve(models=[("a", "x", [level(weight=1)])])
        assert made == Made(weight=(1.0,))
        assert "density" not in made.model_fields_set

    def test_a_model_that_says_nothing_gets_the_default_beside_one_that_does(self):
        one, two = level(0, weight=1, density=0.1), level(1, weight=2)
        made = resolve(models=[("a", "x", [one]), ("b", "x", [two])])
        assert made.density == (0.1, 0.5)

    def test_types(self):
        values = {
            "normalize": "yes",
            "steps": "7",
            "unit": "layer",
            "share": "0.25",
            "lambda": True,
        }
        made = resolve(shared=[level(**values)], models=[("a", "x", [level(weight="2")])])
        assert made == Made(
            weight=(2.0,), normalize=True, steps=7, unit="layer", share=0.25, lambda_=1.0
        )

    @pytest.mark.parametrize(
        ("shared", "models", "problem"),
        [
            ([], [("a", "x", [level(weight=1)]), ("b", "x", [])], "weight of each model.*for b"),
            ([], [("a", "x", [])], "weight of each model.*for a"),
            ([level(share=2)], [("a", "x", [level(weight=1)])], "^y.mlp: share: .*found 2.0"),
            ([level(unit="row")], [("a", "x", [level(weight=1)])], "^y.mlp: unit: .*found row"),
            ([level(steps=(1, 2))], [("a", "x", [level(weight=1)])], "^y.mlp: steps: found 1.5"),
        ],
    )
    def test_errors_name_tensor_and_parameter(self, shared, models, problem):
        with pytest.raises(SettingsError, match=problem):
            resolve("y.mlp", shared, models, t=0.5)

    def test_a_missing_parameter_of_the_merge(self):
        with pytest.raises(SettingsError, match=r"x\.mlp: scalars needs the parameter t"):
            resolve(method="scalars", shared=[level(t={"filter": "attn", "value": 1})])

    def test_filters_that_were_never_used(self):
        shared = level(
            weight=({"filter": "mlp", "value": 1}, {"filter": "typo", "value": 2}, {"value": 3}),
            other=({"filter": "mlp", "value": 1},),
        )
        resolver = Resolver("made", METHODS["made"], [shared])
        resolver.settings("x.mlp", [shared], [("a", "x.mlp", [shared])], 0.0)
        assert list(resolver.unused([shared])) == [(("weight", 1), "typo")]

    def test_a_recipe_without_a_variant_is_mergekits(self):
        assert resolve(method="variants") == WithVariant(variant="mergekit")
        said = [level(variant="paper", normalize=True)]
        assert resolve(method="variants", shared=said) == WithVariant(normalize=True)
        # mergekit passes over it, so an old recipe gives what it gave.
        unsaid = [level(normalize=False, select_topk=0.5)]
        assert resolve(method="variants", shared=unsaid) == WithVariant(
            variant="mergekit", select_topk=0.5
        )


class TestChecking:
    def problems(self, name, shared=(), own=()):
        problems, warnings = check(name, METHODS, shared, own)
        return [(path[-1], text.split(";")[0]) for path, text in problems], [
            (path[-1], text) for path, text in warnings
        ]

    def test_nothing_wrong(self):
        assert self.problems("made", [level(weight=1, density=(0, 1))], [level(weight=1)]) == (
            [],
            [],
        )

    def test_leftovers_of_other_methods_and_known_ones_have_no_effect(self):
        found = self.problems("scalars", [level(t=1, density=1, int8_mask=True)])
        assert found == (
            [],
            [
                ("density", "has no effect with scalars"),
                ("int8_mask", "has no effect with scalars"),
            ],
        )

    def test_typing_errors(self):
        (_, text), *_ = check("made", METHODS, [level(wieght=1)], [])[0]
        assert text == "unknown parameter; did you mean `weight`?"
        (_, text), *_ = check("scalars", METHODS, [level(abcdef=1)], [])[0]
        assert text == "unknown parameter; scalars has t"

    def test_keys_of_the_recipe(self):
        found, _ = self.problems("made", [level(dtype="bfloat16")])
        assert found == [("dtype", "belongs at the top of the recipe, not below `parameters:`")]

    def test_types(self):
        values = {"weight": (1, "x"), "normalize": 0.5, "steps": 1.5, "unit": "anything"}
        found, _ = self.problems("made", [level(**values)])
        assert found == [
            ("weight", "found x, expected a number"),
            ("normalize", "found 0.5, expected true or false"),
            ("steps", "found 1.5, expected a whole number"),
            ("unit", "found anything, expected 'matrix' or 'layer'"),
        ]

    def test_ranges(self):
        found, _ = self.problems("made", [level(share=(0.5, 2), density={"value": -1})])
        assert found == [
            ("share", "found 2.0, expected less than or equal to 1"),
            ("density", "found -1.0, expected greater than or equal to 0"),
        ]

    def test_the_nearest_word(self):
        (_, text), *_ = check("made", METHODS, [level(unit="layr")], [])[0]
        assert text == "found layr, expected 'matrix' or 'layer'; did you mean `layer`?"

    def test_one_value_for_all_below_one_model(self):
        found, _ = self.problems("scalars", [level(t=0.5)], [level("models", 0, t=0.7)])
        assert found == [("t", "is one value for all models, not one of each")]
        # It is passed over by mergekit; where it says the same, nothing is lost.
        _, warnings = self.problems("scalars", [level(t=0.5)], [level("models", 0, t=0.5)])
        assert warnings == [("t", "is one value for all models, and has that already")]
        _, warnings = self.problems("made", (), [level(normalize=False)])
        assert warnings == [("normalize", "is one value for all models, and has that already")]
        found, _ = self.problems("made", (), [level(normalize=True)])
        assert found == [("normalize", "is one value for all models, not one of each")]

    def test_what_mergekit_passes_over_is_noted(self):
        assert self.problems("variants", [level(normalize=False)]) == (
            [],
            [("normalize", "has no effect with variants")],
        )
        assert self.problems("variants", [level(normalize=False, variant="paper")]) == ([], [])
