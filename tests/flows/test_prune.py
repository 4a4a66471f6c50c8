"""The whole way from a model to a smaller one: orders, cuts, resumption, bad input."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.evaluate import Speed
from inarch.flows import prune as flow
from inarch.flows._prune import models
from inarch.flows._prune.lab import Lab
from inarch.flows._prune.order import losses_along, step_of
from inarch.io.models import load_model, new_model
from inarch.prune import Block, Step
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._rows import Rows
from inarch.prune._verify import verify
from inarch.prune.settings import SearchSettings
from inarch.report import build
from inarch.report._prune import verdict
from inarch.settings import load
from tests.tiny import TEXT, byte_level

CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model 模型 🌱")
    tokenizer = byte_level()
    new_model(CONFIG, len(tokenizer), seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    rows = [f"{text} {number} 中文 🌍" for number, text in enumerate(TEXT * 2)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _no_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that a fresh process takes, but for `pruned` and where it is asked for."""
    monkeypatch.setattr(models, "verify", lambda *args, **kwargs: None)


def settings(model: Path, texts: Path, *more: str) -> flow.PruneRun:
    flags = [
        f"model={json.dumps(str(model), ensure_ascii=False)}",
        f"data.path={json.dumps(str(texts))}",
    ]
    flags += ["data.length=32", "data.samples=12", "speed=false", "search.batch_rows=4"]
    return load(flow.PruneRun, None, [*flags, *more])


def loss(model: BlockModel, rows: Rows, removed: list[Block]) -> float:
    """The mean NLL as the plain formula has it, in float64."""
    with model.without(removed), torch.no_grad():
        logps = model.model(rows.ids_ST).logits[:, :-1].double().log_softmax(-1)
    return -logps.gather(-1, rows.ids_ST[:, 1:, None]).mean().item()


def brute_force(model: BlockModel, rows: Rows, num: int) -> list[tuple[Block, float]]:
    """BlockPruner by its definition."""
    found: list[tuple[Block, float]] = []
    for _ in range(num):
        gone = [block for block, _ in found]
        left = sorted(set(model.blocks) - set(gone))
        scores = [loss(model, rows, [*gone, block]) for block in left]
        best = min(range(len(left)), key=scores.__getitem__)
        found.append((left[best], scores[best]))
    return found


@pytest.fixture(scope="module")
def pruned(model: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    flow.run(settings(model, texts, "target.blocks=[2,3]", "compare=[block_influence]"), out)
    return out


def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "pruned.json").read_text())


def test_the_order_is_that_of_the_definition(pruned: Path, model: Path, texts: Path) -> None:
    lab = Lab(settings(model, texts, "target.blocks=[3]"))
    expected = brute_force(lab.model, lab.texts.rows, 3)
    found = result(pruned)["order"]
    assert [(entry["kind"], entry["layer"]) for entry in found] == [block for block, _ in expected]
    assert [entry["score"] for entry in found] == pytest.approx([s for _, s in expected], rel=1e-5)


def test_a_model_for_each_target_and_what_the_table_says_of_it(pruned: Path, model: Path) -> None:
    whole, two, three = result(pruned)["models"]
    assert (whole["num_removed"], two["num_removed"], three["num_removed"]) == (0, 2, 3)
    # Of a layer: attention 2 (32 32) + 2 (32 16) and its norm of 32; feed-forward 3 (32 48), norm.
    weigh = {"mha": 2 * 32 * 32 + 2 * 32 * 16 + 32, "mlp": 3 * 32 * 48 + 32}
    total = sum(p.numel() for p in load_model(model).parameters())
    order = [entry["kind"] for entry in result(pruned)["order"]]
    for row in (two, three):
        lost = sum(weigh[kind] for kind in order[: row["num_removed"]])
        assert row["removed_share"] == pytest.approx(lost / total)
        cut = load_model(pruned / row["folder"])
        assert type(cut).__name__ == "LlamaForCausalLM"
        assert sum(p.numel() for p in cut.parameters()) == row["parameters"]
        assert row["saved_share"] == pytest.approx(1 - row["parameters"] / total)
        assert cut.config.num_hidden_layers == row["num_layers"]
    assert whole["parameters"] == total
    assert whole["kv_bytes"] == 4 * 2 * 2 * 8 * 4  # layers, K and V, heads, width, bytes


