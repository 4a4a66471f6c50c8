import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from inarch.errors import DataError, MissingExtra, SettingsError, WeightsError
from inarch.io.files import read_metrics
from inarch.io.models import new_model
from inarch.records import LossOut
from inarch.train._arguments import arguments
from inarch.train._loop import Loop
from inarch.train.plan import lr_scale, row_order
from inarch.train.settings import LoraSettings, TrainSettings
from inarch.train.trainer import TrainResult, train

SCRIPT = Path(__file__).with_name("job.py")
JOB = runpy.run_path(str(SCRIPT))
NO_DROPOUT = JOB["CONFIG"] | {"attention_dropout": 0.0}


def run(
    out: Path, loss: Any = JOB["clm_loss"], config: Any = NO_DROPOUT, **given: Any
) -> TrainResult:
    return JOB["run"](out, given, loss, config)


def weights(result: TrainResult) -> dict[str, Tensor]:
    return load_file(result.model / "model.safetensors")


def launch(command: list[str], out: Path, settings: Mapping[str, Any], *rest: str) -> int:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [*command, str(SCRIPT), str(out), json.dumps(settings), *rest]
    return subprocess.run(arguments, env=env, check=False, timeout=300).returncode


def assert_near(found: TrainResult, expected: TrainResult, atol: float = 1e-6) -> None:
    expected_weights = weights(expected)
    for name, weight in weights(found).items():
        torch.testing.assert_close(weight, expected_weights[name], atol=atol, rtol=0, msg=name)


# --------------------------------------------------------------------------------------- exactness


