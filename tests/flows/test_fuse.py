"""The whole path on tiny models of different architectures and tokenizers."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch import report
from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import fuse, teach
from inarch.flows.recipe import FuseRun
from inarch.fuse import Examples
from inarch.io.files import read_metrics
from inarch.settings import load
from tests.tiny import TEXT, byte_level, save_model, sentencepiece

TRAIN = {
    "max_steps": 3,
    "batch_size": 4,
    "lr": 1e-3,
    "log_every_steps": 1,
    "save_every_steps": None,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A target, two sources and two corpora."""
    folder = tmp_path_factory.mktemp("world")
    save_model(folder / "target", byte_level(), seed=0)
    save_model(folder / "alike", byte_level(), seed=1)
    save_model(folder / "other", sentencepiece(), kind="gpt_neox", seed=2, extra=5)
    texts = [{"text": f"{t} 🐈 {i}", "domain": f"d{i % 2}"} for i, t in enumerate(TEXT)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    chats = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": t}]}
        for t in TEXT
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(c) + "\n" for c in chats))
    return folder


def recipe(world: Path, *sources: str, data: str = "texts.jsonl", **sections: object) -> FuseRun:
    settings = {
        "target": str(world / "target"),
        "sources": tuple(str(world / s) for s in sources),
        "data": str(world / data),
        "teach": {"shard_rows": 6},
        "train": TRAIN,
        "device": "cpu",
    }
    return FuseRun(**settings | sections)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(out / "model").state_dict()


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(out / "metrics.jsonl")]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("data", ["texts.jsonl", "chats.jsonl"])
def test_from_recipe_to_model(world: Path, tmp_path: Path, data: str):
    settings = recipe(world, "alike", "other", data=data, fuse={"lambda": 0.5})
    fuse.run(settings, tmp_path / "out")
    found = manifest(tmp_path / "out")
    assert found["status"] == "done"
    assert found["facts"]["num_documents"] == len(TEXT)
    won = found["facts"]["winners"].values()
    assert sum(sum(names.values()) for names in won) == len(TEXT)
    assert found["facts"]["spoken_frac"] > 0.5
    assert len(losses(tmp_path / "out")) == 3
    start = AutoModelForCausalLM.from_pretrained(world / "target").state_dict()
    assert any((v != start[k]).any() for k, v in weights(tmp_path / "out").items())
    for name in ("target", "alike", "other"):
        (folder,) = (tmp_path / "out" / "teach").glob(f"{name}-*")
        assert len(list(folder.glob("shard-*.parquet"))) == -(-len(TEXT) // 6)


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(world: Path, tmp_path: Path):
    out = tmp_path / "out"
    fuse.run(recipe(world, "alike"), out)
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    fuse.run(recipe(world, "alike"), out)
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SettingsError, match=r"fuse.lambda: 0.9 there, 0.4 now"):
        fuse.run(recipe(world, "alike", fuse={"lambda": 0.4}), out)


def test_lambda_one_is_plain_training(world: Path, tmp_path: Path):
    # C4, end to end
    fuse.run(recipe(world), tmp_path / "plain")
    fuse.run(recipe(world, "other", fuse={"lambda": 1.0}), tmp_path / "one")
    assert losses(tmp_path / "plain") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    for a, b in zip(
        weights(tmp_path / "plain").values(), weights(tmp_path / "one").values(), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("data", ["texts.jsonl", "chats.jsonl"])
def test_online_gives_the_numbers_of_stored(world: Path, tmp_path: Path, data: str):
    for online in (False, True):
        settings = recipe(
            world, "alike", "other", data=data, teach={"online": online}, fuse={"lambda": 0.1}
        )
        fuse.run(settings, tmp_path / str(online))
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-4)
    assert not (tmp_path / "True" / "teach").exists()


