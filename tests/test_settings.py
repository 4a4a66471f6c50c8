"""Settings from YAML: what is read, and what every mistake is told as."""

import math
import string
import sys
from pathlib import Path
from subprocess import run
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from inarch.errors import SettingsError
from inarch.settings import PathSetting, Settings, UnitFloat, dump, load, to_dict


class Mince(Settings):
    method: Literal["mince"] = "mince"
    floor: float = 0.0


class Uld(Settings):
    method: Literal["uld"] = "uld"
    lambda_: UnitFloat = Field(0.9, alias="lambda")


class Source(Settings):
    path: PathSetting
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def a_path_alone(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value


class Recipe(Settings):
    target: Source
    sources: tuple[Source, ...] = ()
    fuse: Annotated[Mince | Uld, Field(discriminator="method")] = Mince()
    lr: float = 1e-4
    fresh: bool = False
    top_k: Annotated[int, Field(ge=1)] = 10
    width: int | Literal["auto"] = "auto"
    seed: int | None = None
    note: str = ""
    weights: dict[str, float] = Field({})

    @model_validator(mode="after")
    def no_setting_is_dead(self) -> "Recipe":
        if self.seed is not None and self.fresh:
            raise ValueError("delete `seed`: a fresh run draws its own")
        return self


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> str:
        path = Path("recipe.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return "recipe.yaml"

    return write


def told(path: str, *overrides: str) -> list[str]:
    """The lines of the error that loading ends with."""
    with pytest.raises(SettingsError) as caught:
        load(Recipe, path, overrides)
    return str(caught.value).splitlines()


class TestReading:
    def test_a_whole_recipe(self, write):
        text = """
target: models/a  # a shorthand
sources: [models/b, {path: models/c, dtype: bfloat16}]
fuse: {method: uld, lambda: 1}
lr: 1e-5
fresh: true
"""
        assert load(Recipe, write(text)) == Recipe(
            target=Source(path=Path("models/a")),
            sources=(
                Source(path=Path("models/b")),
                Source(path=Path("models/c"), dtype="bfloat16"),
            ),
            fuse=Uld(lambda_=1.0),
            lr=1e-5,
            fresh=True,
        )

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-5", 1e-5),
            ("1E5", 1e5),
            (".5", 0.5),
            ("-2.", -2.0),
            ("12", 12.0),
            (".inf", math.inf),
            ("-.inf", -math.inf),
        ],
    )
    def test_numbers(self, write, text, value):
        assert load(Recipe, write(f"target: a\nlr: {text}")).lr == value

    @pytest.mark.parametrize(
        "word",
        ["no", "yes", "on", "True", "2001-01-01", "1_000", "0o17", "0x1f", "12:30", "<<", "="],
    )
    def test_words_that_other_yaml_takes_for_something_else(self, write, word):
        assert load(Recipe, write(f"target: a\nnote: {word}")).note == word

    def test_a_number_with_zeros_in_front_is_decimal(self, write):
        assert load(Recipe, write("target: a\ntop_k: 010")).top_k == 10

    def test_a_path_stays_as_it_is_written(self, write):
        assert load(Recipe, write("target: ../a")).target.path == Path("../a")

    def test_no_torch(self):
        code = "import sys, inarch.settings; sys.exit('torch' in sys.modules)"
        assert run([sys.executable, "-c", code], check=False).returncode == 0


