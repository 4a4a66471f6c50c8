"""The demo's removals: masks against models without the layers, and against the model that was cut.

What is asked is replaced by a number that every change of the model changes: an untrained model
answers nothing right.
"""

import statistics
from pathlib import Path

import pytest
import torch

from inarch.demo import prunes
from inarch.demo.experiment import Size, fused, questions, tokenizer_folder, write_data
from inarch.demo.models import TARGET
from inarch.demo.scores import Score
from inarch.demo.world import SKILLS
from inarch.flows._prune import models as _prune_models
from inarch.io.models import load_model, new_model
from inarch.io.tokenizers import load_tokenizer

SIZE = Size(("plain",), num_lessons=30, num_chats=24, num_test=2)
SEED = 9


def surprise(network, tokenizer, tasks) -> list[Score]:
    """One score per skill: a mean logit on the prompts of the skill."""
    found = []
    for skill in SKILLS:
        ids = [tokenizer.encode(task.prompt).ids for task in tasks if task.skill == skill]
        with torch.no_grad():
            means = [network(torch.tensor(one)[None]).logits[..., 7].mean().item() for one in ids]
        found.append(Score(skill, statistics.fmean(means), 0.0, 0.0))
    return found


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seed's folder with data and one fused model, which is random."""
    folder = tmp_path_factory.mktemp("demo") / "seed-9"
    write_data(SEED, SIZE, folder)
    place, tokenizer = fused("plain", folder)["plain"], tokenizer_folder(folder / "data", TARGET)
    hf = load_tokenizer(str(tokenizer)).hf
    new_model({**TARGET.config, "initializer_range": 0.2}, len(hf), seed=1).save_pretrained(place)
    hf.save_pretrained(place)
    return folder


@pytest.fixture(scope="module")
def found(seed: Path) -> list[prunes.Removal]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prunes, "ask", surprise)
        patch.setattr(_prune_models, "verify", lambda *args, **kwargs: None)
        return prunes.removals("plain", seed, SEED, questions(SEED, SIZE))


def row(found: list[prunes.Removal], method: str, blocks: int) -> prunes.Removal:
    (one,) = [r for r in found if (r.method, r.blocks) == (method, blocks)]
    return one


def asked(model, seed: Path) -> dict[str, float]:
    tokenizer = load_tokenizer(str(tokenizer_folder(seed / "data", TARGET)))
    return {s.skill: s.piece_frac for s in surprise(model, tokenizer, questions(SEED, SIZE))}


def test_every_method_goes_as_far(found: list[prunes.Removal]) -> None:
    for method in ("block_pruner", "one_shot", "random"):
        assert [r.blocks for r in found if r.method == method] == [0, 1, 2, 3, 4]
    for method in ("sleb", "block_influence"):
        assert [r.blocks for r in found if r.method == method] == [0, 2, 4]
    for r in found:
        assert all(len(set(names)) == r.blocks for names in r.gone)


def test_the_model_that_is_saved_is_the_last_one_asked(
    seed: Path, found: list[prunes.Removal]
) -> None:
    cut = load_model(prunes.pruned("plain", seed) / "model")
    assert asked(cut.eval(), seed) == pytest.approx(
        row(found, "block_pruner", 4).piece_frac, abs=1e-5
    )


def test_nothing_gone_is_the_whole_model(seed: Path, found: list[prunes.Removal]) -> None:
    whole = load_model(fused("plain", seed)["plain"])
    for method in prunes.METHODS:
        assert asked(whole.eval(), seed) == pytest.approx(
            row(found, method, 0).piece_frac, abs=1e-6
        )


@pytest.mark.parametrize("method", ["sleb", "block_influence"])
def test_layers_that_are_gone_are_not_there(
    method: str, seed: Path, found: list[prunes.Removal]
) -> None:
    removal = row(found, method, 4)
    model = load_model(fused("plain", seed)["plain"]).eval()
    layers = {int(name[3:]) for name in removal.gone[0]}
    assert sorted(removal.gone[0]) == sorted(f"{k}{n}" for n in layers for k in ("mha", "mlp"))
    whole = model.num_parameters()
    model.model.layers = torch.nn.ModuleList(
        layer for n, layer in enumerate(model.model.layers) if n not in layers
    )
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number
    model.config.num_hidden_layers -= len(layers)
    assert asked(model, seed) == pytest.approx(removal.piece_frac, abs=1e-5)
    assert removal.share == pytest.approx(1 - model.num_parameters() / whole)


def test_random_orders_are_averaged(seed: Path, found: list[prunes.Removal]) -> None:
    removal = row(found, "random", 1)
    assert len(removal.gone) == 4
    scores, shares = [], []
    for (name,) in removal.gone:
        model = load_model(fused("plain", seed)["plain"]).eval()
        layer = model.model.layers[int(name[3:])]
        part, norm = (
            (layer.self_attn, layer.input_layernorm)
            if name[:3] == "mha"
            else (layer.mlp, layer.post_attention_layernorm)
        )
        gone = sum(p.numel() for module in (part, norm) for p in module.parameters())
        shares.append(gone / model.num_parameters())
        (part.o_proj if name[:3] == "mha" else part.down_proj).weight.data.zero_()
        scores.append(asked(model, seed))
    for skill in SKILLS:
        mean = sum(s[skill] for s in scores) / 4
        assert removal.piece_frac[skill] == pytest.approx(mean, abs=1e-5)
    assert removal.share == pytest.approx(sum(shares) / 4)


def test_random_orders_are_of_the_seed(found: list[prunes.Removal]) -> None:
    orders = row(found, "random", 4).gone
    assert len(set(orders)) == len(orders) == prunes.METHODS["random"].draws


def test_a_second_call_asks_nothing(
    seed: Path, found: list[prunes.Removal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prunes, "ask", None)
    assert prunes.removals("plain", seed, SEED, questions(SEED, SIZE)) == found
