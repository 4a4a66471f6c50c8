"""Training a tagger, from a recipe to spans, on posts that are easy."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from inarch.errors import DataError, SettingsError, WeightsError
from inarch.flows import spans_train
from inarch.flows._spans.dev import dev_score
from inarch.flows._spans.settings import SpansRun
from inarch.io.files import read_metrics
from inarch.spans.examples import collator, examples_of
from inarch.spans.read import Post, read_posts
from inarch.spans.tagger import Tagger
from inarch.train import _loop
from tests.spans.made_up import encoder_config, tokenizer_of
from tests.spans.made_up import made as made_up

WORDS = "the quick brown fox jumps over lazy dog and cat sat on mat with hat".split()  # noqa: SIM905
WORDS_SMALL = {"word_dim": 16, "char_dim": 4, "char_filters": 8, "hidden": 16, "dropout": 0.0}


def posts(num: int, seed: int) -> list[dict]:
    """Posts in which the word "fool" is toxic, with the word before it."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(num):
        words = list(random.choice(WORDS, random.integers(2, 9)))
        place = int(random.integers(1, len(words) + 1))
        spans = []
        if i % 3:
            words.insert(place, "fool")
            start = len(" ".join(words[: place - 1])) + (place > 1)
            spans = [[start, len(" ".join(words[: place + 1]))]]
        made.append({"text": " ".join(words), "spans": spans})
    return made


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spans")
    write(folder / "train.jsonl", posts(96, 0))
    write(folder / "dev.jsonl", posts(24, 1) + posts(3, 0))
    hf = tokenizer_of("bert")
    hf.save_pretrained(folder / "tokenizer")
    return folder


def recipe(world: Path, *, dev: bool = True, train: dict | None = None, **sections) -> SpansRun:
    data = {"train": str(world / "train.jsonl")}
    if dev:
        data["dev"] = str(world / "dev.jsonl")
    own = {"batch_size": 8, "lr": 2e-2, "log_every_steps": 5} | (train or {})
    if "max_steps" not in own:
        own = {"epochs": 4.0} | own
    sections = {"encoder": {"words": WORDS_SMALL}, "dropout": 0.0, "device": "cpu"} | sections
    return SpansRun(data=data, train=own, **sections)


def scratch(world: Path) -> dict:
    size = len(tokenizer_of("bert"))
    keep = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = {k: v for k, v in encoder_config("bert", size).items() if k in keep}
    config |= {"model_type": "bert", "vocab_size": size, "max_position_embeddings": 128}
    return {"scratch": config, "tokenizer": str(world / "tokenizer")}


def facts(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["facts"]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def test_a_tagger_learns_what_is_easy(world, tmp_path):
    spans_train.run(recipe(world, train={"epochs": 8.0}), tmp_path)
    found = facts(tmp_path)
    assert found["num_posts"] == 96 - 3  # three are in the development set
    assert found["num_dev"] == 27
    assert found["num_steps"] == 93  # 8 epochs of 93 posts in eights
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"from\n93 posts of `{world / 'train.jsonl'}`" in card
    assert f"character F1 {found['dev']['f1']:.4f}" in card
    tagger = Tagger.from_pretrained(tmp_path / "model")
    (span,) = tagger.tag("the lazy dog and the quick fool on the mat")
    assert span.text == "quick fool"
    assert span.score > 0.8
    assert tagger.tag("the lazy dog sat") == []


def test_the_best_epoch_is_kept(world, tmp_path, monkeypatch):
    scores = iter([0.1, 0.7, 0.7, 0.4])
    states = []

    def fake(model, coder, dev):
        states.append({name: w.clone() for name, w in model.state_dict().items()})
        return {"f1": next(scores)}

    monkeypatch.setattr("inarch.flows._spans.dev.dev_score", fake)
    spans_train.run(recipe(world), tmp_path)
    rows = read_metrics(tmp_path / "dev.jsonl")
    assert [row["step"] for row in rows] == [12, 24, 35, 47]  # 93 / 8 = 11.6 steps an epoch
    assert facts(tmp_path)["dev"] == {"step": 24, "f1": 0.7}
    for name, weight in weights(tmp_path).items():
        assert torch.equal(weight, states[1][name])
        assert not torch.equal(weight, states[3][name]) or weight.numel() == 1
    assert not (tmp_path / "best.safetensors").exists()


def test_every_epoch_is_scored_of_a_run_of_so_many_steps(world, tmp_path, monkeypatch):
    monkeypatch.setattr("inarch.flows._spans.dev.dev_score", lambda *args: {"f1": 0.5})
    spans_train.run(recipe(world, train={"max_steps": 90}), tmp_path)
    steps = [row["step"] for row in read_metrics(tmp_path / "dev.jsonl")]
    assert steps == [12, 24, 35, 47, 59, 70, 82, 90]  # 93 / 8 = 11.6 steps an epoch


@pytest.mark.parametrize("last", ["write_dev", "write_card"])
def test_a_run_that_stops_behind_its_training_keeps_the_best_epoch(
    world, tmp_path, monkeypatch, last
):
    settings = recipe(world, train={"save_every_steps": 10})
    scores = iter([0.1, 0.7, 0.7, 0.4, 0.4])  # the last step is scored again, from step 40 on

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("inarch.flows._spans.dev.dev_score", lambda *args: {"f1": next(scores)})
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(spans_train, last, stop)
        spans_train.run(settings, tmp_path)
    before = weights(tmp_path)
    spans_train.run(settings, tmp_path)
    assert facts(tmp_path)["dev"] == {"step": 24, "f1": 0.7}
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path).items())
    assert not (tmp_path / "best.safetensors").exists()


