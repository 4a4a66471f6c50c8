"""Which row each token of a merged model is made of: by hand, and beside mergekit."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.merge.vocabularies import EMBED, HEAD, save, source, words
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from inarch.errors import SettingsError, WeightsError
from inarch.merge._token_settings import TokenizerSettings
from inarch.merge._tokens import TokenPlan, token_plan
from inarch.merge._vocabulary import is_vocabulary
from inarch.settings import load


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models: B has rows without tokens, C a tied head."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "a": save(folder / "a", words("<unk> <s> </s> cat dog mat"), 1),
        "b": save(folder / "b", words("<unk> <s> </s> dog cat sun", "<|im|>"), 2, extra=3),
        "c": save(
            folder / "c", words("<unk> moon sun <s> </s> cat", "<|x|>", "<|im|>"), 3, tied=True
        ),
    }
    return {label: model._replace(label=label) for label, model in made.items()}


def plan_of(
    models, use: str, settings: object, base: str | None = None, template=None
) -> TokenPlan:
    chosen = [models[label] for label in use]
    made = None if settings is None else TokenizerSettings.model_validate(settings)
    return token_plan(made, template, chosen, None if base is None else use.index(base))


def rows_of(plan: TokenPlan, models, use: str, name: str = EMBED) -> list[list[float]]:
    """The first number of each row of each model, as it is merged."""
    remapped = plan.remap(name, [source(models[label], name) for label in use])
    made = []
    for one in remapped:
        out = np.empty(np.prod(one.shape), np.float32)
        assert one.fill(0, out)
        made.append(out.reshape(one.shape)[:, 0].tolist())
    return made


def test_union_by_hand(models):
    plan = plan_of(models, "abc", {"source": "union"})
    # a's tokens, then b's sun and <|im|>, then c's moon and <|x|>.
    assert plan.vocab_size == 10
    assert plan.tokenizer.new == {"sun": 6, "<|im|>": 7, "moon": 8, "<|x|>": 9}
    assert list(plan.tokenizer.added) == ["<|im|>", "<|x|>"]
    a, b, c = rows_of(plan, models, "abc")
    # a lacks sun and <|im|>: the means of b's and c's rows 2005 and 3002, 2006 and 3007.
    assert a == [1000, 1001, 1002, 1003, 1004, 1005, 2503.5, 2506.5, 3001, 3006]
    # b's dog is its row 3 and its cat row 4; a alone has mat, c alone moon and <|x|>.
    assert b == [2000, 2001, 2002, 2004, 2003, 1005, 2005, 2006, 3001, 3006]
    # c lacks dog: the mean of 1004 and 2003.
    assert c == [3000, 3003, 3004, 3005, 1503.5, 1005, 3002, 3007, 3001, 3006]


def test_the_base_stands_in_and_numbers_the_union(models):
    plan = plan_of(models, "abc", {"source": "union"}, base="b")
    assert plan.tokenizer.new == {"mat": 7, "moon": 8, "<|x|>": 9}
    a, _, c = rows_of(plan, models, "abc")
    # <unk> <s> </s> dog cat sun <|im|> mat moon <|x|>; a lacks sun and <|im|>, b has them.
    assert a == [1000, 1001, 1002, 1004, 1003, 2005, 2006, 1005, 3001, 3006]
    assert c == [3000, 3003, 3004, 2003, 3005, 3002, 3007, 1005, 3001, 3006]


def test_the_head_grows_with_the_embedding_and_may_be_tied_in_one_model(models):
    plan = plan_of(models, "ac", {"source": "union"})
    a, c = rows_of(plan, models, "ac", HEAD)
    # <unk> <s> </s> cat dog mat | moon sun <|x|> <|im|>; c's head is its embedding, without 0.5.
    assert a == [1000.5, 1001.5, 1002.5, 1003.5, 1004.5, 1005.5, 3001, 3002, 3006, 3007]
    assert c == [3000, 3003, 3004, 3005, 1004.5, 1005.5, 3001, 3002, 3006, 3007]


def test_source_of_another_model_brings_its_special_ids(models):
    plan = plan_of(models, "ab", {"source": "b"}, base="a")
    assert (plan.origin, plan.vocab_size) == (1, 7)
    plan = plan_of(models, "ac", {"source": "c"}, base="a")
    config = {
        "vocab_size": 6,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "text_config": {"vocab_size": 6},
        "llm_config": None,
    }
    assert plan.patch(config) == {
        "vocab_size": 8,
        "bos_token_id": 3,
        "eos_token_id": 4,
        "text_config": {"vocab_size": 8},
        "llm_config": None,
    }


def test_configs_keep_what_the_origin_does_not_change(models):
    # Generation configs list more ways to end than the config; that list is the better one.
    plan = plan_of(models, "ac", {"source": "c"}, base="a")
    assert plan.patch({"eos_token_id": [4, 9], "top_k": 5}) == {"eos_token_id": [4, 9], "top_k": 5}
    assert plan.patch({"eos_token_id": [2, 9]}) == {"eos_token_id": 4}
    # Without a tokenizer key, nothing is touched, however many rows there are.
    plan = plan_of(models, "a", None)
    config = {"vocab_size": 5, "eos_token_id": 77}
    assert plan.patch(config) == config


@pytest.mark.parametrize(
    ("rule", "dog"),
    [
        # Rows of dog in a, b and c; c lacks it.
        ({}, [1004, 2003, 1503.5]),
        ({"source": "b"}, [1004, 2003, 2003]),
        ({"source": "b", "force": True}, [2003, 2003, 2003]),
        ({"source": {"kind": "zero"}}, [1004, 2003, 0]),
        ({"source": {"kind": "zero"}, "force": True}, [0, 0, 0]),
        ({"source": {"kind": "model_token", "model": "c", "token": "moon"}}, [1004, 2003, 3001]),
        (
            {"source": {"kind": "model_token", "model": "b", "token_id": 8}, "force": True},
            [2008, 2008, 2008],
        ),
    ],
)
def test_rules_of_single_tokens(models, rule, dog):
    plan = plan_of(models, "abc", {"tokens": {"dog": rule}})
    assert [rows[4] for rows in rows_of(plan, models, "abc")] == dog


def test_a_new_token_is_added_behind_all(models):
    rule = {"source": {"kind": "model_token", "model": "c", "token": "moon"}}
    plan = plan_of(models, "ab" + "c", {"source": "base", "tokens": {"<new>": rule}})
    assert plan.tokenizer.new == {"<new>": 6}
    assert not plan.tokenizer.added["<new>"]["special"]
    assert [rows[6] for rows in rows_of(plan, models, "abc")] == [3001] * 3


def test_padding_rows_are_the_mean_of_the_rows_that_are_merged(models):
    plan = plan_of(models, "ab", {"source": "base", "pad_to_multiple_of": 8}, base="a")
    a, b = rows_of(plan, models, "ab")
    assert plan.vocab_size == 8
    assert a[6:] == [1002.5, 1002.5]
    # 2000 2001 2002 2004 2003, and a's 1005 for mat.
    assert b[6:] == [np.float32((10010 + 1005) / 6)] * 2


def test_rows_between_the_tokens_are_the_origins(models, tmp_path):
    holed = words("<unk> <s> </s>")
    state = json.loads(holed.backend_tokenizer.to_str())
    state["model"]["vocab"]["cat"] = 4  # and no token is 3
    holed = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    chosen = models | {"h": save(tmp_path / "h", holed, 7, extra=2)._replace(label="h")}
    plan = plan_of(chosen, "ah", {"source": "h"})
    a, h = rows_of(plan, chosen, "ah")
    assert h == [7000, 7001, 7002, 7003, 7004]
    assert a == [1000, 1001, 1002, 7003, 1003]
    plan = plan_of(chosen, "ha", {"source": "union"}, base="h")
    assert plan.tokenizer.new == {"dog": 5, "mat": 6}
    assert rows_of(plan, chosen, "ha")[1] == [1000, 1001, 1002, 7003, 1003, 1004, 1005]


def test_a_vocabulary_larger_than_the_embedding(models, tmp_path):
    short = save(tmp_path / "short", words("<unk> moon sun <s> </s> cat", "<|x|>", "<|im|>"), 5)
    plan = token_plan(
        TokenizerSettings(source="base"), None, [short._replace(rows=6), models["b"]], 0
    )
    # The last two tokens have no row of their own: one is taken from b, the other from nobody.
    own = plan.layout.own
    assert own[0].tolist() == [0, 1, 2, 3, 4, 5, -1, -1]
    assert plan.layout.givers.offsets[-3:].tolist() == [1, 1, 2]
    assert any("2 tokens beyond the 6 rows" in note for note in plan.notes)
    assert any("1 rows come from no model and are zeros" in note for note in plan.notes)


def test_without_a_key_rows_must_agree(models, tmp_path):
    with pytest.raises(
        SettingsError, match=r"a has 6 rows, b has 10 rows; add `tokenizer_source: u"
    ):
        plan_of(models, "ab", None)
    resized = save(tmp_path / "r", words("<unk> <s> </s> cat dog mat"), 4, extra=2)
    plan = token_plan(None, None, [models["a"], resized], 0)
    assert plan.vocab_size == 6
    assert plan.notes == (
        "Embeddings and heads are cropped to 6 rows; the others stand for no token.",
    )
    chosen = {"a": models["a"], "r": resized}
    assert rows_of(plan, chosen, "ar")[1] == [4000, 4001, 4002, 4003, 4004, 4005]
    assert plan.remap("model.norm.weight", [None, None]) == [None, None]
    # Equal rows of other tokens are merged, as mergekit does, but not in silence.
    other = save(tmp_path / "o", words("<unk> <s> </s> dog cat hat"), 4)
    plan = token_plan(None, None, [models["a"], other._replace(label="o")], 0)
    assert plan.layout is None
    assert "o has 3 tokens that a lacks or gives another id" in plan.notes[0]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"source": "d"}, SettingsError, "expected union, base, one of the models"),
        ({"tokens": {"mat": {"source": "c"}}}, SettingsError, "token 'mat' of c, which does not"),
        ({"tokens": {"mat": {"source": "d"}}}, SettingsError, "names the model 'd', expected one"),
        ({"tokens": {"<n>": {}}}, SettingsError, "no model has '<n>'"),
        ({"tokens": {"<n>": {"source": "a"}}}, SettingsError, "'<n>' of a, which does not"),
        (
            {"tokens": {"n": {"source": {"kind": "model_token", "model": "c", "token_id": 8}}}},
            SettingsError,
            "takes row 8 of c, which has the rows 0 to 7",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(models, settings, error, words):
    with pytest.raises(error, match=words):
        plan_of(models, "abc", settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens: {x: {force: true}}", "force has no effect here; it needs a source"),
        ("tokens: {x: {source: {kind: zeroes}}}", "zero"),
        ("tokens: {x: {source: {kind: model_token, model: a}}}", "one of token and token_id"),
        ("pad_to_multiple_of: 0", "pad_to_multiple_of"),
        ("sauce: union", "did you mean `source`"),
    ],
)
def test_what_settings_say(tmp_path, text, words):
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load(TokenizerSettings, tmp_path / "x.yml")


def test_a_model_that_lacks_what_others_take_from_it(models):
    plan = plan_of(models, "ab", {"source": "union"})
    there = source(models["a"], EMBED)
    with pytest.raises(WeightsError, match=r"b has no lm_head.bias, from which tokens"):
        plan.remap("lm_head.bias", [there, None])
    plan = plan_of(models, "ab", {"source": "b"}, base="a")
    with pytest.raises(WeightsError, match="b has no"):
        plan.remap("lm_head.bias", [there, None])


def test_a_head_with_fewer_rows_than_the_embedding(models):
    plan = plan_of(models, "ab", {"source": "union"})
    embedding, head = source(models["a"], EMBED), source(models["b"], HEAD)
    with pytest.raises(WeightsError, match=r"b: lm_head.weight has 6 rows, expected 10"):
        plan.remap(HEAD, [embedding, Short(head)])


class Short:
    """The first 6 rows of a source."""

    label = "b"

    def __init__(self, source) -> None:
        self.shape, self.dtype = (6, *source.shape[1:]), source.dtype


def test_a_model_without_tokenizer(models, tmp_path):
    bare = models["a"]._replace(folder=tmp_path, label="bare")
    with pytest.raises(WeightsError, match="bare has no tokenizer in"):
        token_plan(TokenizerSettings(), None, [models["b"], bare], None)
    # Nothing is needed of it where nothing is remapped.
    plan = token_plan(None, None, [bare, bare], None)
    plan.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_which_tensors_are_about_the_vocabulary():
    for name in (
        *("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias", "transformer.wte.weight"),
        *("gpt_neox.embed_in.weight", "embed_out.weight", "wte.weight", "output.weight"),
        *("model.language_model.embed_tokens.weight", "transformer.word_embeddings.weight"),
        *("backbone.embeddings.weight", "model.tok_embeddings.weight", "layers.0.wte.weight"),
    ):
        assert is_vocabulary(name), name
    for name in (
        *("model.norm.weight", "transformer.wpe.weight", "model.layers.3.mlp.up_proj.weight"),
        *("embeddings.position_embeddings.weight", "model.layers.1.attention.output.weight"),
        "model.layers.0.attention.output.dense.weight",
    ):
        assert not is_vocabulary(name), name


# -------------------------------------------------------------------------------- beside mergekit


CASES = {
    "union": ("abc", None, {"tokenizer_source": "union"}),
    "union with a base": ("abc", "b", {"tokenizer_source": "union"}),
    "base": ("abc", "b", {"tokenizer_source": "base"}),
    "a model": ("abc", None, {"tokenizer_source": "c"}),
    "two tied heads": ("cab", "c", {"tokenizer_source": "union"}),
    "padding": ("abc", "a", {"tokenizer": {"source": "union", "pad_to_multiple_of": 16}}),
    "rules": (
        "abc",
        "c",
        {
            "tokenizer": {
                "tokens": {
                    "cat": {"source": "a", "force": True},
                    "moon": {"source": {"kind": "zero"}},
                    "sun": {"source": {"kind": "model_token", "model": "b", "token_id": 8}},
                    "<new>": {"source": {"kind": "model_token", "model": "a", "token": "mat"}},
                    "dog": {"source": "b"},
                },
            }
        },
    ),
    # mergekit 0.1.5 adds no token to a tokenizer that is not a union (KeyError).
    "rules over the base": (
        "abc",
        "c",
        {"tokenizer": {"source": "base", "tokens": {"cat": {"source": "a", "force": True}}}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_parity_with_mergekit(models, tmp_path, case):
    pytest.importorskip("mergekit")
    use, base, keys = CASES[case]
    weights = np.array([0.25, 0.5, 1.0][: len(use)], np.float32)
    theirs, vocabulary = merged_by_mergekit(tmp_path, models, use, weights, base, keys)
    settings = keys.get("tokenizer") or {"source": keys["tokenizer_source"]}
    plan = plan_of(models, use, settings, base)
    ours = dict(plan.tokenizer.new)
    ours |= AutoTokenizer.from_pretrained(models[use[plan.origin]].folder).get_vocab()
    assert ours.keys() == vocabulary.keys()
    if base:
        assert all(ours[token] == vocabulary[token] for token in ours if ours[token] < 6)
    for name in (EMBED, HEAD):
        rows = np.array(rows_of(plan, models, use, name), np.float32)
        expected = (rows * weights[:, None]).sum(axis=0)
        assert len(expected) == len(theirs[name])
        for token, index in ours.items():
            np.testing.assert_allclose(
                theirs[name][vocabulary[token], 0], expected[index], rtol=1.2e-7, err_msg=token
            )
        if len(expected) > len(ours):  # padding is a mean, which mergekit takes in float32
            np.testing.assert_allclose(
                theirs[name][len(ours) :, 0], expected[len(ours) :], rtol=1e-6
            )


def merged_by_mergekit(folder: Path, models, use, weights, base, keys):
    """The tensors of a linear merge, unnormalised, in float32, and its vocabulary."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    text = json.dumps(
        {
            "merge_method": "linear",
            "models": [
                {"model": label, "parameters": {"weight": float(weight)}}
                for label, weight in zip(use, weights, strict=True)
            ],
            "parameters": {"normalize": False},
            "dtype": "float32",
            **({"base_model": base} if base else {}),
            **keys,
        }
    )
    for label in use:
        text = text.replace(f'"{label}"', f'"{models[label].folder}"')
    run_merge(
        MergeConfiguration.model_validate(yaml.safe_load(text)),
        str(folder),
        MergeOptions(quiet=True),
    )
    state = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    made = {name: tensor.numpy() for name, tensor in state.items()}
    return made, AutoTokenizer.from_pretrained(folder).get_vocab()
