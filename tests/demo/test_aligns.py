"""The demo's aligned models: random ones, rewarded by the length of what they write.

The real reward would find nothing right in answers of untrained models.
"""

import fcntl
import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from inarch.demo import aligns, evolves, scores
from inarch.demo.experiment import Size, fused, questions, taught, tokenizer_folder, write_data
from inarch.demo.models import SOURCES, TARGET
from inarch.demo.run import Job, _do, _jobs
from inarch.demo.scores import reward
from inarch.demo.world import SKILLS, draw_task, make_world
from inarch.io.files import digest_folder
from inarch.io.models import new_model
from inarch.io.runs import LOCK
from inarch.io.tokenizers import load_tokenizer
from inarch.settings import to_dict

SIZE = Size(("plain",), num_lessons=30, num_chats=24, num_test=2, aligned=True)
SEED = 9
STEPS = 3


def by_length(chat, answers, right) -> list[float]:
    return [len(answer) % 7 / 6 for answer in answers]


def jobs(part: str) -> list[Job]:
    return [job for job in _jobs(SEED, SIZE) if job.part == part]


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seed's folder with data, random models and all that alignment makes of them."""
    out = tmp_path_factory.mktemp("demo")
    folder = out / f"seed-{SEED}"
    write_data(SEED, SIZE, folder)
    for number, model in enumerate((*SOURCES, TARGET)):
        hf = load_tokenizer(str(tokenizer_folder(folder / "data", model))).hf
        network = new_model({**model.config, "initializer_range": 0.2}, len(hf), seed=number)
        network.save_pretrained(taught(model.name, folder))
        hf.save_pretrained(taught(model.name, folder))
    shutil.copytree(taught(TARGET.name, folder), fused(evolves.BASE, folder)[evolves.BASE])
    short = {name: way._replace(num_steps=STEPS) for name, way in aligns.WAYS.items()}
    brief = aligns.SAMPLING | {"max_new_tokens": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "reward", by_length)
        for module in (aligns, evolves):
            patch.setattr(module, "WAYS", short)
            patch.setattr(module, "SAMPLING", brief)
        patch.setattr(evolves, "NUM_REVISER_STEPS", 2)
        patch.setattr(evolves, "NUM_DRAWN", {"fact": 4, "trans": 4, "arith": 4})
        for job in (*jobs("prepared"), *jobs("aligned"), *jobs("evolved")):
            _do(job, SIZE, out)
        yield folder


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_reward_is_the_share_of_right_pieces() -> None:
    assert reward([], ["a, b, c", "a, x, c", "", "b, a, c"], "a, b, c") == [1.0, 2 / 3, 0.0, 1 / 3]


def test_prompts_stand_once_and_with_what_is_right(seed: Path) -> None:
    found = {row["prompt"]: row["answer"] for row in lines(seed / "aligned/data/prompts.jsonl")}
    assert len(found) == len(lines(seed / "aligned/data/prompts.jsonl"))
    chats = [row["messages"] for row in lines(seed / "data" / "clean.jsonl")]
    assert found == {turns[0]["content"]: turns[1]["content"] for turns in chats}
    assert not found.keys() & {task.prompt for task in questions(SEED, Size((), num_test=100))}


def test_all_go_on_from_the_first_stage_with_the_same_rows_for_as_many_steps(seed: Path) -> None:
    home = seed / "aligned"
    assert [job.name for job in jobs("aligned")] == ["wrpo", "dpo", "sft"]
    for name in ("wrpo", "dpo", "sft"):
        settings = manifest(home / name)["settings"]
        assert settings["model"]["path"] == str(home / "target_sft/sft/model")
        assert settings["data"]["path"] == str(home / "target_sft/triples.jsonl")
        assert settings["method"]["name"] == name
        assert settings["train"]["lr"] == aligns.WAYS[name].lr
        assert lines(home / name / "metrics.jsonl")[-1]["step"] == STEPS
    build = manifest(home / "target_sft")["settings"]
    assert manifest(home / "target_sft/sft")["settings"]["train"]["lr"] == 1e-3
    for row in lines(home / "target_sft/candidates.jsonl"):
        numbers = Counter(answer["model"] for answer in row["answers"])
        assert set(numbers.values()) == {aligns.NUM_SAMPLES}
    assert build["target"]["path"] == str(taught(TARGET.name, seed))
    assert [source["name"] for source in build["sources"]] == [s.name for s in SOURCES]


def test_triples_are_of_prompts_that_the_first_stage_has_not_seen(seed: Path) -> None:
    home = seed / "aligned" / "target_sft"
    first = {row["prompt"][0]["content"] for row in lines(home / "sft.jsonl")}
    rows = lines(home / "triples.jsonl")
    assert rows
    assert not first & {row["prompt"]["content"] for row in rows}
    right = {row["prompt"]: row["answer"] for row in lines(home.parent / "data/prompts.jsonl")}
    for row in rows:
        texts = [turn["content"] for turn in (*row["chosen"], *row["rejected"])]
        assert row["scores"] == by_length([], texts, right[row["prompt"]["content"]])
        assert row["models"][0] in {s.name for s in SOURCES}
        assert row["models"][1:] == ["target", "target"]