class TestAnchors:
    def test_an_alias_stands_for_its_anchor(self, write):
        path = write("target: &a {path: x, dtype: bfloat16}\nsources: [*a, {path: y}, *a]")
        recipe = load(Recipe, path, anchors=True)
        assert [source.path.name for source in recipe.sources] == ["x", "y", "x"]
        assert recipe.sources[0] == recipe.target

    def test_own_keys_win_over_those_that_are_merged_in(self, write):
        path = write(
            "target: &a {path: x, dtype: bfloat16}\n"
            "sources: [{<<: *a, path: y}, {path: z, <<: *a}, {<<: [*a], dtype: float32}]"
        )
        sources = load(Recipe, path, anchors=True).sources
        assert [source.path.name for source in sources] == ["y", "z", "x"]
        assert [source.dtype for source in sources] == ["bfloat16", "bfloat16", "float32"]

    def test_the_first_of_merged_mappings_wins(self, write):
        text = "target: a\nweights: {<<: [&x {p: 1, q: 2}, {q: 3, r: 4}], r: 5}"
        assert load(Recipe, write(text), anchors=True).weights == {"p": 1, "q": 2, "r": 5}

    def test_a_quoted_merge_key_is_a_key(self, write):
        assert load(Recipe, write('target: a\nweights: {"<<": 1}'), anchors=True).weights == {
            "<<": 1
        }

    def test_errors_name_the_line_of_the_anchor(self, write):
        path = write("sources:\n- &a\n  path: x\n  dtype: int8\ntarget: *a")
        with pytest.raises(SettingsError) as caught:
            load(Recipe, path, anchors=True)
        assert [line.split(": found")[0] for line in str(caught.value).splitlines()] == [
            "recipe.yaml:4: target.dtype",
            "recipe.yaml:4: sources.0.dtype",
        ]

    def test_a_page_that_describes_gigabytes_stays_small(self, write):
        lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
        with pytest.raises(SettingsError, match="more than 100000 values, once aliases"):
            load(Recipe, write("\n".join(lines)), anchors=True)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("target: &a [*a]", "recipe.yaml:1: this is no YAML: "),
            ("target: *a", "recipe.yaml:1: this is no YAML: found undefined alias"),
            ("target: a\nweights:\n  <<: 1", "recipe.yaml:3: .*`<<` takes the alias of a mapping"),
            ("target: !!str a", "recipe.yaml:1: this is no YAML: a YAML tag is not supported"),
            ("a: 1\n---\nb: 1", "recipe.yaml:2: this is no YAML: a second document begins here"),
        ],
    )
    def test_what_is_refused(self, write, text, problem):
        with pytest.raises(SettingsError, match=problem):
            load(Recipe, write(text), anchors=True)

    def test_a_document_may_have_marks_around_it(self, write):
        assert load(Recipe, write("---\ntarget: a\n...\n")).target.path == Path("a")


class TestCheck:
    def test_problems_come_with_their_lines(self, write):
        path = write("target: a\nsources:\n- b\n- path: c\n")

        def check(recipe):
            yield ("sources", 1, "path"), f"{recipe.sources[1].path} is no good"
            yield ("lr",), "too small"

        with pytest.raises(SettingsError) as caught:
            load(Recipe, path, ("lr=1",), check=check)
        assert str(caught.value).splitlines() == [
            "recipe.yaml:4: sources.1.path: c is no good",
            "--set lr=1: lr: too small",
        ]

    def test_nothing_wrong(self, write):
        assert load(Recipe, write("target: a"), check=lambda recipe: []).target.path == Path("a")


