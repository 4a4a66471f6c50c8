"""Whole merges of small models: what is in the folder, and what happens to a run that is cut."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import merge
from inarch.flows.merge import MergeOptions
from inarch.merge import METHODS, MergeConfig, load_config
from inarch.merge._card import card
from tests.tiny import byte_level, save_model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with ``base``, and ``a``, ``b``, ``c`` that were trained from it, as it were."""
    root = tmp_path_factory.mktemp("models 模型 🌱")
    hf = byte_level()
    base = save_model(root / "base", hf)
    weights = load_file(base / "model.safetensors")
    for seed, name in enumerate("abc", 1):
        save_model(root / name, hf)
        generator = torch.Generator().manual_seed(seed)
        changed = {
            key: value + 0.02 * seed * torch.randn(value.shape, generator=generator)
            for key, value in weights.items()
        }
        save_file(changed, root / name / "model.safetensors", metadata={"format": "pt"})
    return root


def recipe(
    models: Path, method: str = "linear", entries: list[object] | None = None, **more: object
) -> MergeConfig:
    """A merge of the three models."""
    entries = entries or [{"model": str(models / name)} for name in "abc"]
    content = {"merge_method": method, "models": entries, **more}
    path = models / f"{method}.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True))
    return load_config(path, METHODS)


LINEAR = {"parameters": {"weight": 1.0}}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def digest(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# --------------------------------------------------------------------------------- what comes out


def test_the_folder_is_a_model_of_plain_transformers(models, tmp_path):
    out = merge.run(recipe(models, **LINEAR), tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(out).state_dict()
    parts = [load_file(models / name / "model.safetensors") for name in "abc"]
    for name in weights_of(out):
        mean = sum(part[name].double() for part in parts) / 3
        torch.testing.assert_close(loaded[name].double(), mean, rtol=1e-6, atol=1e-7)
    hf, before = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(models / "a")
    chat = [{"role": "user", "content": "Grüße, 世界 🌍"}]
    assert hf.apply_chat_template(chat) == before.apply_chat_template(chat)
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "merge.yaml",
        "model.safetensors",
        "tensors.jsonl",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_what_is_told_beside_the_weights(models, tmp_path):
    config = recipe(models, "sce", base_model=str(models / "base"), parameters={"variant": "paper"})
    out = merge.run(config, tmp_path / "out")
    rows = [json.loads(line) for line in (out / "tensors.jsonl").read_text().splitlines()]
    assert {row["tensor"] for row in rows} == set(weights_of(out))
    row = next(row for row in rows if row["tensor"].endswith("0.mlp.up_proj.weight"))
    assert row["parameters"]["variant"] == "paper"
    # changes of .02, .04 and .06: eta is about 1 : 4 : 9 of 14
    np.testing.assert_allclose(row["coefficients"], [1 / 14, 4 / 14, 9 / 14], atol=0.02)
    assert len(row["digests"]) == 5
    assert all(row["digests"].values())
    assert load_config(out / "merge.yaml", METHODS) == config
    card = (out / "README.md").read_text()
    assert "merge_method: sce" in card
    assert str(models / "base") in card
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["inputs"]) == [str(models / name) for name in ("a", "b", "c", "base")]


def test_a_card_links_to_the_hub_alone(models, tmp_path, monkeypatch):
    """The hub refuses a card whose ``base_model`` is no id, such as a folder or ``id@revision``."""
    monkeypatch.chdir(models.parent)
    Path("a@1").symlink_to(models / "a")
    entries = [{"model": "a@1"}, {"model": f"{models.name}/b"}]
    out = merge.run(recipe(models, entries=entries, **LINEAR), tmp_path / "out")
    assert "base_model" not in (out / "README.md").read_text()
    text = card(
        "merge_method: ties", "ties", {"o/m@v": "1", "o/m+x": "2"}, ["o/m", "o/m"], None, ()
    )
    assert "base_model:\n- o/m\n---\n" in text


def test_a_digest_tells_one_number_from_another(models, tmp_path):
    one = merge.run(recipe(models, **LINEAR), tmp_path / "one")
    other = models.parent / "other"
    other.mkdir(exist_ok=True)
    for name in "abc":
        if not (other / name).exists():
            save_model(other / name, byte_level())
        tensors = load_file(models / name / "model.safetensors")
        if name == "b":
            tensors["model.norm.weight"][3] += 1e-3
        save_file(tensors, other / name / "model.safetensors", metadata={"format": "pt"})
    two = merge.run(recipe(other, **LINEAR), tmp_path / "two")
    rows = [
        {row["tensor"]: list(row["digests"].values()) for row in map(json.loads, lines)}
        for lines in ((folder / "tensors.jsonl").read_text().splitlines() for folder in (one, two))
    ]
    assert [name for name in rows[0] if rows[0][name] != rows[1][name]] == ["model.norm.weight"]
    a, b, c, result = (
        x == y
        for x, y in zip(rows[0]["model.norm.weight"], rows[1]["model.norm.weight"], strict=True)
    )
    assert (a, b, c, result) == (True, False, True, False)


@pytest.mark.parametrize("unit", ["model", "layer"])
def test_varm_shares_its_coefficients_in_a_unit(models, tmp_path, unit):
    config = recipe(models, "varm", base_model=str(models / "base"), parameters={"unit": unit})
    out = merge.run(config, tmp_path / "out")
    rows = [json.loads(line) for line in (out / "tensors.jsonl").read_text().splitlines()]
    base = load_file(models / "base/model.safetensors")
    parts = [load_file(models / name / "model.safetensors") for name in "abc"]

    def unit_of(name: str) -> str:
        if unit == "model":
            return ""
        return name.split(".")[2] if ".layers." in name else name

    for row in rows:
        names = [name for name in base if unit_of(name) == unit_of(row["tensor"])]
        squares = [
            sum(float((p[n].double() - base[n].double()).square().sum()) for n in names)
            for p in parts
        ]
        np.testing.assert_allclose(row["coefficients"], np.array(squares) / sum(squares), rtol=1e-5)
        assert row["parameters"]["coefficients"] == row["coefficients"]


def test_threads_and_shards_change_no_number(models, tmp_path):
    config = recipe(
        models,
        "dare_ties",
        base_model=str(models / "base"),
        parameters={"weight": 0.5, "density": 0.4},
    )
    one = merge.run(config, tmp_path / "one", MergeOptions(threads=1))
    many = merge.run(config, tmp_path / "many", MergeOptions(threads=5, max_shard_gb=1e-5))
    assert len(list(many.glob("*.safetensors"))) > 3
    for name, value in weights_of(one).items():
        assert torch.equal(value, weights_of(many)[name])
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(many).state_dict(),
        AutoModelForCausalLM.from_pretrained(one).state_dict(),
        rtol=0,
        atol=0,
    )