@pytest.fixture(scope="module")
def one_batch(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The run whose steps are one forward pass each."""
    return run(tmp_path_factory.mktemp("one"), micro_batch_size=None)


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_accumulation_changes_nothing(
    tmp_path: Path, one_batch: TrainResult, micro_batch_size: int
) -> None:
    """C6: rows have 2 to 18 items, so a mean of micro-batch means would be another number."""
    result = run(tmp_path, micro_batch_size=micro_batch_size)
    assert_near(result, one_batch)
    for found, expected in zip(
        read_metrics(tmp_path / "metrics.jsonl"),
        read_metrics(one_batch.model.parent / "metrics.jsonl"),
        strict=True,
    ):
        for name in ("loss", "accuracy", "grad_norm", "lr", "num_items", "epoch"):
            assert found[name] == pytest.approx(expected[name], abs=2e-6), name


def test_accumulation_does_not_depend_on_what_the_model_says_of_its_own_loss(
    tmp_path: Path, one_batch: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", False, raising=False)
    assert_near(run(tmp_path, micro_batch_size=2), one_batch)


def test_the_run_is_that_of_a_bare_loop(one_batch: TrainResult) -> None:
    plan = TrainSettings(**JOB["SETTINGS"])
    rows = JOB["make_rows"]()
    model = new_model(NO_DROPOUT, JOB["VOCAB"], seed=3).train()
    decayed = [p for n, p in model.named_parameters() if "norm" not in n]
    kept = [p for n, p in model.named_parameters() if "norm" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}],
        lr=plan.lr,
        betas=plan.betas,
    )
    losses = []
    for step, row_ids in enumerate(row_order(len(rows), plan).reshape(-1, 8)):
        batch = JOB["collate"]([rows[i] for i in row_ids])
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
        ).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * lr_scale(step, 7, plan)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    saved = weights(one_batch)
    for name, weight in model.state_dict().items():
        if name in saved:
            torch.testing.assert_close(saved[name], weight, atol=2e-6, rtol=0, msg=name)
    last = read_metrics(one_batch.model.parent / "metrics.jsonl")[-1]
    assert last["step"] == 7
    assert last["loss"] == pytest.approx(losses[-1], abs=1e-5)
    assert last["lr"] == pytest.approx(1e-2 * lr_scale(6, 7, plan))


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, one_batch: TrainResult) -> None:
    # --multi_gpu without a GPU is gloo on the CPU; --cpu would start one process without MPI.
    command = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    settings = {"micro_batch_size": 2, "dropout": 0.0}
    assert launch([sys.executable, "-m", *command], tmp_path, settings) == 0
    found = TrainResult(tmp_path / "model", 7, 0, {}, 0.0)
    assert_near(found, one_batch)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    expected = read_metrics(one_batch.model.parent / "metrics.jsonl")
    assert [row["num_items"] for row in rows] == [row["num_items"] for row in expected]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected])


# ---------------------------------------------------------------------------------------- resuming


def test_killed_and_resumed_is_unbroken_to_the_last_bit(tmp_path: Path) -> None:
    """With dropout, so that the random state counts; killed between two checkpoints."""
    unbroken = run(tmp_path / "a", config=JOB["CONFIG"])
    assert launch([sys.executable], tmp_path / "b", {}, "5") == -9
    cut_off = tmp_path / "b" / "checkpoints" / ".partial" / "checkpoint-6"
    cut_off.mkdir(parents=True)
    (cut_off / "model.safetensors").write_bytes(b"half")
    resumed = run(tmp_path / "b", config=JOB["CONFIG"])
    assert resumed.resumed_step == 4
    expected = (unbroken.model / "model.safetensors").read_bytes()
    assert (resumed.model / "model.safetensors").read_bytes() == expected
    for found, row in zip(
        read_metrics(tmp_path / "b" / "metrics.jsonl"),
        read_metrics(tmp_path / "a" / "metrics.jsonl"),
        strict=True,
    ):
        assert found | {"items_per_s": 0} == row | {"items_per_s": 0}


def test_a_run_that_ended_before_its_model_was_saved_only_saves_it(tmp_path: Path) -> None:
    first = run(tmp_path)
    expected = (first.model / "model.safetensors").read_bytes()
    (first.model / "model.safetensors").unlink()
    again = run(tmp_path)
    assert again.resumed_step == 7
    assert again.metrics == first.metrics
    assert (again.model / "model.safetensors").read_bytes() == expected


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(WeightsError, match=r"absent are \[model\.layers\.2"):
        run(tmp_path, config=NO_DROPOUT | {"num_hidden_layers": 3})


# ------------------------------------------------------------------------------------- the outcome


def test_the_model_loads_and_generates_as_any_other(tmp_path: Path) -> None:
    result = run(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(result.model)
    assert model.dtype == torch.float32
    assert model.config.use_cache  # the Trainer switches it off for the training only
    assert (result.model / "generation_config.json").exists()
    assert not list(tmp_path.rglob("*.bin"))


def test_lora_is_saved_merged_and_apart(tmp_path: Path) -> None:
    result = run(tmp_path, lora=LoraSettings(r=2, alpha=8), lr=0.1)
    base = new_model(NO_DROPOUT, JOB["VOCAB"], seed=3).state_dict()
    merged = weights(result)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    key = "model.layers.0.self_attn.q_proj"
    lora_A, lora_B = (adapter[f"base_model.model.{key}.lora_{x}.weight"] for x in "AB")
    expected = base[f"{key}.weight"] + 8 / 2 * lora_B @ lora_A
    assert lora_B.abs().max() > 0
    torch.testing.assert_close(merged[f"{key}.weight"], expected)
    torch.testing.assert_close(merged["lm_head.weight"], base["lm_head.weight"])
    assert AutoModelForCausalLM.from_pretrained(result.model).num_parameters() == sum(
        weight.numel() for weight in base.values()
    )


def test_new_lora_weights_come_from_the_seed(tmp_path: Path) -> None:
    settings = {"lora": LoraSettings(r=2), "max_steps": 1}
    torch.manual_seed(1)
    first = run(tmp_path / "a", **settings)
    torch.manual_seed(2)
    assert_near(run(tmp_path / "b", **settings), first, atol=0.0)


EXPERTS = NO_DROPOUT | {"model_type": "mixtral", "num_local_experts": 3, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    ("settings", "config"),
    [({"lora": LoraSettings(r=2), "lr": 0.1}, NO_DROPOUT), ({}, EXPERTS)],
    ids=["lora", "experts, whose names on disk differ"],
)
def test_other_weights_resume_to_the_last_bit(
    tmp_path: Path, settings: dict[str, Any], config: dict[str, Any]
) -> None:
    def fail(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
        if progress > 0.6:
            raise KeyboardInterrupt
        return JOB["clm_loss"](model, batch, progress)

    unbroken = run(tmp_path / "a", config=config, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", fail, config, **settings)
    resumed = run(tmp_path / "b", config=config, **settings)
    assert resumed.resumed_step == 4
    assert_near(resumed, unbroken, atol=0.0)


@pytest.mark.parametrize("setting", [{"gradient_checkpointing": True}, {"num_workers": 1}])
def test_ways_to_save_memory_or_time_change_nothing(
    tmp_path: Path, one_batch: TrainResult, setting: dict[str, Any]
) -> None:
    assert_near(run(tmp_path, **setting), one_batch)


def test_bf16_trains_float32_weights(tmp_path: Path, one_batch: TrainResult) -> None:
    result = run(tmp_path, precision="bf16")
    assert {weight.dtype for weight in weights(result).values()} == {torch.float32}
    assert result.metrics["loss"] == pytest.approx(one_batch.metrics["loss"], rel=0.01)


def test_the_model_is_left_as_an_ordinary_one(tmp_path: Path) -> None:
    model = new_model(NO_DROPOUT, JOB["VOCAB"], seed=3)
    plan = TrainSettings(**JOB["SETTINGS"] | {"precision": "bf16", "max_steps": 1})
    result = train(model, JOB["make_rows"](), JOB["collate"], JOB["clm_loss"], plan, tmp_path)
    ids = torch.arange(9)[None]
    expected = AutoModelForCausalLM.from_pretrained(result.model)(input_ids=ids).logits
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    assert not model.training


def test_progress_is_the_share_of_steps_done(one_batch: TrainResult) -> None:
    # the last window is step 7 alone, at whose start 6 of 7 steps are done
    assert one_batch.metrics["progress"] == pytest.approx(6 / 7)


def test_the_last_steps_are_logged_without_checkpoints_too(tmp_path: Path) -> None:
    assert run(tmp_path, save_every_steps=None).metrics["step"] == 7
    assert not list((tmp_path / "checkpoints").iterdir())


def test_tensorboard_writes_into_each_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for name in "ab":
        run(tmp_path / name, report_to=("tensorboard",), max_steps=1)
        assert list((tmp_path / name / "tensorboard").glob("events*"))


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_stops_and_names_the_step(tmp_path: Path, bad: float) -> None:
    def loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
        out = JOB["clm_loss"](model, batch, progress)
        return out._replace(loss=out.loss * (bad if round(progress * 7) == 4 else 1.0))

    with pytest.raises(DataError, match="loss of step 5 is"):
        run(tmp_path, loss, save_every_steps=1)
    assert [p.name for p in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (tmp_path / "model").exists()


def test_a_gradient_that_is_no_number_is_seen_even_in_the_last_step(tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: Mapping[str, Any], progress: float) -> LossOut:
        out = JOB["clm_loss"](model, batch, progress)
        zero = (out.loss - out.loss).sqrt()  # 0, but its slope is infinite
        return out._replace(loss=out.loss + zero) if round(progress * 7) == 6 else out

    with pytest.raises(DataError, match="gradient of step 7"):
        run(tmp_path, loss)
    assert not (tmp_path / "model").exists()


def test_no_rows() -> None:
    model = new_model(NO_DROPOUT, JOB["VOCAB"], seed=3)
    with pytest.raises(DataError, match="0 rows"):
        train(model, [], JOB["collate"], JOB["clm_loss"], TrainSettings(), "nowhere")


def test_grouping_needs_lengths(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lengths"):
        run(tmp_path, group_by_length=True)


def test_a_batch_that_the_processes_cannot_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SettingsError, match="3 processes"):
        run(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="without a GPU"):
        run(tmp_path, precision="fp16")


def test_lora_on_modules_that_the_model_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="c_attn"):
        run(tmp_path, lora=LoraSettings(target_modules=("c_attn",)))


@pytest.mark.parametrize(
    ("name", "error"), [("tensorbord", SettingsError), ("comet_ml", MissingExtra)]
)
def test_a_place_to_report_to_that_is_not_there(
    tmp_path: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        run(tmp_path, report_to=(name,))


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = run(tmp_path / "a")
    save = Loop._save_optimizer_and_scheduler

    def full(self: Loop, folder: str) -> None:
        if self.state.global_step == 4:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640")
        save(self, folder)

    monkeypatch.setattr(Loop, "_save_optimizer_and_scheduler", full)
    with pytest.raises(DataError, match="disk full"):
        run(tmp_path / "b")
    monkeypatch.undo()
    resumed = run(tmp_path / "b")
    assert resumed.resumed_step == 2
    assert_near(resumed, unbroken, atol=0.0)


def test_a_model_that_could_not_be_saved_is_found_before_training(tmp_path: Path) -> None:
    model = new_model(NO_DROPOUT, JOB["VOCAB"], seed=3)
    model.generation_config.temperature = 0.5  # without do_sample, as Llama-2 was published
    with pytest.raises(WeightsError, match="generation_config"):
        train(
            model, [[1, 2]], JOB["collate"], JOB["clm_loss"], TrainSettings(), tmp_path / "nowhere"
        )
    assert not (tmp_path / "nowhere").exists()


def test_the_seed_reaches_dropout(tmp_path: Path) -> None:
    # The Trainer seeds by its own arguments when it is made.
    assert arguments(TrainSettings(seed=7), tmp_path, total=3, on_cpu=True).seed == 7
