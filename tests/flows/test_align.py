"""Training on preferences, from a recipe to a model, on tiny models."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inarch.align import METHODS
from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import align
from inarch.flows.align import AlignRun, rows_of, switch_off_dropout
from inarch.io.files import read_metrics
from inarch.io.tokenizers import load_tokenizer
from inarch.settings import load, validate
from tests.align.test_logps import token_by_token
from tests.tiny import byte_level, save_model

WORDS = "the quick brown fox jumps over lazy dog and cat sat on mat with hat".split()  # noqa: SIM905
TRAIN = {
    "max_steps": 4,
    "batch_size": 4,
    "lr": 1e-3,
    "weight_decay": 0.0,
    "log_every_steps": 1,
    "save_every_steps": None,
}
LN_2 = math.log(2)


def triples(num: int, seed: int = 0) -> list[dict]:
    random = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(low, high)))

    return [
        {
            "prompt": {"role": "user", "content": words(1, 6)},
            "chosen": [{"role": "assistant", "content": words(1, 8)} for _ in range(2)],
            "rejected": [{"role": "assistant", "content": words(9, 12)}],
        }
        for _ in range(num)
    ]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A model with some opinions, and triples."""
    folder = tmp_path_factory.mktemp("world")
    model = AutoModelForCausalLM.from_pretrained(save_model(folder / "model", byte_level()))
    for weight in model.parameters():
        weight.data.mul_(4.0)
    model.save_pretrained(folder / "model")
    write(folder / "triples.jsonl", triples(10))
    return folder


def recipe(world: Path, method="wrpo", *, data: str = "triples.jsonl", **sections) -> AlignRun:
    path = {"path": str(world / data), "max_tokens": 128, "max_prompt_tokens": 64}
    settings = {
        "model": str(world / "model"),
        "data": path | sections.pop("rows", {}),
        "method": method,
        "train": TRAIN | sections.pop("train", {}),
        "device": "cpu",
    }
    return AlignRun(**settings | sections)