class TestOverrides:
    def test_they_come_after_the_file_and_in_order(self, write):
        path = write("target: a\nlr: 1\nsources: [b, {path: c}]")
        overrides = ("lr=2", "lr=1e-3", "sources.1.path=d", "fuse.method=uld", "fuse.lambda=0.5")
        recipe = load(Recipe, path, overrides)
        assert recipe.lr == 1e-3
        assert [source.path.name for source in recipe.sources] == ["b", "d"]
        assert recipe.fuse == Uld(lambda_=0.5)

    def test_a_section_may_be_empty_in_the_file(self, write):
        assert load(Recipe, write("target: a\nfuse:\n"), ("fuse.method=uld",)).fuse == Uld()

    def test_the_value_is_yaml_and_may_hold_an_equals_sign(self, write):
        recipe = load(Recipe, write("target: a"), ("sources=[b, c]", "note=a=b", "seed=null"))
        assert len(recipe.sources) == 2
        assert recipe.note == "a=b"
        assert recipe.seed is None

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("lr=fast", '--set lr=fast: lr: found "fast", expected a number'),
            ("lr", "--set lr: expected key=value, such as --set train.lr=1e-4"),
            ("=1", "--set =1: expected key=value, such as --set train.lr=1e-4"),
            ("a..b=1", "--set a..b=1: expected key=value, such as --set train.lr=1e-4"),
            ("fuze.floor=3", "--set fuze.floor=3: fuze: unknown key; did you mean `fuse`?"),
            ("topk=3", "--set topk=3: topk: unknown key; did you mean `top_k`?"),
            (
                "sources.2=x",
                "--set sources.2=x: sources is a list, which has no `2`; "
                "set all of sources instead",
            ),
            (
                "target.dtype=x",
                '--set target.dtype=x: target is "a", which has no `dtype`; '
                "set all of target instead",
            ),
        ],
    )
    def test_mistakes_name_the_override(self, write, override, line):
        assert told(write("target: a\nlr: 1\nsources: [b, c]"), override) == [line]

    def test_a_value_that_is_no_yaml(self, write):
        (line,) = told(write("target: a"), "lr=[")
        assert line.startswith("--set lr=[: this is no YAML: ")

    def test_a_mistake_in_the_file_that_is_overridden_is_none(self, write):
        assert load(Recipe, write("target: a\nlr: {x: 1}"), ("lr=1",)).lr == 1


class TestMistakes:
    def test_all_are_listed_with_file_line_key_found_and_expected(self, write):
        text = """target: a
sources:
  - b
  - {pth: c, dtype: bfloat61}
fuse:
  method: uld
  lamda: 1
lr: '1e-5'
fresh: "false"
top_k: 0
width: wide
seed: 1.5
weights: {a: x}
Target: b
"""
        assert told(write(text)) == [
            "recipe.yaml:4: sources.1.path: missing, and has no default",
            "recipe.yaml:4: sources.1.dtype: found \"bfloat61\", expected 'float32' or 'bfloat16'; "
            "did you mean `bfloat16`?",
            "recipe.yaml:4: sources.1.pth: unknown key; did you mean `path`?",
            "recipe.yaml:7: fuse.lamda: unknown key; did you mean `lambda`?",
            'recipe.yaml:8: lr: found "1e-5", expected a number',
            'recipe.yaml:9: fresh: found "false", expected true or false',
            "recipe.yaml:10: top_k: found 0, expected greater than or equal to 1",
            "recipe.yaml:11: width: found \"wide\", expected a whole number or 'auto'",
            "recipe.yaml:12: seed: found 1.5, expected a whole number",
            'recipe.yaml:13: weights.a: found "x", expected a number',
            "recipe.yaml:14: Target: unknown key; did you mean `target`?",
        ]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "target: a\nxyz: 1",
                "recipe.yaml:2: xyz: unknown key; known are target, sources, fuse, lr, fresh, "
                "top_k, width, seed, note, weights",
            ),
            ("lr: 1", "recipe.yaml: target: missing, and has no default"),
            (
                "target: a\nfuse: {method: minse}",
                "recipe.yaml:2: fuse.method: found \"minse\", expected 'mince', 'uld'; "
                "did you mean `mince`?",
            ),
            (
                "target: a\nfuse: {floor: 1}",
                "recipe.yaml:2: fuse: has no 'method', which says the kind",
            ),
            ("target: a\nfuse: 3", "recipe.yaml:2: fuse: found 3, expected a mapping"),
            ("target: a\nsources: b", 'recipe.yaml:2: sources: found "b", expected a list'),
            ("target: a\nfresh: no", 'recipe.yaml:2: fresh: found "no", expected true or false'),
            ("target: a\nfresh: 1", "recipe.yaml:2: fresh: found 1, expected true or false"),
            ("target: a\ntop_k: true", "recipe.yaml:2: top_k: found true, expected a whole number"),
            ("target: a\nlr:", "recipe.yaml:2: lr: found nothing, expected a number"),
            (
                "target: a\nseed: 1\nfresh: true",
                "recipe.yaml: the file: delete `seed`: a fresh run draws its own",
            ),
            (
                "target: a\ntarget: b",
                "recipe.yaml:2: this is no YAML: the key `target` appears twice in one mapping",
            ),
            (
                "a: 1\nb: c: d",
                "recipe.yaml:2: this is no YAML: mapping values are not allowed here",
            ),
            (
                "a: &x 1\nb: *x",
                "recipe.yaml:1: this is no YAML: "
                "a YAML anchor is not supported; write the plain value",
            ),
            (
                "a: !!python/name:os.system",
                "recipe.yaml:1: this is no YAML: "
                "a YAML tag is not supported; write the plain value",
            ),
            ("? [a]\n: b", "recipe.yaml:1: this is no YAML: a key must be a word"),
            ("", "recipe.yaml: found nothing, expected lines of `key: value`"),
            ("# only\n---\n", "recipe.yaml: found nothing, expected lines of `key: value`"),
            ("- a", "recipe.yaml: found a list, expected lines of `key: value`"),
            ("word", 'recipe.yaml: found "word", expected lines of `key: value`'),
            (b"target: \xff", "recipe.yaml: byte 8 is not UTF-8; save it as UTF-8"),
        ],
    )
    def test_each_alone(self, write, text, line):
        assert told(write(text)) == [line]

    @pytest.mark.parametrize("text", ["a: 1\n---\nb: 2", "a: \x00", "[" * 5000])
    def test_what_the_parser_gives_up_on(self, write, text):
        assert ": this is no YAML: " in told(write(text))[0]

    def test_an_absent_file(self, write):
        assert told("absent.yaml") == [
            "cannot read the settings file absent.yaml: No such file or directory"
        ]

    def test_a_folder(self, write):
        assert told(".") == ["cannot read the settings file .: Is a directory"]

    def test_a_long_value_is_cut(self, write):
        assert len(told(write(f"target: a\nlr: {'x' * 5000}"))[0]) < 150