def test_a_torch_device_gives_the_same(models, tmp_path, monkeypatch):
    config = recipe(
        models,
        "ties",
        base_model=str(models / "base"),
        parameters={
            "weight": 0.5,
            "density": 0.4,
        },
    )
    one = merge.run(config, tmp_path / "one")
    monkeypatch.setattr(merge, "_find_device", lambda wish: "cpu:0")
    other = merge.run(config, tmp_path / "other")
    for name, value in weights_of(one).items():
        torch.testing.assert_close(weights_of(other)[name], value, rtol=0, atol=1e-7)


def test_explain_writes_nothing_and_finds_the_same(models, tmp_path):
    config = recipe(models, "varm", base_model=str(models / "base"), parameters={"unit": "layer"})
    before = sorted(models.rglob("*"))
    rows = merge.explain(config)
    assert sorted(models.rglob("*")) == before
    out = merge.run(config, tmp_path / "out")
    written = [json.loads(line) for line in (out / "tensors.jsonl").read_text().splitlines()]
    for row in written:
        row.pop("digests")
    assert rows == written


def test_a_plan_counts_what_is_read_and_written(models):
    plan = merge.plan(recipe(models, **LINEAR))
    num = sum(value.numel() for value in load_file(models / "a/model.safetensors").values())
    assert plan["parameters"] == num
    assert plan["writes"] == f"{num * 4 / 1e9:.2f} GB"
    assert plan["reads"] == f"{num * 12 / 1e9:.2f} GB"


def test_a_base_of_a_slice_that_is_none_of_its_sources_is_not_opened(models):
    slice_ = {
        "sources": [{"model": str(models / name), "layer_range": [0, 1]} for name in "ab"],
        "base_model": str(models / "absent"),
    }
    content = {"merge_method": "linear", "slices": [slice_], **LINEAR}
    plan = merge.plan(MergeConfig.model_validate(content, strict=False))
    assert plan["note 1"] == "slices.0.base_model: has no effect, as it is none of the sources"


