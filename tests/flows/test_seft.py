"""SEFT's rounds on tiny models: bytes that stay, prompts alone, kills, refusals, reports."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from inarch.align import _prompts
from inarch.align._reviser import ReviserForm, openings, reviser_chat
from inarch.errors import DataError, SettingsError
from inarch.flows import seft
from inarch.flows._seft import answers as _seft_answers
from inarch.flows._seft import reviser as _seft_reviser
from inarch.flows._seft import round as _seft_round
from inarch.flows._seft.settings import DecodeSettings
from inarch.flows._seft.write import Writer, write
from inarch.flows.seft import SeftRun
from inarch.io.files import digest_folder, read_metrics
from inarch.io.models import load_model
from inarch.io.sampling import SamplingSettings, sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message
from inarch.settings import load, to_dict, validate
from tests.align.test_logps import token_by_token
from tests.tiny import byte_level, save_model

KEEP, MINOR, MAJOR = NAMES = ReviserForm().labels.names
TRAIN = {
    "max_steps": 3,
    "batch_size": 4,
    "lr": 1e-2,
    "weight_decay": 0.0,
    "log_every_steps": 1,
    "save_every_steps": None,
}
PROMPTS = [
    "Why?",
    "你好，世界",
    "two  spaces",
    "👋🏽 hello",
    "def f(x):",
    "naïve",
    "1 + 1 =",
    "last",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A policy with opinions, a reviser that a test may put words into, prompts, rankings."""
    folder = tmp_path_factory.mktemp("world")
    model = AutoModelForCausalLM.from_pretrained(save_model(folder / "policy", byte_level()))
    for weight in model.parameters():
        weight.data.mul_(3.0)
    model.save_pretrained(folder / "policy")
    save_model(folder / "reviser/train/model", byte_level(), seed=1)
    form = {"form": to_dict(ReviserForm()), "gaps": [0.0, 1.0]}
    (folder / "reviser/reviser.json").write_text(json.dumps(form))
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in PROMPTS])
    answers = [["best 🙂", "worse", "worst"], ["好", "坏", ""], ["yes", "no", "no"]]
    rankings = [
        {"prompt": f"q{i}", "answers": texts, "scores": [3, 2, 0]}
        for i, texts in enumerate(answers)
    ]
    write_jsonl(folder / "rankings.jsonl", rankings)
    return folder


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def recipe(world: Path, **sections) -> SeftRun:
    settings = {
        "policy": str(world / "policy"),
        "revisers": {"external": {"path": str(world / "reviser")}},
        "rounds": ["external", "external"],
        "prompts": str(world / "prompts.jsonl"),
        "sampling": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 1},
        "decode": {"max_new_tokens": 12, "batch_size": 1},
        "train": TRAIN,
        "device": "cpu",
    }
    return validate(SeftRun, settings | sections, "here")


INTERNAL = {"form": {"instruction": "Revise. {labels}"}, "train": TRAIN}


def internal(world: Path, **sections) -> dict:
    """A recipe's section of a reviser that is trained."""
    return {"internal": {"data": str(world / "rankings.jsonl")} | INTERNAL | sections}


def says(monkeypatch, *texts: str | None) -> list[tuple]:
    """Let the reviser write these, one after the other and over again; return what it is shown."""
    shown: list[tuple] = []

    def stub(writer, prompts, answers):
        first = len(shown)
        shown.extend(zip(prompts, answers, strict=True))
        return [texts[(first + i) % len(texts)] for i in range(len(answers))]

    monkeypatch.setattr(_seft_answers, "write", stub)
    return shown


@pytest.fixture
def quick(monkeypatch) -> None:
    """Let policies learn nothing."""

    def copy(settings, out: Path) -> None:
        shutil.copytree(settings.model.path, out / "model", dirs_exist_ok=True)
        (out / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
        (out / "manifest.json").write_text('{"facts": {"num_rows": 0}}')

    monkeypatch.setattr(_seft_round, "align", SimpleNamespace(run=copy))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    """Two models are the same, bit by bit."""
    expected = weights(other)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(one).items())


# -------------------------------------------------------------------------- what the policy learns