class TestDump:
    @given(
        note=st.text(string.printable + "é☃😀\x85\u2028", max_size=30),
        words=st.dictionaries(
            st.text(string.printable, min_size=1, max_size=8), st.floats(allow_nan=False)
        ),
        lr=st.floats(allow_nan=False),
        seed=st.none() | st.integers(-(10**30), 10**30),
    )
    def test_comes_back_equal(self, tmp_path_factory, note, words, lr, seed):
        recipe = Recipe(
            target=Source(path=Path("a b")),
            sources=(Source(path=Path("1e5")), Source(path=Path("null"))),
            fuse=Uld(lambda_=0.25),
            lr=lr,
            seed=seed,
            note=note,
            weights=words,
        )
        path = tmp_path_factory.getbasetemp() / "dump.yaml"
        path.write_text(dump(recipe), encoding="utf-8", newline="")
        assert load(Recipe, path) == recipe

    @pytest.mark.parametrize("note", ["1e-5", "true", "null", "~", "", "-1", "0x1f", "a: b", "- a"])
    def test_words_that_look_like_numbers_are_quoted(self, tmp_path, note):
        recipe = Recipe(target=Source(path=Path("a")), note=note)
        (tmp_path / "r.yaml").write_text(dump(recipe))
        assert load(Recipe, tmp_path / "r.yaml") == recipe

    def test_plain_values_are_what_any_yaml_reader_sees(self):
        recipe = Recipe(target=Source(path=Path("a")), fuse=Uld(lambda_=0.5))
        assert yaml.safe_load(dump(recipe)) == to_dict(recipe)
        assert to_dict(recipe)["fuse"] == {"method": "uld", "lambda": 0.5}


def test_a_mistake_of_the_whole_without_a_file_names_the_command_line():
    with pytest.raises(SettingsError) as caught:
        load(Recipe, None, ["target=a", "fresh=true", "seed=1"])
    assert str(caught.value).startswith("the command line: delete `seed`")
