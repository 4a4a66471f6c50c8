"""`inarch prune` as it is typed: what it prints, and what it says where something is wrong."""

import json
from pathlib import Path

import pytest
from tests.tiny import TEXT, byte_level, save_model
from typer.testing import CliRunner

from inarch.cli.main import app
from inarch.cli.show_prune import show_pruned
from inarch.errors import InarchError
from inarch.flows._prune import models as _prune_models


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a place")
    save_model(folder / "模型 🌱", byte_level(), seed=0)
    rows = [{"text": text} for text in TEXT]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def _no_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prune_models, "verify", lambda *args, **kwargs: None)


def prune(place: Path, *more: str, model: str = "模型 🌱") -> str:
    words = ["prune", str(place / model), "--data", str(place / "texts.jsonl"), *more]
    shown = CliRunner().invoke(app, [*words, "--set", "data.length=32"])
    if isinstance(shown.exception, InarchError):
        raise shown.exception
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_json_holds_the_order(place: Path, tmp_path: Path) -> None:
    lines = prune(place, "--blocks", "2", "--json", "--out", str(tmp_path / "out")).splitlines()
    found = json.loads(next(line for line in lines if line.startswith("{")))
    assert [set(entry) for entry in found["order"]] == [{"kind", "layer", "score"}] * 2
    assert {entry["kind"] for entry in found["order"]} <= {"mha", "mlp"}
    assert found == json.loads((tmp_path / "out/pruned.json").read_text())


def test_the_table_and_the_picture(place: Path, tmp_path: Path) -> None:
    shown = prune(
        place, "--blocks", "1", "--compare", "random", "--format", "native",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert shown.count("█") == 2  # one block, and the legend
    for word in ("whole", "cut", "random", "perplexity"):
        assert word in shown


def test_a_recipe_holds_the_same(place: Path, tmp_path: Path) -> None:
    recipe = {"model": str(place / "模型 🌱"), "data": str(place / "texts.jsonl")}
    recipe["target"] = {"blocks": 1}  # type: ignore[assignment]
    path = tmp_path / "cut.yaml"
    path.write_text(json.dumps(recipe, ensure_ascii=False), encoding="utf-8")
    shown = CliRunner().invoke(app, ["prune", str(path), "--dry-run", "--format", "native"])
    assert shown.exit_code == 0, shown.output
    assert "format: native" in shown.output
    assert "forwards" in shown.output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--ratio", "0"), "ratio"),
        (("--ratio", "1"), "ratio"),
        ((), "--ratio 0.25"),
        (("--ratio", "0.1", "--blocks", "1"), "target: found ratio and blocks"),
        (("--blocks", "1", "--method", "sleep"), "sleb"),
        (("--blocks", "1", "--format", "gguf"), "gguf-safe"),
        (("--blocks", "1", "--compare", "block_pruner"), "twice"),
        (("--blocks", "99"), "out of reach"),
    ],
)
def test_what_cannot_be_is_said(
    place: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InarchError, match=message):
        prune(place, *flags, "--out", str(tmp_path / "out"))


def test_no_texts_and_no_model(place: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["prune", str(place / "模型 🌱"), "--blocks", "1"])
    assert "--data FILE" in str(shown.exception)
    with pytest.raises(InarchError, match="nowhere"):
        prune(place, "--blocks", "1", "--out", str(tmp_path / "out"), model="nowhere")


def test_many_layers_take_several_lines(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "name": "whole", "parameters": 10, "num_layers": 70, "bytes": 40, "kv_bytes": 8,
        "prefill_s": None, "decode_s": None, "nll": 1.0, "held_out": None, "num_removed": 0,
        "removed_share": 0.0, "saved_share": 0.0, "healed": False,
    }  # fmt: skip
    cut = row | {"name": "cut", "num_removed": 1, "removed_share": 0.1, "saved_share": 0.05}
    show_pruned({
        "num_layers": 70, "order": [{"kind": "mlp", "layer": 65, "score": 1.0}],
        "models": [row, cut], "curves": {"block_pruner": []}, "empty": [["mha", 69]],
        "workload": {"prompt_tokens": 1, "batch_size": 1, "rounds": 1},
    })  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    marks = [line.split(maxsplit=1)[1] for line in lines if line.startswith("feed-forward")]
    assert marks == ["·" * 60, "·····█····"]
    other = [line.split(maxsplit=1)[1] for line in lines if line.startswith("attention")]
    assert other == ["·" * 60, "·········○"]
    assert any("gone before" in line for line in lines)