def trained(settings: AlignRun, out: Path) -> list[dict]:
    align.run(settings, out)
    return read_metrics(out / "metrics.jsonl")


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def facts(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["facts"]


def assert_same_weights(a: Path, b: Path, tolerance: float) -> None:
    for name, weight in weights(a).items():
        torch.testing.assert_close(
            weights(b)[name], weight, rtol=tolerance, atol=tolerance, msg=name
        )


# ------------------------------------------------------------------------------------ all methods


@pytest.mark.parametrize("method", METHODS)
def test_one_switch_for_all_methods(world: Path, tmp_path: Path, method: str):
    rows = trained(recipe(world, method, train={"max_steps": 12}), tmp_path)
    assert len(rows) == 12
    assert rows[-1]["loss"] < rows[0]["loss"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tmp_path / "model")
    assert facts(tmp_path)["num_rows"] == (20 if method == "kto" else 10)


@pytest.mark.parametrize("method", ["wrpo", "dpo", "ln_dpo"])
@pytest.mark.parametrize("reference", ["copy", "stored", "adapter"])
def test_the_loss_begins_at_ln_2(world: Path, tmp_path: Path, method: str, reference: str):
    lora = {"r": 2, "dropout": 0.5} if reference == "adapter" else None
    settings = recipe(world, method, reference=reference, train={"lora": lora})
    assert trained(settings, tmp_path)[0]["loss"] == pytest.approx(LN_2, abs=1e-5)


def test_alpha_follows_the_steps_and_not_the_micro_batches(world: Path, tmp_path: Path):
    # Facts 6.1: alpha_max 0.1 and 4 steps give 0, 0.025, 0.05, 0.075.
    rows = trained(recipe(world, train={"micro_batch_size": 2}), tmp_path)
    assert [row["alpha"] for row in rows] == pytest.approx([0, 0.025, 0.05, 0.075])
    names = {"alpha", "loss", "rewards/margins", "num_items"}
    for kind in ("chosen", "source_chosen", "target_chosen", "rejected"):
        names |= {f"rewards/{kind}", f"logps/{kind}"}
    names |= {f"rewards/{kind}accuracies" for kind in ("", "source_", "pivot_")}
    assert names <= rows[0].keys()
    assert all(row["num_items"] == 4 for row in rows)


def by_hand(world: Path, trained_model: Path, settings: AlignRun, alpha: float) -> float:
    """WRPO's loss over all rows, from texts and raw logits in float64."""
    policy, before = map(AutoModelForCausalLM.from_pretrained, (trained_model, world / "model"))
    hf = load_tokenizer(str(world / "model")).hf
    beta, total = settings.method.own().beta, 0.0
    rows = triples(10)
    for row in rows:
        prompt = np.array(
            hf.apply_chat_template([row["prompt"]], add_generation_prompt=True)["input_ids"]
        )
        rewards = []
        for answer in (*row["chosen"], *row["rejected"]):
            ids = np.array(hf(answer["content"] + "<|end|>")["input_ids"])
            ratio = token_by_token(policy, prompt, ids) - token_by_token(before, prompt, ids)
            rewards.append(beta * ratio)
        z = alpha * rewards[0] + (1 - alpha) * rewards[1] - rewards[2]
        total += math.log1p(math.exp(-z))
    return total / len(rows)


def test_the_loss_is_that_of_an_independent_scorer(world: Path, tmp_path: Path):
    method = {"name": "wrpo", "beta": 0.02, "alpha": 0.6}
    settings = recipe(
        world, method, train={"batch_size": 10, "lr": 3e-4}, held_out=recipe(world).data
    )
    rows = trained(settings, tmp_path / "four")
    held_out = facts(tmp_path / "four")
    assert held_out["held_out_before"]["loss"] == pytest.approx(LN_2, abs=1e-6)
    expected = by_hand(world, tmp_path / "four" / "model", settings, 0.6)
    assert abs(expected - LN_2) > 0.01
    assert held_out["held_out_after"]["loss"] == pytest.approx(expected, abs=1e-6)
    assert held_out["held_out_after"]["alpha"] == pytest.approx(0.6)
    # The third step's loss is that of the model after two steps of the same run, alpha 0.6 / 2.
    train = {"batch_size": 10, "lr": 3e-4, "save_every_steps": 2, "keep_checkpoints": 2}
    align.run(recipe(world, method, train=train), tmp_path / "saved")
    checkpoint = tmp_path / "saved" / "checkpoints" / "checkpoint-2"
    found = by_hand(world, checkpoint, settings, 0.3)
    assert rows[2]["loss"] == pytest.approx(found, abs=1e-6)


# -------------------------------------------------------------------------------- what is the same


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["copy", "stored"])
def test_two_processes_are_one(world: Path, tmp_path: Path, reference: str):
    settings = recipe(world, reference=reference, held_out=recipe(world).data)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json")))
    # --multi_gpu without a GPU is gloo on the CPU; --cpu would start one process without MPI.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--module"]
    command = [sys.executable, *launcher, "inarch", "align", "train", path]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", tmp_path / "two"], check=True, env=env, timeout=300)
    one, two = trained(settings, tmp_path / "one"), read_metrics(tmp_path / "two/metrics.jsonl")
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "alpha", "rewards/margins", "rewards/accuracies", "num_items"):
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name
    assert_same_weights(tmp_path / "one", tmp_path / "two", 1e-4)


