"""The small real model of the demo, here a random one: what it writes, chooses and tells."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from tests.tiny import byte_level

from inarch.demo import stories
from inarch.errors import DataError
from inarch.flows._prune import models as _prune_models
from inarch.io.models import load_model, new_model

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writer")
    new_model(CONFIG, len(byte_level()), seed=3).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NUM_STORIES", 12), ("NUM_TOKENS", 24), ("NUM_SHOWN", 8)):
        monkeypatch.setattr(stories, name, value)
    monkeypatch.setattr(_prune_models, "verify", lambda *args, **kwargs: None)


def greedy(folder: Path) -> str:
    """The opening as a loop over the most probable token continues it."""
    model, hf = load_model(folder).eval(), byte_level()
    ids = [hf.bos_token_id, *hf(stories.OPENING, add_special_tokens=False).input_ids]
    for _ in range(8):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == hf.eos_token_id:
            break
    return hf.decode(ids, skip_special_tokens=True).strip()


def test_it_is_pruned_on_its_own_stories(model: Path, tmp_path: Path) -> None:
    told = stories.shrink(str(model), tmp_path / "a")
    written = (tmp_path / "a" / "stories.jsonl").read_text().splitlines()
    assert len({json.loads(line)["text"] for line in written}) == 12
    assert told["num_blocks"] == 8
    assert len(set(told["order"])) == 3
    assert list(told["perplexity"]) == ["block_pruner", *stories.COMPARED]
    found = json.loads((tmp_path / "a" / "pruned" / "pruned.json").read_text())
    last = told["perplexity"]["block_pruner"][-1]
    assert last["perplexity"] == pytest.approx(math.exp(found["models"][-1]["held_out"]))
    assert last["blocks"] == 3
    assert told["before"] == greedy(model)
    assert told["after"] == greedy(tmp_path / "a" / "pruned" / "model")
    assert told["before"].startswith(stories.OPENING)
    # What it writes depends on nothing but the model, and the state of torch is left alone.
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = stories.shrink(str(model), tmp_path / "b")
    assert torch.equal(state, torch.get_rng_state())
    assert again == told | {"model": again["model"]}
    shutil.rmtree(tmp_path / "b" / "pruned")
    assert stories.shrink(str(model), tmp_path / "b") == again


def test_a_tokenizer_that_begins_nothing_is_refused(model: Path, tmp_path: Path) -> None:
    bare = byte_level()
    bare.bos_token = None
    folder = shutil.copytree(model, tmp_path / "bare")
    bare.save_pretrained(folder)
    with pytest.raises(DataError, match="found no begin token"):
        stories.shrink(str(folder), tmp_path / "out")