@pytest.mark.usefixtures("quick")
def test_what_is_kept_keeps_its_bytes(world: Path, tmp_path: Path, monkeypatch):
    shown = says(monkeypatch, f"{KEEP}\nsomething else", KEEP)
    found = seft.run(recipe(world), tmp_path / "out")
    for number in (1, 2):
        folder = tmp_path / "out" / f"round-{number}"
        drawn = [line["answer"] for line in lines(folder / "answers.jsonl")]
        kept = [row["completion"] for row in lines(folder / "revisions.jsonl")]
        assert [a.encode() for a in kept] == [a.encode() for a in drawn]
        assert any(not a.isascii() for a in drawn)
        assert [row["completion"] for row in lines(folder / "rows.jsonl")] == kept
        assert found[number - 1]["keep_frac"] == 1
        assert found[number - 1]["mean_edit_frac"] == 0
    assert len(shown) == 8
    assert [answer for _, answer in shown[4:]] == drawn


@pytest.mark.usefixtures("quick")
def test_garbage_leaves_the_originals_and_is_counted(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, "garbage 你好", "", f"{MAJOR}\n \n", f"{MINOR} no line break")
    (told,) = seft.run(recipe(world, rounds=["external"]), tmp_path / "out")
    assert told["failures"] == {"unparsable": 6, "empty": 2}
    assert told["label_fracs"] == dict.fromkeys(NAMES, 0.0)
    assert told["num_rows"] == 8
    folder = tmp_path / "out" / "round-1"
    drawn = [line["answer"] for line in lines(folder / "answers.jsonl")]
    assert [row["completion"] for row in lines(folder / "rows.jsonl")] == drawn
    assert {row["label"] for row in lines(folder / "revisions.jsonl")} == {None}


def test_revisions_are_learnt_and_told(world: Path, tmp_path: Path, monkeypatch):
    texts = (f"{KEEP}\nno", f"{MINOR}\n better \n", f"{MAJOR}\n更好 🙂\nlines", "?")
    says(monkeypatch, *texts)
    (told,) = seft.run(recipe(world, rounds=["external"]), tmp_path / "out")
    folder = tmp_path / "out" / "round-1"
    drawn = [line["answer"] for line in lines(folder / "answers.jsonl")]
    expected = [
        (drawn[i], " better \n", "更好 🙂\nlines", drawn[i])[i % 4] for i in range(len(drawn))
    ]
    rows = lines(folder / "rows.jsonl")
    assert [row["completion"] for row in rows] == expected
    asked = [row["prompt"] for row in rows]
    assert sorted(turn["content"] for (turn,) in asked) == sorted(PROMPTS)
    assert told["label_fracs"] == {KEEP: 0.25, MINOR: 0.25, MAJOR: 0.25}
    assert told == json.loads((tmp_path / "out" / "report.json").read_text())[0]
    assert told == json.loads((folder / "report.json").read_text())
    assert told["num_learnt"] == 8
    losses = [row["loss"] for row in read_metrics(folder / "train" / "metrics.jsonl")]
    assert (told["sft_loss_first"], told["sft_loss_last"]) == (losses[0], losses[-1])
    assert_same(tmp_path / "out" / "model", folder / "train" / "model")


@pytest.mark.usefixtures("quick")
def test_filters_are_counted(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, f"{MINOR}\nsame for all", f"{MAJOR}\n{'long ' * 99}", KEEP)
    filters = {"length_ratio": [0.01, 20.0], "duplicates": True}
    (told,) = seft.run(recipe(world, rounds=["external"], filters=filters), tmp_path / "out")
    rows = lines(tmp_path / "out/round-1/rows.jsonl")
    assert sum(row["completion"] == "same for all" for row in rows) == 1
    assert told["left_out"]["duplicate"] == 2
    assert told["left_out"]["length ratio"] == 3
    assert told["num_rows"] == len(rows) == 8 - sum(told["left_out"].values())


# ----------------------------------------------------------------------------------- prompts alone