@pytest.mark.parametrize("method", ["wrpo", "simpo", "sft"])
def test_accumulation_changes_nothing(world: Path, tmp_path: Path, method: str):
    whole = trained(recipe(world, method), tmp_path / "whole")
    parts = trained(recipe(world, method, train={"micro_batch_size": 1}), tmp_path / "parts")
    for a, b in zip(whole, parts, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts", 1e-4)


@pytest.mark.parametrize("method", ["wrpo", "kto"])
def test_stored_and_live_references_agree(world: Path, tmp_path: Path, method: str):
    for reference in ("copy", "stored"):
        trained(recipe(world, method, reference=reference), tmp_path / reference)
    live, stored = (read_metrics(tmp_path / r / "metrics.jsonl") for r in ("copy", "stored"))
    for a, b in zip(live, stored, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
    assert_same_weights(tmp_path / "copy", tmp_path / "stored", 1e-4)


def test_both_forms_of_triples_are_one(world: Path, tmp_path: Path):
    rows = [
        {
            "prompt": [row["prompt"]],
            "source": row["chosen"][0]["content"],
            "target": row["chosen"][1]["content"],
            "rejected": row["rejected"][0]["content"],
        }
        for row in triples(10)
    ]
    write(tmp_path / "columns.jsonl", rows)
    one = trained(recipe(world), tmp_path / "one")
    other = trained(recipe(world, rows={"path": str(tmp_path / "columns.jsonl")}), tmp_path / "two")
    assert [row["loss"] for row in one] == [row["loss"] for row in other]


def test_the_order_of_chosen_counts(world: Path, tmp_path: Path):
    swapped = [row | {"chosen": row["chosen"][::-1]} for row in triples(10)]
    write(tmp_path / "swapped.jsonl", swapped)
    one = trained(recipe(world), tmp_path / "one")
    path = {"path": str(tmp_path / "swapped.jsonl")}
    other = trained(recipe(world, rows=path), tmp_path / "two")
    assert other[0]["logps/source_chosen"] == pytest.approx(one[0]["logps/target_chosen"])
    assert abs(one[-1]["loss"] - other[-1]["loss"]) > 1e-4


@pytest.mark.parametrize(("alpha", "chosen"), [(0.0, "target"), (1.0, "source")])
def test_the_ends_of_alpha_are_dpo(world: Path, tmp_path: Path, alpha: float, chosen: str):
    method = {"name": "wrpo", "beta": 0.1, "alpha": alpha, "ramp": False}
    wrpo = trained(recipe(world, method), tmp_path / "wrpo")
    dpo = trained(recipe(world, "dpo", rows={"chosen": chosen}), tmp_path / "dpo")
    assert [row["loss"] for row in wrpo] == pytest.approx([row["loss"] for row in dpo], abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [("float32", "float32", 1e-4), ("float32", "bf16", 1e-2), ("bf16", "float32", 1e-2)],
)
def test_numbers_of_few_bits_agree_as_far_as_they_can(
    world: Path, tmp_path: Path, monkeypatch, dtype: str, precision: str, tolerance: float
):
    # Rows of 2 to 100 tokens, weights bf16: the first loss was 0.69296 where ln 2 was expected.
    held: list[float] = []
    monkeypatch.setattr(align, "preference_loss", lambda *_, **how: held.append(how["tolerance"]))
    monkeypatch.setattr(align, "train", lambda *_, **__: sys.exit())
    model = {"path": str(world / "model"), "dtype": dtype}
    train = {"lora": {"r": 2}, "precision": precision}
    with pytest.raises(SystemExit):
        align.run(recipe(world, "dpo", model=model, reference="stored", train=train), tmp_path)
    assert held == [tolerance]


@pytest.mark.parametrize(("method", "lora"), [("wrpo", None), ("kto", {"r": 4})])
def test_layouts_change_nothing(world: Path, tmp_path: Path, method: str, lora: dict | None):
    runs = []
    for layout in ("padded", "packed", "shared", "auto"):
        train = {"lora": lora, "lr": 3e-4}
        settings = recipe(world, method, layout=layout, train=train, held_out=recipe(world).data)
        runs.append((layout, trained(settings, tmp_path / layout)))
        kinds = ["padded", "packed", "shared"] if layout == "auto" else [layout]
        assert facts(tmp_path / layout)["layouts"] == kinds
    for layout, rows in runs[1:]:
        for a, b in zip(runs[0][1], rows, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5), layout
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4), layout
        assert_same_weights(tmp_path / "padded", tmp_path / layout, 1e-4)
        for name in ("held_out_before", "held_out_after"):
            found, expected = facts(tmp_path / layout)[name], facts(tmp_path / "padded")[name]
            assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_a_model_that_cannot_share_is_trained_padded(world: Path, tmp_path: Path):
    conv = {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "hidden_size": 16}
    conv |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = {"scratch": conv | {"intermediate_size": 24}, "tokenizer": str(world / "model")}
    with pytest.raises(SettingsError, match=r"layout: shared, but lfm2 .*use layout: auto"):
        align.run(recipe(world, model=model, layout="shared"), tmp_path / "shared")
    trained(recipe(world, model=model), tmp_path / "auto")
    assert facts(tmp_path / "auto")["layouts"] == ["padded"]


# -------------------------------------------------------------------------------------- adapters


def test_an_adapter_leaves_the_base_alone(world: Path, tmp_path: Path):
    rows = trained(recipe(world, train={"lora": {"r": 4}, "lr": 1e-2}), tmp_path)
    assert rows[0]["loss"] == pytest.approx(LN_2, abs=1e-5)
    assert rows[-1]["loss"] < LN_2
    base = AutoModelForCausalLM.from_pretrained(world / "model").state_dict()
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert adapter
    assert all("lora" in name for name in adapter)
    moved = {name for name, w in weights(tmp_path).items() if not torch.equal(w, base[name])}
    assert moved
    assert all("proj" in name for name in moved)  # neither embeddings, norms nor the head


@pytest.mark.parametrize("reference", ["copy", "stored"])
def test_an_adapter_switched_off_is_the_base(world: Path, tmp_path: Path, reference: str):
    lora = {"lora": {"r": 4}, "lr": 1e-2}
    live = trained(recipe(world, train=lora), tmp_path / "off")
    other = trained(recipe(world, train=lora, reference=reference), tmp_path / "other")
    for a, b in zip(live, other, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)


# ---------------------------------------------------------------------------- stops and goes on


def test_a_killed_run_goes_on_to_the_same_weights(world: Path, tmp_path: Path, monkeypatch):
    settings = recipe(world, train={"max_steps": 6, "save_every_steps": 2})
    unbroken = trained(settings, tmp_path / "unbroken")
    real, calls = align.preference_loss, []

    def dying(*args, **kwargs):
        loss = real(*args, **kwargs)

        def counted(model, batch, progress):
            calls.append(progress)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return loss(model, batch, progress)

        return counted

    monkeypatch.setattr(align, "preference_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        align.run(settings, tmp_path / "killed")
    again = trained(settings, tmp_path / "killed")
    assert calls[4:] == pytest.approx([2 / 6, 3 / 6, 4 / 6, 5 / 6])
    for a, b in zip(unbroken, again, strict=True):
        assert {n: v for n, v in a.items() if n != "items_per_s"} == {
            n: v for n, v in b.items() if n != "items_per_s"
        }
    assert_same_weights(tmp_path / "unbroken", tmp_path / "killed", 0.0)


def test_a_finished_run_is_left_alone(world: Path, tmp_path: Path):
    trained(recipe(world), tmp_path)
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    align.run(recipe(world, train={"micro_batch_size": 2}), tmp_path)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SettingsError, match=r'settings.method.name: "wrpo" there, "dpo" now'):
        align.run(recipe(world, "dpo"), tmp_path)
    with pytest.raises(SettingsError, match=r"settings.method.beta: 0.01 there, 0.1 now"):
        align.run(recipe(world, {"name": "wrpo", "beta": 0.1}), tmp_path)


def test_a_cache_of_other_weights_is_refused(world: Path, tmp_path: Path):
    cache = str(tmp_path / "cache")
    trained(recipe(world, cache=cache), tmp_path / "one")
    shard = next(Path(cache).rglob("shard-*.arrow"))
    before = shard.stat().st_mtime_ns
    trained(recipe(world, cache=cache, train={"lr": 2e-3}), tmp_path / "two")
    assert shard.stat().st_mtime_ns == before  # used again
    other = str(save_model(tmp_path / "other", byte_level(), seed=5))
    with pytest.raises(SettingsError, match=r"inputs.weights: .* there, .* now"):
        align.run(recipe(world, cache=cache, model=other), tmp_path / "three")
    with pytest.raises(SettingsError, match=r"settings.max_tokens: 128 there, 127 now"):
        align.run(recipe(world, cache=cache, rows={"max_tokens": 127}), tmp_path / "four")
    with pytest.raises(SettingsError, match=r"inputs.data: .* there, .* now"):
        align.run(recipe(world, cache=cache, rows={"limit": 9}), tmp_path / "five")


def test_a_run_that_begins_elsewhere_stops(world: Path, tmp_path: Path, monkeypatch):
    def off(model, batch):
        return batch["reference_A"] - torch.arange(len(batch["reference_A"]))

    monkeypatch.setattr(align, "stored", off)
    with pytest.raises(WeightsError, match=r"the loss of the first step is .*expected ln 2 = 0.69"):
        align.run(recipe(world), tmp_path)
    assert not (tmp_path / "model").exists()


def test_dropout_is_switched_off():
    from inarch.io.models import new_model

    gpt2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16}
    llama = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1}
    llama |= {"intermediate_size": 8, "num_attention_heads": 1, "attention_dropout": 0.5}
    for config in (gpt2, llama):
        model = new_model(config, 10, 0)
        ids = torch.arange(10)[None]
        switch_off_dropout(model)
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(model.train()(input_ids=ids).logits, expected, rtol=0, atol=0)


