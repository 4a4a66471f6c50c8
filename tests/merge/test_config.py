"""Recipes as they are written: what is read, and what every mistake is told as."""

import pytest
import yaml

from inarch.errors import SettingsError
from inarch.merge import METHODS, load_config
from inarch.merge._config import MergeConfig, ModelRef
from inarch.settings import dump


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text: str, *overrides: str) -> MergeConfig:
        (tmp_path / "r.yml").write_text(text, encoding="utf-8")
        return load_config("r.yml", METHODS, overrides)

    return read


@pytest.fixture
def told(read):
    def told(text: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            read(text)
        return str(caught.value).splitlines()

    return told


LINEAR = "merge_method: linear\nmodels:\n- model: a\n  parameters: {weight: 1}\n"


class TestModels:
    @pytest.mark.parametrize(
        ("text", "path", "revision", "lora", "lora_revision"),
        [
            ("org/m", "org/m", None, None, None),
            ("org/m@v1", "org/m", "v1", None, None),
            ("org/m+org/l", "org/m", None, "org/l", None),
            ("org/m@v1+org/l@v2", "org/m", "v1", "org/l", "v2"),
            ("org/m@refs/pr/1", "org/m", "refs/pr/1", None, None),
            ("/data/a@b/m", "/data/a@b/m", None, None, None),
            ("./a@b+./l@c", "./a@b", None, "./l@c", None),
            ("./模型 😀/m", "./模型 😀/m", None, None, None),
            ("D:/Uni/M A/m", "D:/Uni/M A/m", None, None, None),
            ("C:\\models\\m", "C:\\models\\m", None, None, None),
        ],
    )
    def test_text(self, text, path, revision, lora, lora_revision):
        ref = ModelRef.model_validate(text)
        assert (ref.model.path, ref.model.revision) == (path, revision)
        assert (ref.lora and ref.lora.path, ref.lora and ref.lora.revision) == (lora, lora_revision)
        assert str(ref) == text
        assert ref.model_dump() == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ({"model": {"path": "m", "revision": "v"}, "lora": {"path": "l"}}, "m@v+l"),
            ({"model": "m@v", "lora": "l@w"}, "m@v+l@w"),
            ({"path": "m", "revision": "v"}, "m@v"),
            ({"model": {"path": "m"}, "lora": None, "override_architecture": None}, "m"),
        ],
    )
    def test_mappings(self, value, text):
        assert str(ModelRef.model_validate(value)) == text

    def test_a_mapping_takes_a_path_as_it_is(self):
        ref = ModelRef.model_validate({"model": {"path": "out/a+b@c"}})
        assert (ref.model.path, ref.lora) == ("out/a+b@c", None)
        assert ModelRef.model_validate(ref.model_dump()) == ref

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ("a+b+c", "expected one \\+ at most"),
            ("org/a@b@c", "expected one @ at most"),
            ("", "at least 1 character"),
            ("+l", "at least 1 character"),
            (5, "valid dictionary"),
            (None, "valid dictionary"),
            ({"model": "a", "override_architecture": "X"}, "override_architecture is not supp"),
            ({"model": "a", "revsion": "x"}, "Extra inputs"),
        ],
    )
    def test_what_is_refused(self, value, problem):
        with pytest.raises(ValueError, match=problem):
            ModelRef.model_validate(value)