class PromptAlone(UserDict, Mapping):
    """A row whose prompt may be read, and nothing else."""

    def _only_prompt(self, name: object) -> None:
        if name != "prompt":
            raise AssertionError(f"read {name!r} of a row")

    def __getitem__(self, name):
        self._only_prompt(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self._only_prompt(name)
        return super().get(name, default)

    def __iter__(self):
        raise AssertionError("read all of a row")


@pytest.mark.usefixtures("quick")
def test_no_column_but_the_prompt_is_read(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, KEEP)
    settings = recipe(world)
    seft.run(settings, tmp_path / "alone")
    rows = [
        (f"row {i}", PromptAlone(prompt=text, chosen="annotated", completion="annotated", answer=1))
        for i, text in enumerate(PROMPTS)
    ]
    monkeypatch.setattr(_prompts, "file_rows", lambda *_: iter(rows))
    seft.run(settings, tmp_path / "beside")
    for number in (1, 2):
        one, other = (tmp_path / f"{name}/round-{number}" for name in ("alone", "beside"))
        assert (one / "rows.jsonl").read_bytes() == (other / "rows.jsonl").read_bytes()
        assert manifest(one)["inputs"] == manifest(other)["inputs"]


@pytest.mark.usefixtures("quick")
def test_every_round_has_prompts_of_its_own(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, KEEP)
    rows = [{"prompt": text} for text in [*PROMPTS, PROMPTS[0], ""]]
    path = write_jsonl(tmp_path / "twice.jsonl", rows)
    rounds = [{"reviser": "external", "num_prompts": 2}, "external", "external"]
    found = seft.run(recipe(world, prompts=path, rounds=rounds), tmp_path / "out")
    assert [told["num_prompts"] for told in found] == [2, 3, 3]
    asked = [
        row["prompt"][0]["content"]
        for number in (1, 2, 3)
        for row in lines(tmp_path / f"out/round-{number}/revisions.jsonl")
    ]
    assert sorted(asked) == sorted(PROMPTS)
    assert asked != PROMPTS
    with pytest.raises(DataError, match="found 8 different prompts for 2 rounds that want 8 and"):
        rounds = [{"reviser": "external", "num_prompts": 8}, "external"]
        seft.run(recipe(world, prompts=path, rounds=rounds), tmp_path / "more")


@pytest.mark.usefixtures("quick")
def test_a_chat_of_several_turns(world: Path, tmp_path: Path, monkeypatch):
    shown = says(monkeypatch, KEEP)
    turns = [("system", "s"), ("user", "u 你"), ("assistant", "a"), ("user", "v")]
    chat = [{"role": role, "content": content} for role, content in turns]
    spelled = "\n\nHuman: u\n\nAssistant: a\n\nHuman: v\n\nAssistant:"
    begun = f"{spelled} It"
    asked = [{"prompt": text} for text in (chat, spelled, begun)]
    path = write_jsonl(tmp_path / "chats.jsonl", asked)
    seft.run(recipe(world, prompts=path, rounds=["external"]), tmp_path / "out")
    prompts = sorted((tuple(prompt) for prompt, _ in shown), key=len)
    assert prompts == [(("user", "u"), ("assistant", "a"), ("user", "v")), tuple(turns)]


# ------------------------------------------------------------------------------------------ rounds


def test_the_policy_of_a_round_answers_in_the_next(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, f"{MAJOR}\nbetter")
    seft.run(recipe(world), tmp_path / "out")
    models = [world / "policy", *(tmp_path / f"out/round-{n}/train/model" for n in (1, 2))]
    for number, model in enumerate(models[:2], 1):
        folder = tmp_path / "out" / f"round-{number}"
        inputs = manifest(folder)["inputs"]
        assert inputs["policy"] == digest_folder(model)
        assert digest_folder(world / "reviser/train/model") in inputs["reviser"]
        drawn = [line["answer"] for line in lines(folder / "answers.jsonl")]
        asked = [row["prompt"][0]["content"] for row in lines(folder / "revisions.jsonl")]
        keys = keys_of(world)[4 * (number - 1) : 4 * number]
        assert asked == [PROMPTS[key] for key in keys]
        assert drawn == own_answers(model, asked, keys)
        if number == 2:
            assert drawn != own_answers(models[0], asked, keys)
    assert_same(tmp_path / "out" / "model", models[2])


def keys_of(world: Path) -> list[int]:
    return torch.randperm(len(PROMPTS), generator=torch.Generator().manual_seed(0)).tolist()


def own_answers(model: Path, asked: list[str], keys: list[int]) -> list[str]:
    settings = SamplingSettings(temperature=1.0, max_new_tokens=12)
    chats = [(Message("user", text),) for text in asked]
    tokenizer = load_tokenizer(str(model))
    return [t for (t,) in sample(load_model(model), tokenizer, chats, settings, keys=keys)]


@pytest.mark.usefixtures("quick")
def test_internal_then_external(world: Path, tmp_path: Path, monkeypatch):
    shown = says(monkeypatch, KEEP)
    both = internal(world) | {"external": {"path": str(world / "reviser")}}
    found = seft.run(
        recipe(world, revisers=both, rounds=["internal", "external"]), tmp_path / "out"
    )
    assert [told["reviser"] for told in found] == ["internal", "external"]
    assert len(shown) == 8
    own = manifest(tmp_path / "out/revisers/internal")
    assert own["inputs"]["model"] == digest_folder(world / "policy")
    kept = json.loads((tmp_path / "out/revisers/internal/reviser.json").read_text())
    # Of the gaps 1, 3, 1 and 1 the lowest of none is 0, and the second lowest 1.
    assert kept["gaps"] == [0.0, 1.0]
    assert kept["form"]["instruction"] == "Revise. {labels}"
    # Four to revise and a share of .4 want 2.67 to keep.
    assert kept["label_counts"] == {KEEP: 3, MINOR: 3, MAJOR: 1}
    assert kept["dropped"] == {
        "answers whose completion is empty": 1,
        "answers that stand twice in a row": 1,
    }
    digest = digest_folder(tmp_path / "out/revisers/internal/train/model")
    assert digest in manifest(tmp_path / "out/round-1")["inputs"]["reviser"]


@pytest.mark.usefixtures("quick")
def test_self_sft_learns_its_own_answers(world: Path, tmp_path: Path, monkeypatch):
    shown = says(monkeypatch, MAJOR)
    settings = recipe(world, revisers=internal(world), rounds=["internal"], control="self_sft")
    (told,) = seft.run(settings, tmp_path / "out")
    assert not shown
    assert not (tmp_path / "out/revisers").exists()
    folder = tmp_path / "out/round-1"
    drawn = [line["answer"] for line in lines(folder / "answers.jsonl")]
    assert [row["completion"] for row in lines(folder / "rows.jsonl")] == drawn
    assert (told["reviser"], told["keep_frac"]) == (None, 1.0)


@pytest.mark.usefixtures("quick")
def test_always_revise_learns_no_row_to_keep(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, f"{MAJOR}\nbetter")
    settings = recipe(world, revisers=internal(world), rounds=["internal"])
    for control in (None, "always_revise"):
        out = tmp_path / str(control)
        seft.run(settings.model_copy(update={"control": control}), out)
        rows = lines(out / "revisers/internal/rows.jsonl")
        labels = [row["completion"].partition("\n")[0] for row in rows]
        assert labels.count(KEEP) == (0 if control else 3)
        assert labels.count(MINOR) + labels.count(MAJOR) == 4


# ------------------------------------------------------------------------------- kills and refusals


class Killed(BaseException):
    """As a signal would."""


def kill_at(monkeypatch, module, name: str, number: int) -> None:
    """Let the call of that number of a function, from 1, die in its place."""
    calls, function = [], getattr(module, name)

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, dying)