# ----------------------------------------------------------------------------------- runs and cuts


def test_a_finished_folder_is_left_alone(models, tmp_path):
    config = recipe(models, **LINEAR)
    out = merge.run(config, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"}
    merge.run(config, out)
    assert {p: p.stat().st_mtime_ns for p in out.iterdir() if p.name != ".lock"} == before


def test_another_recipe_into_one_folder_is_refused(models, tmp_path):
    out = merge.run(recipe(models, **LINEAR), tmp_path / "out")
    with pytest.raises(SettingsError, match=r"parameters.weight: 1.0 there, 0.5 now"):
        merge.run(recipe(models, parameters={"weight": 0.5}), out)


def test_two_runs_at_once_into_one_folder(models, tmp_path, monkeypatch):
    config = recipe(models, **LINEAR)
    real = merge.merge_tensors
    tried = []

    def during(*args, **kwargs):
        if not tried:
            tried.append(1)
            with pytest.raises(DataError, match="is at work in"):
                merge.run(config, tmp_path / "out")
        return real(*args, **kwargs)

    monkeypatch.setattr(merge, "merge_tensors", during)
    merge.run(config, tmp_path / "out")
    assert tried


SLOW = """
import sys, time
import inarch.merge._stream as stream
from inarch.cli.main import main
real = stream._finish
def slow(*args):
    made = real(*args)
    print(made.name, flush=True)
    time.sleep(0.05)
    return made
stream._finish = slow
sys.argv = ["inarch", "merge", *sys.argv[1:]]
main()
"""


def test_a_killed_merge_leaves_no_model_and_goes_on(models, tmp_path):
    config = recipe(
        models,
        "ties",
        base_model=str(models / "base"),
        parameters={
            "weight": 0.5,
            "density": 0.5,
        },
    )
    whole = merge.run(config, tmp_path / "whole")
    out = tmp_path / "cut"
    command = [sys.executable, "-c", SLOW, str(models / "ties.yaml"), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = [process.stdout.readline().strip() for _ in range(4)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(out.glob("*.safetensors"))
    assert not (out / "config.json").exists()
    done_before = [json.loads(line)["tensor"] for line in (out / "tensors.jsonl").open()]
    assert first[:3] == done_before[:3]

    begun = []
    real = merge.merge_tensors

    def watch(jobs, *args, **kwargs):
        begun.extend(job.name for job in jobs)
        return real(jobs, *args, **kwargs)

    merge.merge_tensors = watch
    try:
        merge.run(config, out)
    finally:
        merge.merge_tensors = real
    assert not set(begun) & set(done_before)
    assert digest(out) == digest(whole)
    rows = [json.loads(line)["tensor"] for line in (out / "tensors.jsonl").open()]
    assert sorted(rows) == sorted(weights_of(out))


def test_a_full_disk(models, tmp_path):
    """The room is taken before anything is computed, so the error comes in the first second."""
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
sys.argv = ["inarch", "merge", {str(models / "linear.yaml")!r}, {str(tmp_path / "out")!r}]
from inarch.cli.main import main
main()
"""
    recipe(models, **LINEAR)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "disk full" in ended.stderr
    assert not list((tmp_path / "out").glob("*.safetensors"))
    merge.run(load_config(models / "linear.yaml", METHODS), tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder closed to root, too")
def test_a_folder_that_cannot_be_written(models):
    with pytest.raises(DataError, match="cannot make the folder"):
        merge.run(recipe(models, **LINEAR), "/proc/merged")


def test_a_file_where_the_folder_should_be(models, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="cannot make the folder"):
        merge.run(recipe(models, **LINEAR), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_with_other_files_is_not_touched(models, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="no run of inarch made it"):
        merge.run(recipe(models, **LINEAR), tmp_path / "out")


# --------------------------------------------------------------------------------------- bad input


@pytest.fixture
def broken(models, tmp_path) -> Path:
    """Copies of the models, for a test to break."""
    for name in ("base", "a", "b", "c"):
        (tmp_path / name).mkdir()
        for file in (models / name).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder: Path, edit) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_truncated_shard(broken):
    path = broken / "b/model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        merge.run(recipe(broken, **LINEAR), broken / "out")
    assert not (broken / "out").exists()


@pytest.mark.parametrize("method", ["linear", "karcher"])  # in the only sweep, or before it
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none(broken, method, value):
    def edit(tensors):
        tensors["model.norm.weight"][2] = value

    change(broken / "b", edit)
    with pytest.raises(WeightsError, match=r"^\S*/b: model\.norm\.weight\[2\] is (nan|inf)"):
        merge.run(recipe(broken, method, **LINEAR), broken / "out")
    assert not list((broken / "out").glob("*.safetensors"))


def test_a_tensor_of_another_shape(broken):
    change(broken / "b", lambda t: t.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(WeightsError, match=r"model\.norm\.weight"):
        merge.run(recipe(broken, **LINEAR), broken / "out")


@pytest.mark.parametrize("method", ["linear", "sce"])
def test_tensors_without_elements(broken, method):
    empty = {
        f"model.layers.{i}.mlp.{n}.weight": torch.ones(n, 1 - n) for i in (0, 1) for n in (0, 1)
    }
    for name in ("base", "a", "b"):
        change(broken / name, lambda t: t.update(empty))
    entries = [{"model": str(broken / name), "parameters": {"weight": 1}} for name in "ab"]
    base = {"base_model": str(broken / "base")} if method == "sce" else {}
    merge.run(recipe(broken, method, entries, **base), broken / "out")
    made = weights_of(broken / "out")
    assert {name: made[name].shape for name in empty} == {n: t.shape for n, t in empty.items()}


def test_a_model_without_a_layer(broken):
    def edit(tensors):
        for name in [name for name in tensors if ".layers.1." in name]:
            del tensors[name]

    change(broken / "b", edit)
    with pytest.raises((WeightsError, SettingsError), match=r"layer"):
        merge.run(recipe(broken, **LINEAR), broken / "out")


def test_another_architecture(broken):
    other = save_model(broken / "neox", byte_level(), kind="neox")
    (broken / "b").rename(broken / "b-before")
    other.rename(broken / "b")
    with pytest.raises(WeightsError, match=r"(?i)gpt_?neox"):
        merge.run(recipe(broken, **LINEAR), broken / "out")


def test_weights_that_cancel(models, tmp_path):
    entries = [
        {"model": str(models / name), "parameters": {"weight": w}}
        for name, w in zip("abc", (1.0, 1.0, -2.0), strict=True)
    ]
    with pytest.raises(SettingsError, match=r"^model\.embed_tokens\.weight: the weights .* sum to"):
        merge.run(recipe(models, entries=entries), tmp_path / "out")


@pytest.mark.parametrize("method", ["ties", "dare_ties", "dare_linear"])
def test_density_zero_is_the_base(models, tmp_path, method):
    config = recipe(
        models,
        method,
        base_model=str(models / "base"),
        parameters={"weight": 1.0, "density": 0.0},
    )
    out = merge.run(config, tmp_path / "out")
    base = load_file(models / "base/model.safetensors")
    for name, value in weights_of(out).items():
        assert torch.equal(value, base[name])


def test_no_models(tmp_path):
    (tmp_path / "r.yaml").write_text("merge_method: linear\nmodels: []\n")
    with pytest.raises(SettingsError, match="found no models"):
        load_config(tmp_path / "r.yaml", METHODS)


def test_the_command_line_exits_with_two(models, tmp_path):
    (tmp_path / "r.yaml").write_text("merge_method: liner\nmodels: [{model: nowhere}]\n")
    command = [sys.executable, "-m", "inarch", "merge", str(tmp_path / "r.yaml"), "out"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert "did you mean `linear`?" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_merge_needs_no_torch(models, tmp_path):
    """Loading torch takes longer, and more memory, than merging a small model."""
    recipe(
        models,
        "ties",
        base_model=str(models / "base"),
        parameters={
            "weight": 0.5,
            "density": 0.5,
        },
    )
    code = """
import sys
from inarch.cli.main import main
sys.argv = ["inarch", "merge", *sys.argv[1:]]
try:
    main()
finally:
    print("TORCH", "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(models / "ties.yaml"), str(tmp_path / "out")]
    begun = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("TORCH False\n"), time.monotonic() - begun