def test_cut_models_say_what_the_masked_one_says(pruned: Path, model: Path) -> None:
    found = result(pruned)
    masked = BlockModel.of(load_model(model))
    ids = torch.arange(20)[None]
    for row in found["models"][1:]:
        gone = [Block(e["kind"], e["layer"]) for e in found["order"][: row["num_removed"]]]
        cut = AutoModelForCausalLM.from_pretrained(pruned / row["folder"])
        with masked.without(gone), torch.no_grad():
            assert torch.equal(cut(ids).logits, masked.model(ids).logits)


def test_curves_hold_the_losses_of_both_texts(pruned: Path, model: Path, texts: Path) -> None:
    found = result(pruned)
    lab = Lab(settings(model, texts, "target.blocks=[3]"))
    curve = found["curves"]["block_pruner"]
    gone = [Block(entry["kind"], entry["layer"]) for entry in found["order"]]
    assert [point["blocks"] for point in curve] == [0, 1, 2, 3]
    assert lab.texts.held_out is not None
    for num, point in enumerate(curve):
        expected = loss(lab.model, lab.texts.rows, gone[:num])
        assert point["nll"] == pytest.approx(expected, rel=1e-6)
        expected = loss(lab.model, lab.texts.held_out, gone[:num])
        assert point["held_out"] == pytest.approx(expected, rel=1e-6)
    assert [step["score"] for step in found["steps"]] == pytest.approx(
        [point["nll"] for point in curve[1:]], rel=1e-6
    )
    beside = found["curves"]["block_influence"]
    assert beside[-1]["share"] >= curve[-1]["share"]
    assert beside[1]["blocks"] == 2