PLACES = [
    (_seft_reviser.logger, "warning", 1),  # lessons are written, and what is known of them is not
    (_seft_answers, "append_metrics", 11),
    (_seft_round, "report", 2),
    (_seft_round.align, "run", 2),
]
MORE_PLACES = [
    (_seft_reviser.logger, "warning", 1),  # lessons are written, and what is known of them is not
    (_seft_answers, "append_metrics", 2),
    (_seft_answers, "append_metrics", 7),
    (_seft_round, "write_jsonl", 2),
    (_seft_round.align, "run", 3),
    (_seft_round, "write_json", 1),
    (seft, "write_json", 1),
]


@pytest.mark.parametrize(
    "place",
    [*PLACES, *(pytest.param(place, marks=pytest.mark.slow) for place in MORE_PLACES)],
    ids=lambda place: f"{place[1]}-{place[2]}",
)
def test_a_killed_run_goes_on(world: Path, tmp_path: Path, monkeypatch, whole, place):
    settings = recipe(world, revisers=internal(world), rounds=["internal", "internal"])
    with monkeypatch.context() as patch:
        kill_at(patch, *place)
        with pytest.raises(Killed):
            seft.run(settings, tmp_path)
    found = seft.run(settings, tmp_path)
    assert found == json.loads((whole / "report.json").read_text())
    assert seft.run(settings, tmp_path) == found  # nothing to do
    assert_same(tmp_path / "model", whole / "model")
    for part in ("round-1/rows.jsonl", "round-2/rows.jsonl", "revisers/internal/rows.jsonl"):
        assert (tmp_path / part).read_bytes() == (whole / part).read_bytes()


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory) -> Path:
    """The same run, not killed."""
    out = tmp_path_factory.mktemp("whole")
    seft.run(recipe(world, revisers=internal(world), rounds=["internal", "internal"]), out)
    return out