class TestReading:
    def test_a_whole_recipe(self, read):
        config = read(
            """
name: 我的模型
merge_method: task_arithmetic
slices:
- sources:
  - {model: base, layer_range: [0, 8]}
  - model: a
    layer_range: [0, 8]
    parameters: {weight: [0, 0.5, 1]}
  parameters:  # nothing
- sources:
  - {model: base, layer_range: [8, 9]}
base_model: base
parameters:
  lambda: [{filter: mlp, value: 0.3}, {value: 1}]
  normalize: yes
dtype: float32
out_dtype: bfloat16
tokenizer: {source: union, tokens: {<|im_end|>: {source: a, force: true}}, pad_to_multiple_of: 8}
chat_template: auto
"""
        )
        assert config.slices[0].sources[1].parameters["weight"][0].value == (0.0, 0.5, 1.0)
        assert config.parameters["lambda"][0].filter == "mlp"
        assert config.tokenizer.tokens["<|im_end|>"].force
        assert config.token_settings is config.tokenizer

    def test_anchors(self, read):
        config = read(
            "merge_method: linear\nmodels:\n- model: a\n  parameters: &p {weight: 1}\n"
            "- {model: b, parameters: *p}\n- {model: c, parameters: {<<: *p}}\n"
        )
        assert [entry.parameters["weight"][0].value for entry in config.models] == [(1.0,)] * 3

    def test_overrides(self, read):
        config = read(LINEAR, "dtype=bfloat16", "models.0.parameters.weight=[0,1]")
        assert config.dtype == "bfloat16"
        assert config.models[0].parameters["weight"][0].value == (0.0, 1.0)

    @pytest.mark.parametrize(
        ("source", "made"),
        [
            ("union", "union"),
            ("org/m@v", "org/m@v"),
            ("model:org/m", "org/m"),
            ("{model: {path: m}}", "m"),
        ],
    )
    def test_the_short_form_of_the_tokenizer(self, read, source, made):
        assert read(LINEAR + f"tokenizer_source: {source}").token_settings.source == made

    @pytest.mark.parametrize("word", ["yes", "True", "true", "ON"])
    def test_truth_as_yaml_1_1_has_it(self, read, word):
        text = f"int8_mask: {word}\ntokenizer: {{tokens: {{x: {{source: a, force: {word}}}}}}}"
        config = read(LINEAR + text)
        assert config.int8_mask is True
        assert config.tokenizer.tokens["x"].force is True

    def test_a_recipe_without_a_tokenizer(self, read):
        assert read(LINEAR).token_settings is None

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "torch.float32", "fp16", "bf16"])
    def test_number_formats(self, read, dtype):
        assert read(LINEAR + f"dtype: {dtype}").dtype == dtype

    def test_it_is_saved_as_it_was_written_and_mergekit_reads_it(self, read):
        text = """
merge_method: slerp
slices:
- sources:
  - {model: a@v+l, layer_range: [0, 8]}
  - {model: {model: {path: b+c}}, layer_range: [0, 8]}
  parameters: {t: [{filter: mlp, value: [0, 1]}, {value: 0.5}]}
base_model: a@v+l
tokenizer_source: union
dtype: bfloat16
"""
        config = read(text)
        saved = dump(config)
        assert read(saved) == config
        plain = yaml.safe_load(saved)
        assert None not in plain.values()
        assert plain["slices"][0]["parameters"]["t"] == [
            {"filter": "mlp", "value": [0, 1]},
            {"value": 0.5},
        ]
        mergekit = pytest.importorskip("mergekit.config")
        theirs = mergekit.MergeConfiguration.model_validate(plain)
        assert str(theirs.base_model) == "a@v+l"
        assert theirs.slices[0].sources[1].model.model.path == "b+c"


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("", ["r.yml: found nothing, expected lines of `key: value`"]),
            (
                "merge_method: linear",
                ["r.yml: the file: expected one of `models`, `slices` and `modules`"],
            ),
            (
                "merge_method: linear\nmodels: []",
                ["r.yml: the file: found no models, expected one at least"],
            ),
            (
                LINEAR + "slices: []",
                ["r.yml: the file: expected one of `models`, `slices` and `modules`"],
            ),
            ("models:\n- model: a", ["r.yml: merge_method: missing, and has no default"]),
            (
                "genome: {}\ntasks: []",
                [
                    "r.yml:1: genome: is of mergekit-evolve; see `inarch merge search`",
                    "r.yml:2: tasks: is of mergekit-evolve; see `inarch merge search`",
                ],
            ),
            (
                LINEAR.replace("linear", "linaer"),
                ["r.yml:1: merge_method: unknown method linaer; did you mean `linear`?"],
            ),
            (
                LINEAR.replace("linear", "SLERP"),
                ["r.yml:1: merge_method: unknown method SLERP; did you mean `slerp`?"],
            ),
            (
                LINEAR + "dype: float16\nout_type: float16",
                [
                    "r.yml:5: dype: unknown key; did you mean `dtype`?",
                    "r.yml:6: out_type: unknown key; did you mean `out_dtype`?",
                ],
            ),
            (
                LINEAR + "dtype: int8",
                [
                    "r.yml:5: dtype: found the number format 'int8', expected one of float64, "
                    "float32, float16, bfloat16, float8_e4m3fn, float8_e5m2"
                ],
            ),
            (
                LINEAR + "tokenizer: {source: base}\ntokenizer_source: base",
                ["r.yml: the file: found tokenizer and tokenizer_source, expected one of them"],
            ),
            (
                LINEAR + "weight: 1\nselect_topk: 0.1",
                [
                    "r.yml:5: weight: has no effect here; indent it below `parameters:`",
                    "r.yml:6: select_topk: has no effect here; indent it below `parameters:`",
                ],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  weight: 1\n  revision: v1",
                [
                    "r.yml:4: models.0.weight: has no effect here; indent it below `parameters:`",
                    "r.yml:5: models.0.revision: write the revision behind the model: "
                    "`path@revision`",
                ],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  layer_range: [0, 1]",
                ["r.yml:4: models.0.layer_range: has no effect below `models`; use `slices`"],
            ),
            (
                "merge_method: linear\ngate_mode: hidden\nexperts:\n- {source_model: b}",
                [
                    "r.yml:2: gate_mode: is of mergekit-moe, which builds mixtures of experts; "
                    "this merges checkpoints of one kind",
                    "r.yml:3: experts: is of mergekit-moe, which builds mixtures of experts; this "
                    "merges checkpoints of one kind",
                ],
            ),
            (
                "merge_method: linear\nslices:\n- sources:\n  - model: a\n    layer_range: [3, 1]",
                [
                    "r.yml:4: slices.0.sources.0: found layer_range [3, 1], expected [first, end] "
                    "with 0 <= first <= end"
                ],
            ),
            (
                "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n"
                "  - {model: b, layer_range: [0, 3]}",
                ["r.yml:3: slices.0: found sources of [2, 3] layers, expected as many of each"],
            ),
            (
                "merge_method: linear\nslices:\n- sources: []",
                ["r.yml:3: slices.0: found a slice without sources, expected one at least"],
            ),
            (
                "merge_method: linear\nslices:\n- sources:\n  - model: a",
                ["r.yml:4: slices.0.sources.0.layer_range: missing, and has no default"],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: [1, .nan]",
                ["r.yml:5: models.0.parameters.weight: found nan, expected a finite number"],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight:",
                ["r.yml:5: models.0.parameters.weight: expected a number, true, false or a word"],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight:\n"
                "    - filter: mlp\n      value: 1\n    - 3",
                ["r.yml:8: models.0.parameters.weight.1: found 3, expected a mapping"],
            ),
            (
                "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight:\n"
                "    - filtr: mlp\n      value: 1",
                [
                    "r.yml:6: models.0.parameters.weight.0.filtr: unknown key; did you mean "
                    "`filter`?"
                ],
            ),
            (
                "merge_method: linear\nmodels: a",
                ['r.yml:2: models: found "a", expected a list'],
            ),
            (
                "merge_method: linear\nmodules: {encoder: {}}",
                ["r.yml:2: modules.encoder: expected either `models` or `slices`"],
            ),
            (
                LINEAR + "---\n" + LINEAR,
                [
                    "r.yml:5: this is no YAML: a second document begins here; give each a file of "
                    "its own"
                ],
            ),
        ],
    )
    def test_the_line_and_the_key_are_named(self, told, text, lines):
        assert told(text) == lines