# -------------------------------------------------------------------------------------- bad input


def test_rows_that_are_left_out_are_counted(world: Path, tmp_path: Path):
    rows = triples(10)
    rows[3]["rejected"][0]["content"] = ""
    rows[5]["rejected"] = rows[5]["chosen"][1:]
    rows[7]["chosen"][0]["content"] = "a<|end|>b"
    write(tmp_path / "some.jsonl", rows)
    trained(recipe(world, rows={"path": str(tmp_path / "some.jsonl")}), tmp_path / "out")
    assert facts(next((tmp_path / "out").glob("rows-*")))["dropped"] == {
        "rows whose rejected is empty": 1,
        "rows whose target and rejected are the same": 1,
        "rows with an end token inside an answer": 1,
    }
    assert facts(tmp_path / "out")["num_rows"] == 7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "found no usable row .the file is empty"),
        ([{"prompt": "p", "chosen": "a", "rejected": "a"}], "1 rows whose chosen and rejected"),
        ([{"prompt": "p", "chosen": "a", "rejected": "b"}, {"text": ""}], r"bad.jsonl:2: found"),
    ],
)
def test_data_without_rows(world: Path, tmp_path: Path, rows: list[dict], message: str):
    write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match=message):
        align.run(recipe(world, "dpo", rows={"path": str(tmp_path / "bad.jsonl")}), tmp_path / "o")