def test_what_is_written_is_not_written_again(world: Path, tmp_path: Path, monkeypatch):
    shown = says(monkeypatch, KEEP)
    with monkeypatch.context() as patch:
        kill_at(patch, _seft_round.align, "run", 1)
        with pytest.raises(Killed):
            seft.run(recipe(world, rounds=["external"]), tmp_path)
    assert len(shown) == 8
    before = (tmp_path / "round-1/answers.jsonl").stat().st_mtime_ns
    seft.run(recipe(world, rounds=["external"]), tmp_path)
    assert len(shown) == 8
    assert (tmp_path / "round-1/answers.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("sections", "difference"),
    [
        ({"sampling": {"temperature": 0.5}}, "settings.sampling.temperature: 1.0 there, 0.5 now"),
        ({"train": TRAIN | {"lr": 1e-3}}, "settings.train.lr: 0.01 there, 0.001 now"),
        ({"prompts_seed": 1}, "inputs.prompts of round 1: "),
        ({"control": "self_sft"}, 'settings.control: null there, "self_sft" now'),
    ],
)
def test_other_settings_are_refused(world, whole, sections, difference):
    settings = recipe(world, revisers=internal(world), rounds=["internal", "internal"])
    changed = validate(SeftRun, to_dict(settings) | sections, "here")
    with pytest.raises(SettingsError, match=difference):
        seft.run(changed, whole)


def test_a_run_may_go_on_with_other_batches(world, whole):
    faster = {"sampling": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64}}
    faster |= {"decode": {"max_new_tokens": 12, "batch_size": 64}, "device": "auto"}
    own = internal(world, train=TRAIN | {"log_every_steps": 7})
    settings = recipe(world, revisers=own, rounds=["internal", "internal"], **faster)
    assert seft.run(settings, whole) == json.loads((whole / "report.json").read_text())


