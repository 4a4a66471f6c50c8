"""The real small model and a real tokenizer of ``../shared/data``, end to end."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inarch.flows import fuse
from inarch.flows.recipe import FuseRun
from inarch.io.files import read_metrics


@pytest.fixture(scope="module")
def stories(shared_data: Path, tmp_path_factory) -> Path:
    """Stories that the small model tells, which it is not surprised by."""
    folder = shared_data / "models" / "stories260K"
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    torch.manual_seed(0)
    begin = torch.full((48, 1), tokenizer.bos_token_id)
    told = model.generate(begin, do_sample=True, max_new_tokens=80, attention_mask=begin)
    texts = [{"text": tokenizer.decode(ids, skip_special_tokens=True).strip()} for ids in told]
    path = tmp_path_factory.mktemp("real") / "stories.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return path


@pytest.mark.parametrize("tokenizer", ["minimind", "gpt2"])
def test_a_small_llama_learns_from_stories260k(shared_data, stories, tmp_path, tokenizer: str):
    scratch = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64}
    scratch |= {"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": True}
    settings = FuseRun(
        target={
            "name": "student",
            "tokenizer": str(shared_data / "tokenizers" / tokenizer),
            "scratch": scratch,
        },
        sources=(str(shared_data / "models" / "stories260K"),),
        data=str(stories),
        fuse={"lambda": 0.5},
        train={"max_steps": 12, "batch_size": 8, "lr": 1e-2, "log_every_steps": 1},
        device="cpu",
    )
    fuse.run(settings, tmp_path)
    facts = json.loads((tmp_path / "manifest.json").read_text())["facts"]
    assert facts["winners"] == {"": {"stories260K": 48}}  # a random student is never believed
    assert facts["spoken_frac"] > 0.9
    assert facts["num_inexact_rows"] == 0
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for term in ("clm", "fused"):
        per_token = [row[term] for row in rows]
        assert per_token[-1] < 0.9 * per_token[0]
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