def test_a_source_that_is_the_target_changes_nothing(world: Path, tmp_path: Path):
    # E1: the same model under another name speaks in every position exactly as the target does.
    twin = {"path": str(world / "target"), "name": "twin"}
    settings = recipe(world, fuse={"include_target": False}).model_dump(by_alias=True)
    fuse.run(FuseRun(**settings | {"sources": (twin,)}), tmp_path / "twin")
    settings["fuse"]["include_target"] = True
    fuse.run(FuseRun(**settings | {"sources": (twin,)}), tmp_path / "both")
    one, both = (Examples(tmp_path / n / "fused" / "examples.arrow") for n in ("twin", "both"))
    for a, b in zip(one, both, strict=True):
        np.testing.assert_array_equal(a.lesson.ids, b.lesson.ids)
        np.testing.assert_array_equal(a.lesson.logps, b.lesson.logps)
        np.testing.assert_array_equal(a.lesson.tail, b.lesson.tail)
        assert set(b.lesson.winner.tolist()) == {0}  # ties go to the target
    assert losses(tmp_path / "twin") == losses(tmp_path / "both")


def test_where_the_target_wins_the_label_alone_is_taught(world: Path, tmp_path: Path):
    # A twin ties with the target, which comes first and so wins everywhere.
    twin = {"path": str(world / "target"), "name": "twin"}
    settings = recipe(world, fuse={"when_target_wins": "gold", "lambda": 0.2})
    fuse.run(
        FuseRun(**settings.model_dump(by_alias=True) | {"sources": (twin,)}), tmp_path / "gold"
    )
    fuse.run(recipe(world), tmp_path / "plain")
    assert losses(tmp_path / "gold") == pytest.approx(losses(tmp_path / "plain"), rel=1e-6)


@pytest.mark.parametrize(
    "chosen",
    [
        {"method": "avgce", "granularity": "span"},
        {"granularity": "token", "when_target_wins": "gold"},
        {"objective": "uld"},
        {"objective": "chunk"},
        {"objective": "jsd", "tail": "renormalise"},
        {"include_target": False, "floor": 0.5, "unmatched": "skip"},
    ],
)
def test_every_choice_runs_and_learns(world: Path, tmp_path: Path, chosen: dict):
    settings = recipe(world, "alike", "other", fuse=chosen, train=TRAIN | {"max_steps": 8})
    fuse.run(settings, tmp_path / "out")
    rows = read_metrics(tmp_path / "out" / "metrics.jsonl")
    assert rows[-1]["clm"] < rows[0]["clm"]


def test_pairs_are_independent(world: Path, tmp_path: Path):
    pairwise = {"pairwise": True, "when_target_wins": "gold"}
    fuse.run(recipe(world, "alike", fuse=pairwise), tmp_path)
    first = tmp_path / "pairs" / "alike" / "model" / "model.safetensors"
    before = first.stat().st_mtime_ns
    shards = {p: p.stat().st_mtime_ns for p in tmp_path.glob("teach/target-*/*.parquet")}
    fuse.run(recipe(world, "alike", "other", fuse=pairwise), tmp_path)
    assert first.stat().st_mtime_ns == before
    assert (tmp_path / "pairs" / "other" / "model" / "model.safetensors").exists()
    assert manifest(tmp_path)["facts"]["pairs"] == ["alike", "other"]
    page = report.build(tmp_path).read_text(encoding="utf-8")
    assert "alike" in page
    assert "other" in page
    # The target was asked once: no text was cut differently for the new pair.
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("teach/target-*/*.parquet")} == shards


def test_two_models_of_one_name(world: Path):
    with pytest.raises(ValueError, match="two models are called 'target'"):
        recipe(world, "target")


def test_teach_alone_and_only(world: Path, tmp_path: Path):
    settings = recipe(world, "alike", "other")
    teach.run(settings, tmp_path, only=("other",))
    assert [p.name.rsplit("-", 1)[0] for p in (tmp_path / "teach").iterdir()] == ["other"]
    with pytest.raises(SettingsError, match=r"--only nobody: expected one of target, alike, other"):
        teach.run(settings, tmp_path, only=("nobody",))