@pytest.mark.usefixtures("quick")
def test_labels_stay_with_the_reviser(world: Path, whole: Path, tmp_path: Path):
    trained = {"path": str(whole / "revisers/internal")}
    settings = recipe(world, revisers={"internal": trained}, rounds=["internal"])
    (told,) = seft.run(settings, tmp_path / "again")
    assert told["num_answers"] == 8
    same = trained | {"form": INTERNAL["form"]}
    settings = recipe(world, revisers={"internal": same}, rounds=["internal"])
    seft.run(settings, tmp_path / "same")
    labels = {"thresholds": [0.1, 0.5]}
    other = trained | {"form": INTERNAL["form"] | {"labels": labels}}
    settings = recipe(world, revisers={"internal": other}, rounds=["internal"])
    with pytest.raises(SettingsError, match=r"thresholds: \(0.0, 0.5\) there, \(0.1, 0.5\) now"):
        seft.run(settings, tmp_path / "other")
    revisers = internal(world, form=other["form"])
    settings = recipe(world, revisers=revisers, rounds=["internal", "internal"])
    with pytest.raises(SettingsError, match=r"labels.thresholds: \[0.0, 0.5\] there, \[0.1, 0.5\]"):
        seft.run(settings, whole)


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"form": {"labels": {"name": []}}}'])
def test_a_folder_without_a_reviser(world: Path, tmp_path: Path, content: str | None):
    (tmp_path / "train/model").mkdir(parents=True)
    if content is not None:
        (tmp_path / "reviser.json").write_text(content)
    settings = recipe(world, revisers={"external": {"path": str(tmp_path)}})
    with pytest.raises((DataError, SettingsError), match=r"found no reviser|reviser.json.*unknown"):
        seft.run(settings, tmp_path / "out")


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.usefixtures("quick")
def test_prompts_that_do_not_fit_are_left_out(world: Path, tmp_path: Path, monkeypatch, caplog):
    says(monkeypatch, KEEP)
    rows = [{"prompt": "fine"}, {"prompt": "long " * 300}]
    path = write_jsonl(tmp_path / "long.jsonl", rows)
    (told,) = seft.run(recipe(world, prompts=path, rounds=["external"]), tmp_path / "out")
    assert (told["num_prompts"], told["num_answers"]) == (2, 1)
    assert "the policy cannot read 1 prompts" in caplog.text
    path = write_jsonl(tmp_path / "longer.jsonl", rows[1:])
    with pytest.raises(DataError, match="the policy could read none of 1 prompts"):
        seft.run(recipe(world, prompts=path, rounds=["external"]), tmp_path / "none")


@pytest.mark.usefixtures("quick")
def test_answers_that_do_not_fit_into_the_reviser_stay(world: Path, tmp_path: Path):
    # 256 positions hold the prompt and its answer, and not the instruction behind them.
    path = write_jsonl(tmp_path / "long.jsonl", [{"prompt": "x" * 235}, {"prompt": "short"}])
    (told,) = seft.run(recipe(world, prompts=path, rounds=["external"]), tmp_path / "out")
    assert told["failures"]["unreadable"] == 1
    assert told["num_rows"] == 2


@pytest.mark.usefixtures("quick")
def test_empty_answers_are_not_learnt(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, KEEP, f"{MAJOR}\nwritten anew", "garbage")
    monkeypatch.setattr(_seft_answers, "sample", lambda *a, **k: [[" "]] * len(k["keys"]))
    (told,) = seft.run(recipe(world, rounds=["external"]), tmp_path / "out")
    assert told["left_out"] == {"empty answer": 5}
    assert {row["completion"] for row in lines(tmp_path / "out/round-1/rows.jsonl")} == {
        "written anew"
    }
    says(monkeypatch, KEEP)
    with pytest.raises(DataError, match=r"of 8 answers none is left to learn .*'empty answer': 8"):
        seft.run(recipe(world, rounds=["external"]), tmp_path / "none")


NO_HEADER = r"its chat template writes '<\|assistant\|>' in front of an answer"


@pytest.mark.usefixtures("quick")
def test_a_template_that_cannot_ask_for_an_answer(world: Path, tmp_path: Path):
    hf = byte_level()
    hf.chat_template = hf.chat_template.replace(
        "{% if add_generation_prompt %}<|assistant|>{% endif %}", ""
    )
    policy = str(save_model(tmp_path / "mute", hf))
    with pytest.raises(DataError, match=NO_HEADER):
        seft.run(recipe(world, policy=policy), tmp_path / "out")
    revisers = internal(world, model=policy)
    with pytest.raises(DataError, match=NO_HEADER):
        seft.run(recipe(world, revisers=revisers, rounds=["internal"]), tmp_path / "two")


def test_data_without_anything_to_learn(world: Path, tmp_path: Path):
    row = {"prompt": "p", "answers": ["a", ""], "scores": [1, 0]}
    path = write_jsonl(tmp_path / "few.jsonl", [row])
    settings = recipe(world, revisers=internal(world, data=path), rounds=["internal"])
    with pytest.raises(DataError, match=r"found no row to learn from \(1 answers whose completion"):
        seft.run(settings, tmp_path / "out")