def test_without_a_development_set_the_last_step_counts(world, tmp_path):
    spans_train.run(recipe(world, dev=False, train={"epochs": 1.0}), tmp_path)
    assert "dev" not in facts(tmp_path)
    assert not (tmp_path / "dev.jsonl").exists()
    assert Tagger.from_pretrained(tmp_path / "model").tag("") == []


def test_the_same_seed_is_the_same_model_and_another_is_not(world, tmp_path):
    runs = {"a": 3, "b": 3, "c": 4}
    for name, seed in runs.items():
        torch.manual_seed(hash(name) % 1000)  # whatever was drawn before
        spans_train.run(recipe(world, train={"seed": seed, "max_steps": 3}), tmp_path / name)
    a, b, c = (weights(tmp_path / name) for name in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["classifier.weight"], c["classifier.weight"])


@pytest.mark.parametrize("aux", ["none", "att"])
@pytest.mark.parametrize(("head", "loss"), [("crf", None), ("softmax", "dice"), ("crf", "focal")])
def test_a_hugging_face_encoder_in_all_ways(world, tmp_path, aux, head, loss):
    train = {"max_steps": 60, "lr": 3e-3}
    settings = recipe(
        world, encoder=scratch(world), train=train, aux=aux, head=head, loss=loss, dev=False
    )
    settings = settings.model_copy(update={"train": settings.train})
    spans_train.run(settings, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    tagger = Tagger.from_pretrained(tmp_path / "model")
    assert tagger.model.config.loss == (loss or "crf")
    dev = read_posts(world / "dev.jsonl")
    assert dev_score(tagger.model, tagger.coder, dev)["f1"] > 0.3


def test_decay_reaches_matrices_alone_and_clipping_comes_before_the_step(
    world, tmp_path, monkeypatch
):
    seen = {}

    class Look(_loop.Loop):
        def _inner_training_loop(self, *args, **kwargs):
            result = super()._inner_training_loop(*args, **kwargs)
            for name, weight in self.model.named_parameters():
                for group in self.optimizer.param_groups:
                    if any(weight is other for other in group["params"]):
                        seen[name] = group["weight_decay"]
            return result

    norms = []
    step = torch.optim.AdamW.step

    def stepped(self, *args, **kwargs):
        grads = [
            w.grad for group in self.param_groups for w in group["params"] if w.grad is not None
        ]
        norms.append(torch.stack([grad.norm() for grad in grads]).norm().item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr("inarch.train.trainer.Loop", Look)
    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    train = {"weight_decay": 0.25, "clip": 0.01, "max_steps": 3}
    spans_train.run(recipe(world, train=train), tmp_path)
    assert seen.keys() == weights(tmp_path).keys()
    assert {name: decay for name, decay in seen.items() if "bias" in name and decay} == {}
    assert {name for name, decay in seen.items() if "weight" in name and decay != 0.25} == set()
    assert len(norms) == 3
    assert max(norms) <= 0.01 + 1e-5


def test_a_killed_run_goes_on_to_the_same_weights(world, tmp_path):
    settings = recipe(world, train={"save_every_steps": 10})
    spans_train.run(settings, tmp_path / "whole")
    code = (
        "import os, signal, sys; from inarch.flows import spans_train\n"
        "from inarch.flows._spans import dev\n"
        "from tests.flows.test_spans_train import recipe; from pathlib import Path\n"
        "real = dev.ChooseEpoch._score\n"
        "def score(self, model, step):\n"
        "    if step > 30: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(self, model, step)\n"
        "dev.ChooseEpoch._score = score\n"
        "settings = recipe(Path(sys.argv[1]), train={'save_every_steps': 10})\n"
        "spans_train.run(settings, Path(sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code, str(world), str(tmp_path / "killed")],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-500:]
    spans_train.run(settings, tmp_path / "killed")
    one, two = (read_metrics(tmp_path / name / "dev.jsonl") for name in ("whole", "killed"))
    assert one == two
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_done_is_done_and_other_settings_are_refused(world, tmp_path):
    settings = recipe(world, train={"max_steps": 2})
    spans_train.run(settings, tmp_path)
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    time.sleep(0.01)
    spans_train.run(settings, tmp_path)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SettingsError, match="aux"):
        spans_train.run(recipe(world, train={"max_steps": 2}, aux="onatt"), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "softmax", "loss": "crf"}, "loss: crf needs head: crf"),
        ({"train": {"lora": {}}}, "lora is for language models"),
        ({"encoder": {}}, "expected one of words, path, scratch"),
        ({"encoder": {"words": {}, "path": "x"}}, "expected one of words, path, scratch"),
        ({"encoder": {"words": {}, "window": 5}}, "have no effect with words"),
        ({"encoder": {"scratch": {"model_type": "bert"}}}, "needs a tokenizer"),
    ],
)
def test_contradictions_are_told(world, change, message):
    with pytest.raises(ValueError, match=message):
        recipe(world, **change)