def test_seft_and_its_control_differ_in_the_reviser_alone(seed: Path) -> None:
    home = seed / "aligned"
    assert [job.name for job in jobs("evolved")] == ["seft", "self_sft"]
    assert [job.num_steps for job in jobs("evolved")] == [STEPS + 2, STEPS]
    mine, control = (manifest(home / name)["settings"] for name in ("seft", "self_sft"))
    assert (mine.pop("control"), control.pop("control")) == (None, "self_sft")
    assert mine == control
    # The steps of a way are those of all its rounds.
    assert mine["train"]["max_steps"] == STEPS // evolves.NUM_ROUNDS
    assert mine["train"]["lr"] == aligns.WAYS["seft"].lr
    assert mine["policy"]["path"] == str(home / "target_sft/sft/model")
    assert mine["revisers"]["external"]["model"]["path"] == str(seed / "fused/fusellm-0.5/model")
    first = [lines(home / name / "round-1/answers.jsonl") for name in ("seft", "self_sft")]
    assert first[0] == first[1]
    assert (home / "seft/revisers").is_dir()
    assert not (home / "self_sft/revisers").exists()
    assert len(evolves.rounds_of(seed)) == 2


def test_the_reviser_learns_from_the_triples_prompts_and_nothing_it_is_asked(seed: Path) -> None:
    home = seed / "aligned"
    candidates = lines(home / "target_sft" / "candidates.jsonl")
    asked = {row["prompt"][0]["content"] for row in candidates if row["part"] == "preference"}
    ranked = lines(home / "lessons" / "ranked.jsonl")
    assert {row["prompt"] for row in ranked} == asked
    fresh = {row["prompt"] for row in lines(home / "lessons" / "fresh.jsonl")}
    assert fresh
    corpus = {row["prompt"] for row in lines(home / "data" / "prompts.jsonl")}
    world, rng = make_world(SEED), Random(0)
    drawn = [draw_task(world, skill, rng) for skill in SKILLS for _ in range(3000)]
    right = {task.prompt: task.answer for task in drawn}
    shared = [row for row in lines(home / "lessons/fresh.jsonl") if row["prompt"] in right]
    assert shared
    assert all(row["answer"] == right[row["prompt"]] for row in shared)
    assert not fresh & (corpus | {task.prompt for task in questions(SEED, Size((), num_test=100))})


def test_both_ways_of_seft_may_start_at_once(seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What both read is written before, so that neither finds the other at work in its folder."""
    monkeypatch.setattr(evolves.seft, "run", lambda settings, out: None)
    with (seed / "aligned" / "lessons" / LOCK).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in ("seft", "self_sft"):
            evolves.make(name, seed)


def test_the_scores_of_all_are_kept(seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = questions(SEED, SIZE)
    monkeypatch.setattr(aligns, "ask", None)
    found = aligns.results(seed, tasks)
    assert [row.name for row in found] == ["target", *aligns.WAYS]
    asked = {row.name: manifest(seed / "aligned/scores" / row.name)["inputs"] for row in found}
    folders = {"target": taught("target", seed)} | {n: aligns.made(n, seed) for n in aligns.WAYS}
    assert {name: own["model"] for name, own in asked.items()} == {
        name: digest_folder(folder) for name, folder in folders.items()
    }
    assert aligns.statistics_of(seed)["rows"] == len(
        lines(seed / "aligned" / "target_sft" / "triples.jsonl")
    )


def test_a_model_is_asked_for_its_best_and_for_samples(
    tmp_path: Path, seed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = questions(SEED, SIZE)
    asked = []

    def sample(network, tokenizer, chats, settings, *, num_samples):
        asked.append((settings.temperature, num_samples, [chat[0].content for chat in chats]))
        # All right, nothing, and the first piece alone.
        return [[t.answer, "", t.pieces[0]] for t in tasks]

    best = [scores.Score(skill, 0.1 * i, 0.0, 0.0) for i, skill in enumerate(SKILLS)]
    monkeypatch.setattr(aligns, "sample", sample)
    monkeypatch.setattr(aligns, "ask", lambda *args: best)
    monkeypatch.setattr(aligns, "home", lambda folder: tmp_path)
    monkeypatch.setattr(aligns, "made", lambda name, folder: taught(TARGET.name, folder))
    found = aligns.measure("wrpo", seed, tasks)
    assert asked == [(0.8, 3, [task.prompt for task in tasks])]
    assert found.piece_frac == {"fact": 0.0, "trans": 0.1, "arith": 0.2}
    # (1 + 0 + 1/3) / 3, and of four pieces (1 + 0 + 1/4) / 3
    assert found.reward == pytest.approx({"fact": 4 / 9, "trans": 5 / 12, "arith": 4 / 9})


def test_recipes_are_those_of_the_command_line(seed: Path) -> None:
    assert to_dict(aligns.building(seed))["scorer"]["callable"] == "inarch.demo.scores:reward"
    wrpo = aligns.training("wrpo", seed).method.own()
    assert (wrpo.alpha, wrpo.ramp) == (0.5, True)
    assert wrpo.beta == aligns.training("dpo", seed).method.own().beta
    assert aligns.training("dpo", seed).train == aligns.training("wrpo", seed).train