@pytest.mark.usefixtures("quick")
def test_lessons_that_are_too_long_are_left_out(world: Path, tmp_path: Path):
    rows = [
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "chosen": "good " * 40, "rejected": "bad"},
    ]
    data = write_jsonl(tmp_path / "long.jsonl", rows)
    revisers = internal(world, data=data, max_tokens=128)
    seft.run(recipe(world, revisers=revisers, rounds=["internal"]), tmp_path / "out")
    kept = json.loads((tmp_path / "out/revisers/internal/reviser.json").read_text())
    assert (
        kept["dropped"]["lessons longer than max_tokens"]
        == sum(kept["label_counts"].values()) - (kept["num_rows"])
    )
    for row in lines(tmp_path / "out/revisers/internal/rows.jsonl"):
        assert "good good" not in row["completion"]


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"rounds": ["inner"]}, "rounds: found .'inner'., expected names of revisers"),
        ({"revisers": {"external": {}}}, "found both or none of path and data"),
        ({"revisers": {"external": {"path": "x", "data": "y"}}}, "found both or none of path"),
        ({"revisers": {"external": {"path": "x", "seed": 1}}}, "seed has no effect on a reviser"),
        ({"revisers": {"external": {"path": "x"}, "b": {"path": "y"}}}, "'b'. are in no round"),
        ({"revisers": {"a/../b": {"path": "x"}}, "rounds": ["a/../b"]}, "expected letters, digits"),
        ({"decode": {"keep_bias": 1.0}}, "keep_bias has an effect with decide: logps only"),
        ({"filters": {"min_gain": 0.0}}, "filters.min_gain needs a scorer"),
        ({"control": "always_revise"}, "are trained already"),
        ({"control": "self_sft", "filters": {"identical": True}}, "filters have no effect"),
        ({"prompts": {"path": "x", "reference": "answer"}}, "without one it is not read"),
        ({"scorer": {"check": {"kind": "exact"}}}, "name its column as prompts.reference"),
        ({"policy": {"scratch": {}, "tokenizer": "x"}}, "expected a model that can answer"),
        ({"rounds": []}, "at least 1"),
        ({"temperature": 1.0}, "unknown key"),
    ],
)
def test_contradictions(world: Path, sections: dict, problem: str):
    with pytest.raises(SettingsError, match=problem):
        recipe(world, **sections)


# -------------------------------------------------------------------------- how a reviser decides


def writer_of(world: Path, **decode) -> Writer:
    folder = world / "policy"  # it has opinions
    model, tokenizer = load_model(folder), load_tokenizer(str(folder))
    return Writer(model, tokenizer, ReviserForm(), DecodeSettings(max_new_tokens=6, **decode))


SHOWN = [(Message("user", text),) for text in PROMPTS]


def test_labels_by_their_log_probs(world: Path):
    writer = writer_of(world, decide="logps", batch_size=3)
    expected, leads = [], []
    for chat, answer in zip(SHOWN, PROMPTS, strict=True):
        told = reviser_chat(chat, answer, writer.form)
        turns = [turn._asdict() for turn in told]
        prompt = writer.tokenizer.hf.apply_chat_template(turns, add_generation_prompt=True)
        logps = [
            token_by_token(writer.model, np.array(prompt["input_ids"]), np.array(one.ids))
            for one in openings(told, NAMES, writer.tokenizer)
        ]
        expected.append(NAMES[int(np.argmax(logps))])
        leads.append(logps[0] - max(logps[1:]))
    found = write(writer, SHOWN, PROMPTS)
    assert [next(n for n in NAMES if text.startswith(n)) for text in found] == expected
    for shift in (1e-3, -1e-3):  # a bias that is as large as a lead turns that answer, and no other
        bias = -sorted(leads)[3] + shift
        biased = write(writer_of(world, decide="logps", keep_bias=bias), SHOWN, PROMPTS)
        assert [text == KEEP for text in biased] == [lead + bias > 0 for lead in leads]