def test_what_is_absent_is_told(world, tmp_path):
    with pytest.raises(DataError, match="absent"):
        spans_train.run(SpansRun(data={"train": str(tmp_path / "absent.csv")}), tmp_path / "a")
    write(tmp_path / "none.jsonl", [])
    given = {"train": str(world / "train.jsonl"), "dev": str(tmp_path / "none.jsonl")}
    with pytest.raises(DataError, match=r"none\.jsonl: found no post to choose by"):
        spans_train.run(SpansRun(data=given, train={"max_steps": 1}), tmp_path / "d")
    with pytest.raises(WeightsError, match="nowhere"):
        settings = recipe(world, encoder={"path": str(tmp_path / "nowhere")})
        spans_train.run(settings, tmp_path / "b")
    with pytest.raises(SettingsError, match=r"found encoder\.window 4000"):
        spans_train.run(recipe(world, encoder=scratch(world) | {"window": 4000}), tmp_path / "c")


@pytest.mark.parametrize(
    ("model_type", "window"),
    [("bert", 40), ("roberta", 40 - 4), ("xlm-roberta", 40 - 4), ("camembert", 40 - 4)],
)
def test_a_window_is_what_the_positions_leave(world, model_type, window):
    # RoBERTa's positions begin behind the id of padding, 3 here.
    config = {"model_type": model_type, "max_position_embeddings": 40, "pad_token_id": 3}
    own = {"scratch": config, "tokenizer": str(world / "tokenizer")}
    assert spans_train.new_coder(recipe(world, encoder=own), []).window == window


@pytest.mark.parametrize(("loss", "items"), [("crf", "rows"), ("ce", "tokens")])
def test_a_step_is_the_mean_over_its_rows_or_tokens(loss, items):
    model, coder = made_up("bert")
    model.config.loss = loss
    texts = [Post("the lazy fool", (9, 10, 11, 12)), Post("a cat sat on the mat", ())]
    examples = examples_of(texts, coder)
    batch = collator(coder, items)(list(examples))
    found = spans_train.token_sums(model, batch, 0.0).loss / batch["num_items"]
    nats = []
    for example in examples:
        with torch.no_grad():
            emissions = model.emissions(**coder.batch([example.ids]))
            tags = torch.from_numpy(example.tags)[None]
            scores = emissions.scores_BTK[:, : len(example.ids)]
            if loss == "crf":
                nats.append(model.crf.nll(scores, tags, emissions.lengths_B))
            else:
                logps = model.crf.log_marginals(scores, emissions.lengths_B)
                nats.append(-logps.gather(2, tags[..., None]).flatten())
    assert found.item() == pytest.approx(torch.cat(nats).mean().item(), abs=1e-5)


def test_rows_of_long_posts_are_windows(world):
    _, coder = made_up("bert")
    coder.max_tokens = 5
    text = "the lazy fool sat on the mat"
    made = examples_of([Post(text, tuple(range(9, 13))), Post("", ())], coder)
    (tokens,) = coder.encode([text])
    assert [len(example.ids) for example in made] == [5] * len(made)
    assert np.concatenate([made[0].ids, made[-1].ids]).tolist() == [
        *tokens.ids[:5],
        *tokens.ids[-5:],
    ]
    assert sum(example.tags.sum() for example in made) >= 1
    batch = collator(coder, "rows")(list(made))
    assert batch["num_items"] == len(made)
    assert (
        batch["num_tokens"] == 5 * len(made) == collator(coder, "tokens")(list(made))["num_items"]
    )
    real = ~torch.isin(batch["input_ids"], torch.tensor(coder.special_ids))
    assert batch["labels"][real].tolist() == [t for example in made for t in example.tags.tolist()]
    assert batch["labels"][~real].sum() == 0