KILLED = """
import os, signal, sys
from pathlib import Path
from inarch.flows import teach
from inarch.settings import load
write, written = teach.write_shard, []
def killing(*args):
    if len(written) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(write(*args))
teach.write_shard = killing
teach.run(load(teach.FuseRun, sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_while_teaching(world: Path, tmp_path: Path):
    settings = recipe(world, "alike", fuse={"include_target": False})
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json", by_alias=True)))
    assert load(FuseRun, path) == settings
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", KILLED, path, out], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    (first,) = out.glob("teach/alike-*/shard-*.parquet")
    before = first.stat().st_mtime_ns
    teach.run(settings, out)
    assert first.stat().st_mtime_ns == before
    teach.run(settings, tmp_path / "unbroken")
    for path in out.glob("teach/alike-*/shard-*.parquet"):
        assert path.read_bytes() == (tmp_path / "unbroken" / path.relative_to(out)).read_bytes()


@pytest.mark.slow
def test_two_processes_are_one(world: Path, tmp_path: Path):
    settings = recipe(world, "alike", "other", fuse={"lambda": 0.3})
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json", by_alias=True)))
    # --multi_gpu without a GPU is gloo on the CPU; --cpu would start one process without MPI.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--module"]
    command = [sys.executable, *launcher, "inarch", "fuse", path, "--out", tmp_path / "two"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=env, timeout=300)
    fuse.run(settings, tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_shard_cut_in_half_is_made_anew(world: Path, tmp_path: Path, caplog):
    settings = recipe(world, "alike")
    teach.run(settings, tmp_path)
    shard = next(tmp_path.glob("teach/alike-*/shard-00001.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    fuse.run(settings, tmp_path)
    assert "shard-00001.parquet was cut; it is made anew" in caplog.text
    assert shard.read_bytes() == whole


def test_a_full_disk_loses_nothing(world: Path, tmp_path: Path, monkeypatch):
    settings = recipe(world, "alike", fuse={"include_target": False})
    sync, left = os.fsync, [14]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"disk full while writing .*nothing half-written"):
        fuse.run(settings, tmp_path / "out")
    monkeypatch.undo()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    fuse.run(settings, tmp_path / "out")
    fuse.run(settings, tmp_path / "unbroken")
    assert losses(tmp_path / "out") == losses(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "found no usable row .the file is empty"), ('{"text": ""}\n', "1 empty texts")],
)
def test_a_corpus_of_no_rows(world: Path, tmp_path: Path, content: str, message: str):
    (world / "none.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        fuse.run(recipe(world, "alike", data="none.jsonl"), tmp_path / "out")


def test_absent_models(world: Path, tmp_path: Path):
    with pytest.raises(WeightsError, match="nowhere"):
        fuse.run(recipe(world, "nowhere"), tmp_path / "out")


def test_plan_counts_what_the_run_reads(world: Path, tmp_path: Path):
    settings = recipe(world, "alike", "other")
    planned = fuse.plan(settings)
    fuse.run(settings, tmp_path / "out")
    (folder,) = (tmp_path / "out" / "teach").glob("other-*")
    kept = manifest(folder)["facts"]["num_kept_tokens"]
    assert planned["teach other: tokens"] == kept + len(TEXT)  # the last token predicts nothing
    assert planned["rows"] == len(TEXT)


def test_plan_without_the_models_or_the_data(world: Path):
    planned = fuse.plan(recipe(world, "nowhere", data="nothing.jsonl"))
    assert planned["rows"] == "unknown"
    assert planned["teach nowhere: tokens"] == "unknown"
    assert "unknown" in planned["time"]


def test_beliefs_are_not_reused_under_another_dtype(world: Path, tmp_path: Path):
    teach.run(recipe(world, "alike"), tmp_path)
    other = {"path": str(world / "alike"), "dtype": "bf16"}
    settings = FuseRun(**recipe(world).model_dump(by_alias=True) | {"sources": (other,)})
    with pytest.raises(SettingsError, match=r"dtype: .*auto.* there, .*bf16.* now"):
        teach.run(settings, tmp_path)


def test_a_corpus_that_changed_is_not_taken_for_the_old_one(world: Path, tmp_path: Path):
    (world / "moving.jsonl").write_text(json.dumps({"text": TEXT[0]}) + "\n")
    fuse.run(recipe(world, "alike", data="moving.jsonl"), tmp_path)
    (world / "moving.jsonl").write_text(json.dumps({"text": TEXT[1]}) + "\n")
    with pytest.raises(SettingsError, match=r"inputs.data: .* there, .* now"):
        fuse.run(recipe(world, "alike", data="moving.jsonl"), tmp_path)


def test_a_repaired_shard_changes_no_count(world: Path, tmp_path: Path):
    settings = recipe(world, "alike")
    teach.run(settings, tmp_path)
    (folder,) = tmp_path.glob("teach/alike-*")
    before = manifest(folder)["facts"]
    (folder / "shard-00001.parquet").unlink()
    teach.run(settings, tmp_path)
    assert manifest(folder)["facts"] == before
    fuse.run(settings, tmp_path)


def test_a_run_goes_on_with_smaller_batches(world: Path, tmp_path: Path):
    fuse.run(recipe(world, "alike"), tmp_path)
    cheaper = {"shard_rows": 6, "batch_tokens": 100}
    fuse.run(recipe(world, "alike", teach=cheaper, train=TRAIN | {"micro_batch_size": 2}), tmp_path)


def test_rows_that_predict_nothing_are_counted(world: Path, tmp_path: Path):
    texts = [{"text": "x"}, *({"text": text} for text in TEXT)]
    (world / "short.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    bare = {"path": str(world / "short.jsonl"), "bos": False, "eos": False}
    settings = recipe(world, "alike", train=TRAIN | {"micro_batch_size": 1})
    settings = FuseRun(**settings.model_dump(by_alias=True) | {"data": bare})
    fuse.run(settings, tmp_path)
    assert manifest(tmp_path)["facts"]["num_rows_without_a_prediction"] == 1
    assert len(Examples(tmp_path / "fused" / "examples.arrow")) == len(TEXT)


def test_a_model_from_scratch_is_not_read_beyond_its_positions(world: Path, tmp_path: Path):
    scratch = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24}
    target = {"name": "new", "tokenizer": str(world / "target"), "scratch": scratch}
    settings = recipe(world, "other").model_dump(by_alias=True) | {"target": target}
    fuse.run(FuseRun(**settings), tmp_path)
    found = Examples(tmp_path / "fused" / "examples.arrow")
    assert max(len(example.row.ids) for example in found) <= 24
    assert manifest(tmp_path)["facts"]["num_documents"] > len(TEXT)


def test_padding_with_the_end_token_hides_no_end(world: Path, tmp_path: Path):
    hf = byte_level()
    hf.pad_token = hf.eos_token
    save_model(tmp_path / "padded", hf, seed=0)
    for name in ("target", "padded"):
        folder = world / name if name == "target" else tmp_path / name
        settings = recipe(world).model_dump(by_alias=True) | {"target": str(folder)}
        fuse.run(FuseRun(**settings), tmp_path / f"{name}-out")
    assert losses(tmp_path / "target-out") == losses(tmp_path / "padded-out")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"teach": {"temperature": 2.0}}, "temperature other than 1 needs"),
        ({"teach": {"online": True}, "train": TRAIN | {"num_workers": 1}}, "num_workers: 0"),
        ({"teach": {"online": True}, "train": TRAIN | {"group_by_length": True}}, "length of rows"),
        ({"fuse": {"objective": "uld"}, "match": {"vocabulary": "exact"}}, "no effect under"),
    ],
)
def test_contradictions_are_refused(world: Path, sections: dict, message: str):
    with pytest.raises(ValueError, match=message):
        recipe(world, "alike", **sections)
