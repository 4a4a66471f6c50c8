"""What tells two checkpoints apart: by hand, on files of every kind."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inarch.errors import WeightsError
from inarch.flows import diff
from inarch.flows.diff import DiffSettings
from tests.tiny import byte_level, save_model, sentencepiece

Q = "model.layers.{}.self_attn.q_proj.weight"


def checkpoint(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    return folder


def tensor(*values: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


def row_of(found: dict, name: str) -> dict:
    (row,) = (row for row in found["tensors"] if row["tensor"] == name)
    return row


@pytest.fixture
def pair(tmp_path):
    """Two checkpoints with the given tensors, and what `run` says about them."""

    def compare(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict:
        return diff.run(checkpoint(tmp_path / "a", a), checkpoint(tmp_path / "b", b))

    return compare


def test_by_hand(pair):
    a = {Q.format(0): tensor(3, 4), Q.format(1): tensor(0, 2), "model.norm.weight": tensor(1)}
    b = {Q.format(0): tensor(3, 4), Q.format(1): tensor(3, 2), "model.norm.weight": tensor(1)}
    found = pair(a, b)
    assert not found["same_weights"]
    first, second = (row_of(found, Q.format(i)) for i in (0, 1))
    assert [first[key] for key in ("norm", "relative", "cosine", "changed_frac")] == [0, 0, 1, 0]
    assert second["norm"] == 3.0
    assert second["relative"] == 1.5
    assert second["cosine"] == pytest.approx(4 / (2 * math.sqrt(13)))
    assert (second["largest"], second["changed_frac"], second["nonfinite"]) == (3.0, 0.5, 0)
    assert (second["shape"], second["dtype_a"], second["dtype_b"]) == ([2], "F32", "F32")
    # all together: 3 over sqrt(9 + 16 + 4 + 1), and one of five elements
    assert found["whole"]["relative"] == pytest.approx(3 / math.sqrt(30))
    assert found["whole"]["changed_frac"] == 0.2
    assert [(row["layer"], row["norm"]) for row in found["layers"]] == [
        ("model.layers.0", 0.0),
        ("model.layers.1", 3.0),
        ("model.norm.weight", 0.0),
    ]


def test_a_model_and_itself(tmp_path):
    model = save_model(tmp_path / "model", byte_level())
    found = diff.run(model, model)
    assert found["same_weights"]
    assert found["whole"] == {
        "norm": 0.0,
        "relative": 0.0,
        "cosine": 1.0,
        "largest": 0.0,
        "changed_frac": 0.0,
    }
    assert not any(found[key] for key in ("only_a", "only_b", "shapes", "files", "tokens"))
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("threads", [1, 3])
def test_large_tensors_against_float64(tmp_path, threads):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(700, 501, generator=generator).bfloat16()  # three parts
    b = a.clone()
    b[::3] += 0.01 * torch.randn(234, 501, generator=generator).bfloat16()
    folders = [checkpoint(tmp_path / n, {"w.weight": t}) for n, t in (("a", a), ("b", b))]
    row = row_of(diff.run(*folders, DiffSettings(threads=threads)), "w.weight")
    x, y = a.double().numpy(), b.double().numpy()
    assert row["norm"] == pytest.approx(np.linalg.norm(y - x), rel=1e-13)
    assert row["relative"] == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-13)
    cosine = (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y)
    assert 1 - row["cosine"] == pytest.approx(1 - cosine, rel=1e-8)
    assert row["largest"] == np.abs(y - x).max()
    assert row["changed_frac"] == (x != y).mean()


def test_an_update_that_bf16_rounds_away_is_seen_as_none(pair):
    """A step of 1e-4 is below half a unit of 1 in bf16, and above that of 0.001."""
    start = torch.tensor([1.0, 1.0, 0.001, 0.001])
    a, b = start.bfloat16(), (start.bfloat16().float() + 1e-4).bfloat16()
    row = row_of(pair({"w.weight": a}, {"w.weight": b}), "w.weight")
    assert row["changed_frac"] == 0.5


def test_formats_are_compared_by_value(pair):
    values = [0.5, -2.0, 0.0]
    formats = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float64]
    a = {f"{i}.weight": tensor(*values) for i in range(5)}
    b = {f"{i}.weight": tensor(*values, dtype=dtype) for i, dtype in enumerate(formats)}
    found = pair(a, b)
    assert [row["dtype_b"] for row in found["tensors"]] == ["F32", "BF16", "F16", "F8_E4M3", "F64"]
    assert {row["changed_frac"] for row in found["tensors"]} == {0.0}
    assert found["same_weights"]


def test_float64_is_not_rounded(pair):
    a, b = (tensor(1.0, 2.0 + step, dtype=torch.float64) for step in (0.0, 1e-12))
    row = row_of(pair({"w.weight": a}, {"w.weight": b}), "w.weight")
    assert row["changed_frac"] == 0.5
    assert row["largest"] == pytest.approx(1e-12, rel=1e-3)


def test_whole_numbers_are_counted_only(pair):
    a = {"position_ids": torch.arange(4), "same": torch.arange(3), "other": torch.arange(2)}
    b = a | {"position_ids": torch.tensor([0, 1, 5, 3]), "other": torch.arange(2).int()}
    found = pair(a, b)
    assert row_of(found, "position_ids")["changed_frac"] == 0.25
    assert row_of(found, "position_ids")["norm"] is None
    assert row_of(found, "same")["changed_frac"] == 0.0
    assert row_of(found, "other")["changed_frac"] == 1.0
    assert found["whole"]["norm"] == 0.0


def test_nan_and_infinity_are_counted_and_left_out_of_sums(pair):
    nan, inf = math.nan, math.inf
    a = {"w.weight": tensor(1, nan, inf, 2, nan, -inf)}
    b = {"w.weight": tensor(1, nan, inf, 5, 0, inf)}
    row = row_of(pair(a, b), "w.weight")
    assert row["nonfinite"] == 4
    assert row["norm"] == 3.0
    assert row["relative"] == pytest.approx(3 / math.sqrt(5))
    # 2 -> 5, nan -> 0 and -inf -> inf; nan stays nan and inf stays inf
    assert row["changed_frac"] == 0.5


def test_tensors_apart(pair):
    a = {"x.weight": tensor(1), "y.weight": tensor(1, 2), "z.weight": tensor(1)}
    b = {"y.weight": tensor(1, 2, 3), "z.weight": tensor(1), "n.weight": tensor(1)}
    found = pair(a, b)
    assert (found["only_a"], found["only_b"]) == (["x.weight"], ["n.weight"])
    assert found["shapes"] == [{"tensor": "y.weight", "a": [2], "b": [3]}]
    assert [row["tensor"] for row in found["tensors"]] == ["z.weight"]
    assert not found["same_weights"]


def test_a_tied_head_is_compared_with_one_of_its_own(tmp_path):
    embedding, head = {"model.embed_tokens.weight": tensor(1, 2)}, {"lm_head.weight": tensor(1, 4)}
    config = {"architectures": ["LlamaForCausalLM"]}
    tied = checkpoint(tmp_path / "tied", embedding, tie_word_embeddings=True, **config)
    own = checkpoint(tmp_path / "own", embedding | head, tie_word_embeddings=False, **config)
    for folders, change in (((tied, own), 2.0), ((own, tied), 2.0), ((tied, tied), None)):
        found = diff.run(*folders)
        heads = [row["norm"] for row in found["tensors"] if row["tensor"] == "lm_head.weight"]
        assert heads == ([] if change is None else [change])
        assert (found["only_a"], found["only_b"]) == ([], [])


def test_layers_are_in_the_order_of_the_model(pair):
    names = ["lm_head.weight", Q.format(10), Q.format(2), "model.norm.weight"]
    names += ["model.embed_tokens.weight", Q.format(0)]
    tensors = {name: tensor(1) for name in names}
    assert [row["layer"] for row in pair(tensors, tensors)["layers"]] == [
        "model.embed_tokens.weight",
        "model.layers.0",
        "model.layers.2",
        "model.layers.10",
        "model.norm.weight",
        "lm_head.weight",
    ]


# ------------------------------------------------------------------------------ beside the weights


def test_configs_differ_by_name(tmp_path):
    a = checkpoint(tmp_path / "a", {"w": tensor(1)}, rope={"theta": 1e4, "kind": "x"}, old=1)
    b = checkpoint(tmp_path / "b", {"w": tensor(1)}, rope={"theta": 5e5, "kind": "x"}, new=[1, 2])
    (b / "generation_config.json").write_text('{"top_p": 0.9}')
    assert diff.run(a, b)["files"] == [
        {"file": "config.json", "key": "rope.theta", "a": "10000.0", "b": "500000.0"},
        {"file": "config.json", "key": "old", "a": "1", "b": None},
        {"file": "config.json", "key": "new", "a": None, "b": "[1, 2]"},
        {"file": "generation_config.json", "key": None, "a": None, "b": "there"},
    ]


def test_tokens_differ_by_name(tmp_path):
    a, b = (save_model(tmp_path / name, byte_level()) for name in "ab")
    path = b / "tokenizer.json"
    content = json.loads(path.read_text())
    vocab = content["model"]["vocab"]
    first, second = list(vocab)[300:302]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    content["added_tokens"].append({"id": 320, "content": "<|new|>", "special": True})
    gone = content["added_tokens"].pop(2)
    vocab.pop(gone["content"], None)
    path.write_text(json.dumps(content))
    found = diff.run(a, b)
    assert found["tokens"] == {
        "num_only_a": 1,
        "num_only_b": 1,
        "num_other_id": 2,
        "only_a": [gone["content"]],
        "only_b": ["<|new|>"],
        "other_id": [first, second],
    }
    assert [row for row in found["files"] if row["file"] == "tokenizer.json"] == []
    assert found["same_weights"]


def test_tokenizers_of_other_kinds(tmp_path):
    a = save_model(tmp_path / "a", byte_level())
    b = save_model(tmp_path / "b", sentencepiece())
    found = diff.run(a, b)
    assert found["tokens"]["num_only_a"] > 100
    assert len(found["tokens"]["only_a"]) == 20
    keys = {row["key"] for row in found["files"] if row["file"] == "tokenizer.json"}
    assert {"model.byte_fallback", "normalizer.type"} <= keys
    assert "chat_template.jinja" in {row["file"] for row in found["files"]}
    assert found["shapes"][0]["tensor"] == "lm_head.weight"


def test_a_vocabulary_that_is_a_list(tmp_path):
    a, b = (checkpoint(tmp_path / name, {"w": tensor(1)}) for name in "ab")
    pieces = [["<unk>", 0.0], ["a", -1.0], ["b", -2.0]]
    for folder, vocab in ((a, pieces), (b, [pieces[0], pieces[2], pieces[1]])):
        text = json.dumps({"model": {"type": "Unigram", "vocab": vocab}, "added_tokens": None})
        (folder / "tokenizer.json").write_text(text)
    assert diff.run(a, b)["tokens"]["other_id"] == ["a", "b"]


def test_a_file_that_is_broken_is_another_file(tmp_path):
    a, b = (checkpoint(tmp_path / name, {"w": tensor(1)}) for name in "ab")
    for folder, text in ((a, "{"), (b, "{}")):
        (folder / "generation_config.json").write_text(text)
    assert diff.run(a, b)["files"] == [
        {"file": "generation_config.json", "key": None, "a": "there", "b": "there"}
    ]


# ------------------------------------------------------------------------------------- bad input


def test_single_files(tmp_path):
    a = checkpoint(tmp_path / "a", {"w.weight": tensor(1)}) / "model.safetensors"
    b = checkpoint(tmp_path / "b", {"w.weight": tensor(2)})
    found = diff.run(a, b)
    assert found["whole"]["norm"] == 1.0
    assert found["files"] == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda b: (b / "model.safetensors").unlink(), "holds no|found no|expected"),
        (lambda b: (b / "config.json").unlink(), "has no config.json"),
        (lambda b: (b / "model.safetensors").write_bytes(b"x" * 20), "model.safetensors"),
    ],
)
def test_folders_that_are_no_model(tmp_path, spoil, problem):
    a, b = (checkpoint(tmp_path / name, {"w": tensor(1)}) for name in "ab")
    spoil(b)
    with pytest.raises(WeightsError, match=problem):
        diff.run(a, b)
    with pytest.raises(WeightsError, match="absent"):
        diff.run(a, tmp_path / "absent")


def test_a_plan(tmp_path):
    a = checkpoint(tmp_path / "a", {"w": torch.zeros(1000, dtype=torch.bfloat16)})
    b = checkpoint(tmp_path / "b", {"w": torch.zeros(1000), "v": tensor(1)})
    plan = diff.plan(a, b)
    assert (plan["tensors to compare"], plan["GB to read"]) == (1, (2000 + 4004) / 1e9)