def test_a_killed_search_goes_on_where_it_was(
    pruned: Path, model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "out", settings(model, texts, "target.blocks=[3]")
    real = flow.find_order

    def killed(*args: Any) -> list[Step]:
        method, subject, journal, before, _ = args
        real(method, subject, journal, before, lambda done: len(done) >= 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "find_order", killed)
    with pytest.raises(KeyboardInterrupt):
        flow.run(run, out)
    journal = out / "order.jsonl"
    first = journal.read_text()
    assert first.count("\n") == 1
    journal.write_text(first + '{"unit": [["mha"')  # a row that the kill cut off
    monkeypatch.setattr(flow, "find_order", real)
    flow.run(run, out)
    assert journal.read_text().startswith(first)
    assert result(out)["order"] == result(pruned)["order"]


def test_another_target_in_the_same_folder_is_refused(
    pruned: Path, model: Path, texts: Path
) -> None:
    run = settings(model, texts, "target.blocks=[1]", "compare=[block_influence]")
    with pytest.raises(SettingsError, match="blocks"):
        flow.run(run, pruned)


@pytest.mark.parametrize("name", ["order.json", "reference.json"])
def test_an_order_is_followed_and_gone_on_with(
    pruned: Path, model: Path, texts: Path, tmp_path: Path, name: str
) -> None:
    flag = f"order={json.dumps(str(pruned / name))}"
    found = flow.run(settings(model, texts, "target.blocks=[5]", flag), tmp_path / "out")
    expected = result(pruned)["order"]
    assert [(e["kind"], e["layer"]) for e in found["order"][:3]] == [
        (e["kind"], e["layer"]) for e in expected
    ]
    assert len(found["order"]) == 5
    assert len((tmp_path / "out" / "order.jsonl").read_text().splitlines()) == 2
    lab = Lab(settings(model, texts, "target.blocks=[5]"))
    direct = brute_force(lab.model, lab.texts.rows, 5)
    assert [(e["kind"], e["layer"]) for e in found["order"]] == [block for block, _ in direct]


def test_an_order_of_another_model_is_refused(
    pruned: Path, model: Path, texts: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    tokenizer = byte_level()
    new_model(CONFIG, len(tokenizer), seed=2).save_pretrained(other)
    tokenizer.save_pretrained(other)
    flag = f"order={json.dumps(str(pruned / 'order.json'))}"
    with pytest.raises(DataError, match=r"is an order of .*模型"):
        flow.run(settings(other, texts, "target.blocks=[2]", flag), tmp_path / "out")


def test_what_is_saved_and_what_the_last_step_adds_is_told(
    model: Path, texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = ("target.ratio=[0.02]", "method.name=block_pruner", "method.kinds=mlp")
    found = flow.run(settings(model, texts, *more), tmp_path / "out")
    assert "ratio 0.02: the last step takes it to" in caplog.text
    assert "--format native holds none" in verdict(found)
    native = flow.run(settings(model, texts, *more, "format=native"), tmp_path / "native")
    assert "--format native" not in verdict(native)


def test_native_holds_less(model: Path, texts: Path, tmp_path: Path) -> None:
    more = ("target.blocks=[2]", "method.name=block_pruner", "method.kinds=mha")
    plain = flow.run(settings(model, texts, *more), tmp_path / "plain")["models"][-1]
    native = flow.run(settings(model, texts, *more, "format=native"), tmp_path / "native")
    row = native["models"][-1]
    assert plain["saved_share"] == 0.0
    assert row["saved_share"] == pytest.approx(row["removed_share"])
    assert (
        sum(p.numel() for p in load_model(tmp_path / "native/model").parameters())
        == (row["parameters"])
    )


def test_a_pruned_model_is_pruned_again(pruned: Path, texts: Path, tmp_path: Path) -> None:
    first = pruned / result(pruned)["models"][1]["folder"]
    found = flow.run(settings(first, texts, "target.blocks=[1]"), tmp_path / "out")
    record = load_model(tmp_path / "out/model").config.inarch_prune
    before = [(e["kind"], e["layer"]) for e in result(pruned)["order"]]
    assert [(e["kind"], e["layer"]) for e in record["removed_blocks"]] == before
    assert found["order"][0]["score"] == pytest.approx(result(pruned)["order"][2]["score"])
    num_empty = len(found["empty"])
    assert num_empty == 2 * found["num_layers"] - (8 - 2)
    assert f"of {2 * found['num_layers'] - num_empty} are gone" in verdict(found)


def test_paired_removal_leaves_whole_layers(model: Path, texts: Path, tmp_path: Path) -> None:
    more = ("target.ratio=[0.3]", "method.name=block_pruner", "method.paired=true")
    row = flow.run(settings(model, texts, *more), tmp_path / "out")["models"][-1]
    assert row["removed_share"] >= 0.3
    assert row["saved_share"] == pytest.approx(row["removed_share"])


@pytest.mark.parametrize("key", ["bytes", "kv_bytes"])
def test_sizes_are_reached_and_no_more(
    pruned: Path, model: Path, texts: Path, tmp_path: Path, key: str
) -> None:
    limit = round(0.7 * result(pruned)["models"][0][key])
    target = (
        f"target.kv_bytes=[{limit}]" if key == "kv_bytes" else f"target.size_gb=[{limit / 1e9}]"
    )
    found = flow.run(settings(model, texts, target, "format=native"), tmp_path / "out")
    assert found["models"][-1][key] <= limit
    again = settings(model, texts, f"target.blocks=[{len(found['order']) - 1}]", "format=native")
    assert flow.run(again, tmp_path / "less")["models"][-1][key] > limit


def test_a_model_that_is_not_the_masked_one_is_not_kept(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bent(*args: Any, **kwargs: Any) -> Any:
        made = cut(*args, **kwargs)
        with torch.no_grad():
            made.get_input_embeddings().weight[3:] += 0.01
        return made

    monkeypatch.setattr(models, "verify", verify)
    monkeypatch.setattr(models, "cut", bent)
    with pytest.raises(WeightsError, match="logits differ"):
        flow.run(settings(model, texts, "target.blocks=[1]"), tmp_path / "out")
    assert not (tmp_path / "out/model").exists()


def test_laco_is_measured_with_its_layers_folded(model: Path, texts: Path, tmp_path: Path) -> None:
    more = ("target.blocks=[2]", "method.name=laco", "method.run=2", "method.threshold=-0.9")
    found = flow.run(settings(model, texts, *more), tmp_path / "out")
    step = step_of(found["steps"][0])
    assert step.into is not None
    lab = Lab(settings(model, texts, "target.blocks=[2]"))
    weights = lab.model.model.state_dict()
    merged = {
        name: weights[name].clone().double()
        for name in weights
        if f"layers.{step.into}." in name and "layernorm" not in name
    }
    for layer in {block.layer for block in step.unit}:
        for name, value in merged.items():
            other = weights[name.replace(f".{step.into}.", f".{layer}.")].double()
            value += other - weights[name].double()
    lab.model.model.load_state_dict(weights | {n: v.float() for n, v in merged.items()})
    expected = loss(lab.model, lab.texts.rows, list(step.unit))
    assert found["curves"]["laco"][1]["nll"] == pytest.approx(expected, rel=1e-5)
    cut = BlockModel.of(load_model(tmp_path / "out/model"))
    assert loss(cut, lab.texts.rows, []) == pytest.approx(expected, rel=1e-5)
    assert next(losses_along(lab.model, lab.texts.rows, SearchSettings(), [])) != expected


def test_healing_teaches_the_cut_model(model: Path, texts: Path, tmp_path: Path) -> None:
    train = {"max_steps": 12, "batch_size": 8, "lr": 3e-3}
    recipe = {"data": {"path": str(texts), "max_tokens": 32}, "train": train, "plain": True}
    path = tmp_path / "heal.yaml"
    path.write_text(json.dumps(recipe))
    healing = load(flow.HealSettings, path)
    found = flow.run(settings(model, texts, "target.blocks=[3]"), tmp_path / "out", healing)
    cut, taught, plain = found["models"][1:]
    assert [row["name"] for row in (taught, plain)] == ["healed, taught", "healed, plain"]
    assert taught["nll"] < cut["nll"]
    assert plain["nll"] < cut["nll"]
    assert taught["nll"] != plain["nll"]
    healed = load_model(tmp_path / "out" / taught["folder"])
    assert healed.config.num_hidden_layers == cut["num_layers"]


def test_speed_is_measured_of_both(model: Path, texts: Path, tmp_path: Path) -> None:
    run = settings(model, texts, "target.blocks=[2]").model_copy(update={"speed": True})
    rows = flow.run(run, tmp_path / "out")["models"]
    assert all(row["prefill_s"] > 0 and row["decode_s"] > 0 for row in rows)


def test_what_a_block_takes_is_told_by_leaving_its_kind_out(
    model: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whole 1 s, without attention 0.6, without feed-forward 0.8: 0.4 / 4 and 0.2 / 4 a block.
    lab = Lab(settings(model, texts, "target.latency=[0.2]"))
    seconds = iter([1.0, 0.6, 0.8])

    def clock(models: list[Any], workload: Any) -> list[Speed]:
        return [Speed(0.0, next(seconds), 0)]

    monkeypatch.setattr("inarch.flows._prune.lab.measure_speed", clock)
    assert lab.saving_per_block() == pytest.approx({"mha": 0.1, "mlp": 0.05})


def test_two_devices_find_what_one_finds(
    pruned: Path, model: Path, texts: Path, tmp_path: Path
) -> None:
    run = settings(model, texts, "target.blocks=[3]", "devices=[cpu,cpu]")
    assert flow.run(run, tmp_path / "out")["order"] == result(pruned)["order"]


def test_a_latency_is_a_share_of_what_blocks_take(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Attention takes 0.4 of the time, feed-forward 0.2: of 4 layers, 0.1 and 0.05 a block.
    monkeypatch.setattr(Lab, "saving_per_block", lambda self: {"mha": 0.1, "mlp": 0.05})
    found = flow.run(settings(model, texts, "target.latency=[0.2]"), tmp_path / "out")
    saved = [0.1 if entry["kind"] == "mha" else 0.05 for entry in found["order"]]
    assert math.fsum(saved[:-1]) < 0.2 <= math.fsum(saved) + 1e-9


def test_the_report_shows_a_run_and_an_unfinished_one(pruned: Path, tmp_path: Path) -> None:
    page = build(pruned, tmp_path / "page.html").read_text()
    found = result(pruned)
    assert f"{math.exp(found['models'][-1]['held_out']):.4g}" in page
    assert "block_influence" in page
    ties = sum(step["margin"] < 2 * step["margin_error"] for step in found["steps"])
    assert (f"{ties} of 3 steps were ties" if ties else "No step was a tie") in page
    first = found["steps"][0]
    assert f"{first['margin']:.4f} ± {first['margin_error']:.4f}" in page
    (tmp_path / "half").mkdir()
    manifest = (pruned / "manifest.json").read_text().replace('"done"', '"running"')
    (tmp_path / "half/manifest.json").write_text(manifest)
    assert "not finished" in build(tmp_path / "half").read_text()


# ------------------------------------------------------------------------------------- bad input


def test_an_order_outlives_a_format_that_cannot_hold_it(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("target.blocks=[1]", "method.name=block_pruner", "method.kinds=mha")
    with pytest.raises(SettingsError, match="multiple of 256"):  # at once
        flow.run(settings(model, texts, *more, "format=gguf-safe"), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(flow, "refuse_format", lambda settings: None)
    with pytest.raises(SettingsError, match=r"multiple of 256.*order\.json"):
        flow.run(settings(model, texts, *more, "format=gguf-safe"), tmp_path / "out")
    flag = f"order={json.dumps(str(tmp_path / 'out/order.json'))}"
    found = flow.run(settings(model, texts, *more, "format=native", flag), tmp_path / "again")
    assert not (tmp_path / "again/order.jsonl").exists()
    assert len(found["order"]) == 1


@pytest.mark.parametrize("ratio", ["0", "1", "1.5", "-0.1", "half"])
def test_ratios_that_cannot_be(model: Path, texts: Path, ratio: str) -> None:
    with pytest.raises(SettingsError, match="ratio"):
        settings(model, texts, f"target.ratio=[{ratio}]")


def test_no_target_and_two(model: Path, texts: Path) -> None:
    with pytest.raises(SettingsError, match="expected one"):
        settings(model, texts, "target={}")
    with pytest.raises(SettingsError, match="ratio and blocks"):
        settings(model, texts, "target.ratio=[0.2]", "target.blocks=[2]")


def test_an_unknown_method_and_setting(model: Path, texts: Path) -> None:
    with pytest.raises(SettingsError, match=r"block_prunr.*block_pruner"):
        settings(model, texts, "target.blocks=[2]", "method=block_prunr")
    with pytest.raises(SettingsError, match="kind"):
        settings(model, texts, "target.blocks=[2]", "method={name: block_pruner, kind: mha}")


def test_more_than_there_is(model: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="out of reach"):
        flow.run(settings(model, texts, "target.ratio=[0.95]"), tmp_path / "out")


def test_one_token_of_text(model: Path, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(DataError, match="less than two tokens"):
        flow.run(settings(model, tmp_path / "one.jsonl", "target.blocks=[1]"), tmp_path / "out")


def test_a_model_that_predicts_nothing(model: Path, texts: Path, tmp_path: Path) -> None:
    broken = load_model(model)
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    broken.save_pretrained(tmp_path / "broken")
    byte_level().save_pretrained(tmp_path / "broken")
    with pytest.raises(DataError, match="finite"):
        flow.run(settings(tmp_path / "broken", texts, "target.blocks=[1]"), tmp_path / "out")


def test_quantised_weights(model: Path, texts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantised"
    load_model(model).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError):
        flow.run(settings(folder, texts, "target.blocks=[1]"), tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["not JSON", '{"1": [["mha", 99]]}', '{"steps": [{"unit": [["mha"]]}]}', "[]"]
)
def test_orders_that_are_none(model: Path, texts: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "order.json").write_text(text)
    flag = f"order={json.dumps(str(tmp_path / 'order.json'))}"
    with pytest.raises(DataError, match=r"order\.json"):
        flow.run(settings(model, texts, "target.blocks=[1]", flag), tmp_path / "out")