def test_kto_needs_several_prompts(world: Path, tmp_path: Path):
    write(tmp_path / "one.jsonl", triples(1))
    with pytest.raises(DataError, match=r"one\.jsonl: found 2 labelled rows with one prompt"):
        align.run(recipe(world, "kto", rows={"path": str(tmp_path / "one.jsonl")}), tmp_path / "o")


def test_kto_scores_answers_after_the_prompts_of_others(world: Path, tmp_path: Path):
    settings = recipe(world, "kto")
    data = rows_of(settings, settings.data, load_tokenizer(str(world / "model")), tmp_path)
    for i in range(len(data)):
        example = data[i]
        partner = data[(i + (2 if i % 2 == 0 else 1)) % len(data)]
        np.testing.assert_array_equal(example.sequences.prompts[1], example.sequences.prompts[0])
        np.testing.assert_array_equal(example.sequences.answers[1], partner.sequences.answers[0])
        assert not np.array_equal(partner.sequences.prompts[0], example.sequences.prompts[0])
        assert example.liked is (i % 2 == 0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": "simpo", "reference": "stored"}, "reference has no effect: simpo needs none"),
        ({"reference": "adapter"}, "reference: adapter needs train.lora"),
        ({"reference": "copy", "cache": "x"}, "cache has an effect with reference: stored only"),
        ({"method": "wrop"}, "did you mean `wrpo`"),
        ({"method": {"name": "dpo", "gamma": 1.0}}, "gamma: unknown key"),
    ],
)
def test_contradictions(world: Path, sections: dict, message: str):
    with pytest.raises(ValueError, match=message):
        recipe(world, **sections)


def defaults(world: Path, **rows) -> AlignRun:
    data = {"path": str(world / "triples.jsonl")} | rows
    own = recipe(world, held_out=data).model_dump(mode="json", exclude_unset=True)
    return validate(AlignRun, own | {"data": data}, "test")


def test_rows_longer_than_the_model(world: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"data.max_tokens 512, but model has 256 positions"):
        align.run(recipe(world, rows={"max_tokens": 512}), tmp_path)
    path = str(world / "triples.jsonl")
    with pytest.raises(DataError, match=r"held_out.max_tokens 257, but model has 256 positions"):
        align.run(recipe(world, held_out={"path": path, "max_tokens": 257}), tmp_path)
    with pytest.raises(SettingsError, match=r"max_prompt_tokens 300 and max_tokens 256, expected"):
        align.run(defaults(world, max_prompt_tokens=300), tmp_path)


def test_the_default_of_the_longest_row_gives_way_to_the_model(world: Path, tmp_path: Path):
    short = defaults(world)
    assert short.data.max_tokens == 2048
    assert align.plan(short)["longest row"] == 256
    align.run(short, tmp_path)
    told = json.loads((tmp_path / "manifest.json").read_text())["settings"]
    for section in ("data", "held_out"):
        assert (told[section]["max_tokens"], told[section]["max_prompt_tokens"]) == (256, 230)


def test_a_plan_counts_what_is_read(world: Path):
    planned = align.plan(recipe(world))
    assert planned["rows"] == 10
    assert planned["steps"] == 4
    hf = load_tokenizer(str(world / "model")).hf
    num_tokens = 0
    for row in triples(10):
        for answer in (*row["chosen"], *row["rejected"]):
            num_tokens += len(hf.apply_chat_template([row["prompt"], answer])["input_ids"])
    assert planned["tokens"] == num_tokens
    assert align.plan(recipe(world, model="nowhere/at-all"))["time"] == "unknown"


def test_a_recipe_is_a_yaml_file(world: Path, tmp_path: Path):
    settings = recipe(world, {"name": "wrpo", "alpha": 0.5})
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json")))
    assert load(AlignRun, path) == settings


def test_a_plan_refuses_what_the_run_would(world, tmp_path):
    empty = str(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(DataError, match="found no usable row"):
        align.plan(recipe(world, rows={"path": empty}))
    found = align.plan(recipe(world, rows={"path": "nowhere.jsonl"}))
    assert found["rows"] == "unknown: no nowhere.jsonl on this machine"
