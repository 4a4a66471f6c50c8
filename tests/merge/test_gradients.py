"""Values of parameters: which choice speaks, and what a gradient is at a place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from inarch.errors import SettingsError
from inarch.merge._gradients import Choice, Value, at, cast, choose

VALUE = TypeAdapter(Value)


def choices(raw):
    return VALUE.validate_python(raw)


class TestWriting:
    @pytest.mark.parametrize(
        ("raw", "made"),
        [
            (0.5, ((None, (0.5,)),)),
            (3, ((None, (3.0,)),)),
            (True, ((None, (True,)),)),
            ("paper", ((None, ("paper",)),)),
            ((0, 1), ((None, (0.0, 1.0)),)),
            ({"value": 2}, ((None, (2.0,)),)),
            ({"filter": "mlp", "value": (0, 1)}, (("mlp", (0.0, 1.0)),)),
            (({"filter": "mlp", "value": 1}, {"value": 2}), (("mlp", (1.0,)), (None, (2.0,)))),
        ],
    )
    def test_shorthands(self, raw, made):
        assert tuple((choice.filter, choice.value) for choice in choices(raw)) == made

    def test_true_is_no_number_and_one_is_no_truth(self):
        assert choices(True)[0].value[0] is True
        assert type(choices(1)[0].value[0]) is float

    @pytest.mark.parametrize(
        ("raw", "problem"),
        [
            (None, "expected a number, true, false or a word"),
            ((), "found an empty list"),
            ({"value": ()}, "found an empty list"),
            (float("nan"), "found nan, expected a finite number"),
            ((1, float("inf")), "found inf, expected a finite number"),
            (({"filter": "mlp", "value": 1}, 3), "Input should be a valid dictionary"),
            (((1, 2), 3), "expected a number, true, false or a word"),
            ({"filter": ("mlp", "attn"), "value": 1}, "valid string"),
            ({"filer": "mlp", "value": 1}, "Extra inputs"),
            ({"filter": "mlp"}, "Field required"),
        ],
    )
    def test_what_is_refused(self, raw, problem):
        with pytest.raises(ValueError, match=problem):
            choices(raw)

    @pytest.mark.parametrize(
        "raw", [0.5, True, "word", [0.0, 1.0], [{"filter": "mlp", "value": [0.0, 1.0]}]]
    )
    def test_they_are_saved_as_they_were_written(self, raw):
        frozen = tuple(raw) if isinstance(raw, list) else raw
        if isinstance(frozen, tuple) and isinstance(frozen[0], dict):
            frozen = ({"filter": "mlp", "value": (0.0, 1.0)},)
        assert VALUE.dump_python(choices(frozen), mode="json") == raw


class TestChoosing:
    def test_the_first_that_fits_speaks(self):
        value = choices(({"filter": "mlp", "value": 1}, {"filter": "up", "value": 2}, {"value": 3}))
        assert choose(value, "layers.0.mlp.up_proj") == 0
        assert choose(value, "layers.0.up") == 1
        assert choose(value, "norm") == 2

    def test_nobody_speaks(self):
        assert choose(choices({"filter": "mlp", "value": 1}), "norm") is None
        assert choose((), "norm") is None

    @pytest.mark.parametrize("word", [None, "*", ""])
    def test_these_fit_everything(self, word):
        assert Choice(filter=word, value=(1.0,)).fits("anything")

    @pytest.mark.parametrize("word", ["MLP", "m.p", "^layers", "layers.0-5", "mlp "])
    def test_a_filter_is_part_of_the_name_and_no_pattern(self, word):
        assert not Choice(filter=word, value=(1.0,)).fits("layers.0.mlp.up")


class TestGradients:
    @pytest.mark.parametrize(
        ("t", "value"),
        # [0, 10, 30] at t: place 2t, so 0.25 is half way to 10, 0.75 half way from 10 to 30.
        [(0.0, 0.0), (0.25, 5.0), (0.5, 10.0), (0.75, 20.0), (1.0, 30.0)],
    )
    def test_numbers_lie_evenly_and_are_joined_by_lines(self, t, value):
        assert at((0.0, 10.0, 30.0), t, "number") == value

    def test_one_number_is_the_same_everywhere(self):
        assert [at((5.0,), t, "number") for t in (0.0, 0.3, 1.0)] == [5.0] * 3

    @pytest.mark.parametrize(("t", "value"), [(0.0, 0), (0.49, 0), (0.5, 1), (0.99, 1), (1.0, 0)])
    def test_other_scalars_are_steps_with_the_last_at_the_end(self, t, value):
        assert at((False, True, False), t, "true or false") is bool(value)
        assert at(("a", "b", "a"), t, "word") == "ab"[value]

    def test_words_that_spell_numbers_are_joined(self):
        # YAML 1.1 reads 1e-1 as a word. A third of the way from 0.1 to 0.4: 0.2.
        assert at(("1e-1", 0.4), 1 / 3, "number") == pytest.approx(0.2)

    def test_whole_numbers(self):
        assert at((1.0, 5.0), 0.5, "whole number") == 3
        with pytest.raises(SettingsError, match=r"found 2\.5, expected a whole number"):
            at((1.0, 4.0), 0.5, "whole number")

    @given(
        st.lists(st.floats(-10, 10), min_size=1, max_size=6),
        st.lists(st.floats(0, 1), min_size=2, max_size=2),
    )
    def test_values_stay_between_their_neighbours(self, values, ts):
        low, high = sorted(ts)
        found = at(tuple(values), low, "number")
        assert min(values) - 1e-9 <= found <= max(values) + 1e-9
        rising = tuple(sorted(values))
        assert at(rising, low, "number") <= at(rising, high, "number") + 1e-9

    @given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
    def test_the_given_values_are_met_exactly(self, values):
        steps = len(values) - 1
        for i, value in enumerate(values):
            assert at(tuple(values), i / steps, "number") == pytest.approx(value, abs=1e-9)


class TestCasting:
    @pytest.mark.parametrize(
        ("value", "kind", "made"),
        [
            ("0.5", "number", 0.5),
            (" 1e-3 ", "number", 1e-3),
            (True, "number", 1.0),
            (10.0, "whole number", 10),
            ("10", "whole number", 10),
            (0.0, "true or false", False),
            (1.0, "true or false", True),
            ("Yes", "true or false", True),
            ("off", "true or false", False),
            ("FALSE", "true or false", False),
            ("paper", "word", "paper"),
        ],
    )
    def test_what_stands_for_what(self, value, kind, made):
        found = cast(value, kind)
        assert found == made
        assert type(found) is type(made)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("abc", "number"),
            ("nan", "number"),
            ("inf", "number"),
            (0.5, "whole number"),
            (0.5, "true or false"),
            ("maybe", "true or false"),
        ],
    )
    def test_what_is_refused(self, value, kind):
        with pytest.raises(SettingsError, match=f"expected (a )?{kind}"):
            cast(value, kind)
