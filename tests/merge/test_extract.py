"""An adapter made of two models: what PEFT makes of it, and what the report says it keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.merge.test_adapters import gpt2, llama
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from inarch.errors import WeightsError
from inarch.io.weights import Checkpoint
from inarch.merge._adapters import CONFIG, WEIGHTS, Adapter
from inarch.merge._extract import ExtractReport, ExtractSettings, extract
from inarch.merge._sources import FileSource

IDS = torch.arange(10)[None]


class Opened(Checkpoint):
    """A checkpoint as the flow opens it."""

    def source(self, name: str) -> FileSource:
        return FileSource(self, name)


def neox():
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(**size, intermediate_size=24, max_position_embeddings=16)
    )


def two(folder: Path, make, change: float = 0.1, rank: int | None = None, only: str = "") -> None:
    """Save a model, and one that differs from it, by a rank if it is given."""
    model = make()
    model.save_pretrained(folder / "base")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only not in name:
                continue
            if rank and parameter.ndim == 2:
                left, right = (torch.randn(side, rank) for side in parameter.shape)
                parameter += change * left @ right.T
            else:
                parameter += change * torch.randn(parameter.shape)
    model.save_pretrained(folder / "tuned")


def extracted(folder: Path, **settings: object) -> ExtractReport:
    tuned, base = (Opened.open(folder / name) for name in ("tuned", "base"))
    return extract(tuned, base, ExtractSettings.model_validate(settings), folder / "lora")


def loaded(folder: Path) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    return PeftModel.from_pretrained(base, folder / "lora").eval()


def logits(model) -> np.ndarray:
    with torch.no_grad():
        return model(IDS).logits.numpy()


@pytest.mark.parametrize(
    "make",
    [llama, lambda: llama(tied=True), gpt2, lambda: gpt2(tied=False), neox],
    ids=["llama", "tied llama", "gpt2", "untied gpt2", "neox"],
)
def test_full_rank_is_the_finetuned_model(tmp_path, make):
    two(tmp_path, make)
    report = extracted(tmp_path, rank=99)
    assert report.kept == pytest.approx(1)
    assert report.unchanged == 0
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    model = loaded(tmp_path)
    np.testing.assert_allclose(logits(model), logits(tuned), atol=2e-5)
    # And so it is when this package adds it to the base.
    base = Opened.open(tmp_path / "base")
    sources = {name: base.source(name) for name in base.tensors}
    made = Adapter.open(tmp_path / "lora", "x").apply(sources, base.aliases)
    state = load_file(tmp_path / "tuned/model.safetensors")
    assert made.keys() == state.keys()
    for name, source in made.items():
        out = np.empty(source.shape, np.float32)
        assert source.fill(0, out.reshape(-1))
        np.testing.assert_allclose(out, state[name], atol=2e-6, err_msg=name)


def test_low_rank_is_the_change_that_has_it(tmp_path):
    two(tmp_path, llama, rank=3)
    report = extracted(tmp_path, rank=5)
    ranks = {tensor.rank for tensor in report.tensors if tensor.way == "low_rank"}
    assert ranks == {3}
    # With the adapter switched off, PEFT gives the base model: norms are wrapped, not overwritten.
    config = json.loads((tmp_path / "lora" / CONFIG).read_text())
    assert [name for name in config["modules_to_save"] if "layers.1" not in name] == [
        "model.layers.0.input_layernorm",
        "model.layers.0.post_attention_layernorm",
        "model.norm",
    ]
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    np.testing.assert_allclose(logits(loaded(tmp_path)), logits(tuned), atol=2e-5)


def test_the_report_says_what_is_lost(tmp_path):
    two(tmp_path, llama)
    report = extracted(tmp_path, rank=4)
    merged = loaded(tmp_path).merge_and_unload().state_dict()
    base, tuned = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "tuned"))
    lost = total = 0.0
    for tensor in report.tensors:
        change = (tuned[tensor.name] - base[tensor.name]).double()
        missing = (tuned[tensor.name] - merged[tensor.name]).double().square().sum().item()
        squares = torch.linalg.svdvals(change.reshape(change.shape[0], -1)) ** 2
        assert tensor.change == pytest.approx(squares.sum().item(), rel=1e-5)
        if change.ndim == 2:
            assert missing == pytest.approx(squares[4:].sum().item(), rel=1e-3)
        assert 1 - tensor.kept == pytest.approx(missing / tensor.change, abs=1e-5)
        lost, total = lost + missing, total + tensor.change
    assert report.kept == pytest.approx(1 - lost / total, abs=1e-5)


def test_a_share_gives_each_matrix_its_own_rank(tmp_path):
    two(tmp_path, llama)
    report = extracted(tmp_path, rank=14, share=0.8)
    rows = [tensor for tensor in report.tensors if tensor.way == "low_rank"]
    assert len({row.rank for row in rows}) > 2
    base, tuned = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "tuned"))
    for row in rows:
        squares = torch.linalg.svdvals((tuned[row.name] - base[row.name]).double()) ** 2
        shares = squares.cumsum(0) / squares.sum()
        assert row.rank == int((shares < 0.8).sum()) + 1
        assert row.kept >= 0.8
    config = json.loads((tmp_path / "lora" / CONFIG).read_text())
    assert config["rank_pattern"]
    merged = loaded(tmp_path).merge_and_unload().state_dict()
    for row in rows:  # PEFT reads the ranks and the scales as they were meant
        missing = (tuned[row.name] - merged[row.name]).double().square().sum().item()
        assert 1 - row.kept == pytest.approx(missing / row.change, abs=1e-5)


def test_what_is_left_out_is_counted(tmp_path):
    two(tmp_path, gpt2)
    report = extracted(tmp_path, rank=99, embeddings="skip", rest="skip")
    ways = {tensor.name: tensor.way for tensor in report.tensors}
    assert ways["transformer.wte.weight"] == "skipped"
    assert ways["transformer.wpe.weight"] == "low_rank"
    assert ways["transformer.h.0.ln_1.weight"] == "skipped"
    assert ways["transformer.h.1.attn.c_attn.bias"] == "skipped"
    skipped = sum(tensor.change for tensor in report.tensors if tensor.way == "skipped")
    total = sum(tensor.change for tensor in report.tensors)
    assert report.kept == pytest.approx(1 - skipped / total, rel=1e-5)
    names = load_file(tmp_path / "lora" / WEIGHTS)
    assert all(".lora_" in name for name in names)


def test_what_did_not_change_is_no_part_of_the_adapter(tmp_path):
    two(tmp_path, llama, only="q_proj")
    report = extracted(tmp_path)
    assert {tensor.name.rsplit(".", 2)[1] for tensor in report.tensors} == {"q_proj"}
    assert report.unchanged == 29 - 4
    config = json.loads((tmp_path / "lora" / CONFIG).read_text())
    assert config["target_modules"] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
    ]
    assert config["modules_to_save"] is None
    assert config["bias"] == "all"


def test_rows_that_are_new_come_whole(tmp_path):
    model = llama(tied=True)
    model.save_pretrained(tmp_path / "base")
    model.resize_token_embeddings(43, mean_resizing=False)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight += 0.1
    model.save_pretrained(tmp_path / "tuned")
    report = extracted(tmp_path)
    ways = {tensor.name: tensor.way for tensor in report.tensors}
    assert ways["model.embed_tokens.weight"] == "whole"
    base = Opened.open(tmp_path / "base")
    sources = {name: base.source(name) for name in base.tensors}
    made = Adapter.open(tmp_path / "lora", "x").apply(sources, base.aliases)
    assert made["model.embed_tokens.weight"].shape == (43, 16)
    assert "lm_head.weight" not in made
    resized = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    resized.resize_token_embeddings(43)
    peft = PeftModel.from_pretrained(resized, tmp_path / "lora").eval()
    np.testing.assert_allclose(logits(peft), logits(model.eval()), atol=1e-5)


def test_formats_of_the_factors(tmp_path):
    two(tmp_path, llama, only="q_proj.weight")
    exact = extracted(tmp_path, rank=99)
    extracted(tmp_path, rank=99, dtype="bfloat16")
    tensors = load_file(tmp_path / "lora" / WEIGHTS)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    merged = loaded(tmp_path).merge_and_unload().state_dict()
    tuned = load_file(tmp_path / "tuned/model.safetensors")
    name = exact.tensors[0].name
    np.testing.assert_allclose(merged[name], tuned[name], atol=0.02)


def test_gpt2_saved_without_its_head_gets_the_names_of_its_modules(tmp_path):
    two(tmp_path, gpt2, only="c_attn")
    for name in ("base", "tuned"):
        file = tmp_path / name / "model.safetensors"
        state = {n.removeprefix("transformer."): t for n, t in load_file(file).items()}
        save_file(state, file, {"format": "pt"})
    extracted(tmp_path, rank=99)
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    np.testing.assert_allclose(logits(loaded(tmp_path)), logits(tuned), atol=1e-5)


def test_progress_counts_the_elements(tmp_path):
    two(tmp_path, llama)
    tuned, base = (Opened.open(tmp_path / name) for name in ("tuned", "base"))
    seen: list[int] = []
    extract(tuned, base, ExtractSettings(), tmp_path / "lora", seen.append)
    assert sum(seen) == sum(info.num_elements for info in base.tensors.values())


def test_models_that_do_not_belong_together(tmp_path):
    two(tmp_path, llama)
    gpt2().save_pretrained(tmp_path / "base")
    with pytest.raises(WeightsError, match=r"tuned has no transformer"):
        extracted(tmp_path)
    two(tmp_path, llama, change=0.0)
    with pytest.raises(WeightsError, match=r"no matrix of .*tuned differs from .*base"):
        extracted(tmp_path)
    state = load_file(tmp_path / "tuned/model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    for wrong, words in (
        (state[name][:-1].clone(), r"has the shape \[23, 16\] in .*tuned and \[24, 16\]"),
        (state[name] * float("nan"), "up_proj.weight of .* holds NaN"),
    ):
        save_file(state | {name: wrong}, tmp_path / "tuned/model.safetensors", {"format": "pt"})
        with pytest.raises(WeightsError, match=words):
            extracted(tmp_path)


def test_factors_too_large_for_their_format(tmp_path):
    two(tmp_path, llama, change=1e6, only="q_proj.weight")
    state = load_file(tmp_path / "tuned/model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file(state | {name: state[name] * 1e6}, tmp_path / "tuned/model.safetensors")
    with pytest.raises(WeightsError, match="F16 cannot hold the factors of this change"):
        extracted(tmp_path, dtype="float16")