def test_a_label_is_followed_by_what_the_reviser_goes_on_with(world: Path):
    writer = writer_of(world, decide="logps", keep_bias=-100.0)
    found = write(writer, SHOWN[:2], PROMPTS[:2])
    for chat, answer, text in zip(SHOWN, PROMPTS, found, strict=False):
        (name,) = (n for n in NAMES[1:] if text.startswith(n))
        told = [turn._asdict() for turn in reviser_chat(chat, answer, writer.form)]
        hf = writer.tokenizer.hf
        begun = hf.apply_chat_template(told, tokenize=False, add_generation_prompt=True) + name
        ids = torch.tensor([hf(begun)["input_ids"]])
        ends = [writer.tokenizer.roles[role] for role in ("eot", "eos")]
        out = writer.model.generate(ids, do_sample=False, max_new_tokens=6, eos_token_id=ends)
        assert text == name + hf.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_what_cannot_be_read_is_none_however_it_is_decided(world: Path):
    shown, answers = [*SHOWN[:1], (Message("user", "x" * 400),), *SHOWN[1:2]], ["a", "b", "c"]
    for decide in ("greedy", "logps"):
        found = write(writer_of(world, decide=decide), shown, answers)
        assert [text is None for text in found] == [False, True, False]


# ------------------------------------------------------------------------------------------ scores


def by_length(prompt, answers):
    """A scorer: the number of letters."""
    return [len(answer) for answer in answers]


@pytest.mark.usefixtures("quick")
def test_scores_before_and_after(world: Path, tmp_path: Path, monkeypatch):
    says(monkeypatch, f"{MINOR}\nx", f"{MAJOR}\n{'y' * 100}", KEEP, "?")
    monkeypatch.setattr(
        sys.modules["inarch.flows._scoring.scorers"], "_function", lambda name: by_length
    )
    scored = recipe(world, rounds=["external"], scorer="tests:by_length")
    (told,) = seft.run(scored, tmp_path / "out")
    rows = lines(tmp_path / "out/round-1/revisions.jsonl")
    assert told["annotation_free"] is True
    assert told["score_before"] == pytest.approx(np.mean([len(r["original"]) for r in rows]))
    assert told["score_after"] == pytest.approx(np.mean([len(r["completion"]) for r in rows]))
    assert told["num_scored"] == 8
    gated = recipe(world, rounds=["external"], scorer="tests:by_length", filters={"min_gain": 1.0})
    (told,) = seft.run(gated, tmp_path / "gated")
    assert told["annotation_free"] is False
    assert told["left_out"] == {"score gate": 2}
    assert not any(r["completion"] == "x" for r in lines(tmp_path / "gated/round-1/rows.jsonl"))
    assert not math.isnan(told["score_after"])


# ------------------------------------------------------------------------------------------- plans


def test_a_plan_counts_what_is_here(world: Path):
    planned = seft.plan(recipe(world, revisers=internal(world), rounds=["internal", "internal"]))
    assert planned["prompts per round"] == [4, 4]
    assert planned["lessons of internal"] == 4
    assert planned["annotation-free"] == "yes"
    assert "GiB" in planned["disk"]
    assert "unknown" not in planned["time"]
    assert seft.plan(recipe(world, prompts="nowhere.jsonl"))["time"] == "unknown"
    elsewhere = recipe(
        world, policy="nowhere/at-all", revisers=internal(world), rounds=["internal"]
    )
    assert seft.plan(elsewhere)["time"].startswith("unknown beyond what is on this machine")


@pytest.mark.slow
def test_two_processes_are_one(world: Path, tmp_path: Path):
    settings = recipe(world, revisers=internal(world), rounds=["internal", "internal"])
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json", exclude_unset=True)))
    assert load(SeftRun, path) == settings
    # --multi_gpu without a GPU is gloo on the CPU; --cpu would start one process without MPI.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--module"]
    command = [sys.executable, *launcher, "inarch", "align", "seft", path]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", tmp_path / "two"], check=True, env=env, timeout=300)
    found = json.loads((tmp_path / "two/report.json").read_text())
    expected = seft.run(settings, tmp_path / "one")
    assert [told["num_rows"] for told in found] == [told["num_rows"] for told in expected]
    for name in ("sft_loss_first", "sft_loss_last"):
        expected_losses = [told[name] for told in expected]
        assert [told[name] for told in found] == pytest.approx(expected_losses, rel=1e-3)
    for name in ("revisers/internal/rows.jsonl", "round-1/rows.jsonl"):
        one, two = (tmp_path / number / name for number in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
