"""From prompts to triples and pairs, on tiny models and a fake endpoint."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch.errors import DataError, SettingsError
from inarch.flows import align, align_build
from inarch.flows._build.rows import Answered, texts
from inarch.flows._scoring.question import NoScore
from inarch.flows.align import AlignRun
from inarch.flows.align_build import BuildRun
from inarch.io.answers import Answer, AnswererSettings, answers
from inarch.io.files import read_metrics
from inarch.io.models import digest_model, load_model
from inarch.io.sampling import SamplingSettings
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message
from tests.io.fake_endpoint import Fault, completion, serving
from tests.tiny import byte_level, save_model

PROMPTS = [
    "the quick brown fox",
    "你好, 世界",
    "😀 or 😁?",
    "a cat sat on the mat",
    "1 plus 2 is",
    "def f(x):",
    "the dog sleeps",
    "happy with the hat",
    "jumps over",
]
SAMPLES = 3
SAMPLING = {"max_new_tokens": 6}
"""Few tokens of a random model: some answers are cut letters, which makes them the stranger."""


def reward(prompt: list[dict], answers: list[str]) -> list[float]:
    """Letters of the prompt that an answer has, and a little for its length."""
    letters = set(prompt[-1]["content"])
    return [sum(letter in letters for letter in text) + len(text) / 64 for text in answers]


REWARD = "tests.flows.test_align_build:reward"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two sources and a target with opinions, and prompts."""
    folder = tmp_path_factory.mktemp("world")
    for seed, name in enumerate(("a", "b", "mine")):
        model = AutoModelForCausalLM.from_pretrained(
            save_model(folder / name, byte_level(), seed=seed)
        )
        for weight in model.parameters():
            weight.data.mul_(4.0)
        model.save_pretrained(folder / name)
    lines = [json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in PROMPTS]
    (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def recipe(world: Path, **changed) -> BuildRun:
    settings = {
        "prompts": str(world / "prompts.jsonl"),
        "sources": (
            str(world / "a"),
            str(world / "b"),
        ),
        "target": str(world / "mine"),
        "samples": SAMPLES,
        "sampling": SAMPLING,
        "scorer": REWARD,
        "sft": {
            "max_tokens": 128,
            "max_prompt_tokens": 64,
            "train": {"max_steps": 2, "batch_size": 3, "lr": 1e-2, "save_every_steps": None},
        },
        "device": "cpu",
    }
    return BuildRun.model_validate(settings | changed)


@pytest.fixture(scope="module")
def built(world: Path, tmp_path_factory) -> tuple[Path, dict]:
    """A whole build, and what it tells."""
    out = tmp_path_factory.mktemp("built") / "out"
    return out, align_build.run(recipe(world), out)


def contents(out: Path) -> dict[str, bytes]:
    names = ("sft.jsonl", "triples.jsonl", "candidates.jsonl", "statistics.json")
    return {name: (out / name).read_bytes() for name in names}


def facts(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["facts"]


# ------------------------------------------------------------------------------------- the chain


def test_every_answer_is_there_with_its_score_and_origin(built):
    found = rows(built[0] / "candidates.jsonl")
    assert [row["prompt"][0]["content"] for row in found] == PROMPTS
    for row in found:
        models = ["a"] * SAMPLES + ["b"] * SAMPLES
        models += ["mine"] * SAMPLES if row["part"] == "preference" else []
        assert [one["model"] for one in row["answers"]] == models
        assert [one["sample"] for one in row["answers"]] == [0, 1, 2] * (len(models) // 3)
        assert [one["seed"] for one in row["answers"]] == [42, 43, 44] * (len(models) // 3)
        texts = [one["text"] for one in row["answers"]]
        scored = [one["score"] for one in row["answers"]]
        expected = reward(row["prompt"], texts)
        assert scored == [s if t.strip() else None for s, t in zip(expected, texts, strict=True)]


def test_rows_are_the_best_and_the_worst_by_a_plain_loop(built):
    out, told = built
    sft, triples, dropped = [], [], 0
    for row in rows(out / "candidates.jsonl"):
        good = [one for one in row["answers"] if one["score"] is not None]
        sources = sorted((o for o in good if o["model"] != "mine"), key=lambda o: -o["score"])
        own = sorted((o for o in good if o["model"] == "mine"), key=lambda o: -o["score"])
        if row["part"] == "sft":
            sft.append((row["prompt"][0], sources[0]["text"]))
        elif own[0]["score"] > own[-1]["score"]:
            worst = next(o for o in own if o["score"] == own[-1]["score"])
            triples.append((row["prompt"][0], sources[0]["text"], own[0]["text"], worst["text"]))
        else:
            dropped += 1
    assert len(sft) == 3
    assert len(triples) + dropped == 6
    assert [(r["prompt"][0], r["completion"][0]["content"]) for r in rows(out / "sft.jsonl")] == sft
    assert triples == [
        (row["prompt"], *(answer["content"] for answer in (*row["chosen"], *row["rejected"])))
        for row in rows(out / "triples.jsonl")
    ]
    assert (told["rows"], sum(told["dropped"].values())) == (len(triples), dropped)
    assert sum(told["wins"].values()) == len(PROMPTS)


def test_the_record_is_the_published_one(built):
    row = rows(built[0] / "triples.jsonl")[0]
    assert row["prompt"].keys() == {"role", "content"}
    assert [turn["role"] for turn in (*row["chosen"], *row["rejected"])] == ["assistant"] * 3
    assert row["models"][0] in ("a", "b")
    assert row["models"][1:] == ["mine", "mine"]
    assert row["scores"][1] > row["scores"][2]
    found = next(r for r in rows(built[0] / "candidates.jsonl") if r["prompt"][0] == row["prompt"])
    for model, sample, seed, score, turn in zip(
        *(row[name] for name in ("models", "samples", "seeds", "scores")),
        (*row["chosen"], *row["rejected"]),
        strict=True,
    ):
        expected = {"model": model, "sample": sample, "seed": seed, "score": score}
        assert expected | {"text": turn["content"], "failure": ""} in found["answers"]


def test_the_target_answers_after_its_sft(world, built, tmp_path):
    """A build whose y_wt and y_l are of the target before SFT is wrong, however well it runs."""
    out, _ = built
    preference = [r for r in rows(out / "candidates.jsonl") if r["part"] == "preference"]
    chats = [[Message("user", row["prompt"][0]["content"])] for row in preference]
    found = [
        [one["text"] for one in row["answers"] if one["model"] == "mine"] for row in preference
    ]
    drawn = {}
    for name, path in (("after", out / "sft" / "model"), ("before", world / "mine")):
        who = AnswererSettings(name=name, path=str(path))
        sampling = SamplingSettings(**SAMPLING)
        drawn[name] = [
            [answer.text for answer in row]
            for row in answers(who, chats, sampling, SAMPLES, tmp_path / name)
        ]
    assert found == drawn["after"]
    assert found != drawn["before"]
    assert facts(out)["target_weights"] == digest_model(str(out / "sft" / "model"))
    # What SFT learnt is the sources' best: it is more probable than before.
    before, after = (load_model(p) for p in (world / "mine", out / "sft" / "model"))
    assert mean_loss(after, out) < mean_loss(before, out) - 0.1


def mean_loss(model, out: Path) -> float:
    hf, losses = load_tokenizer(str(out / "sft" / "model")).hf, []
    for row in rows(out / "sft.jsonl"):
        start = hf.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
        answer = hf(row["completion"][0]["content"] + "<|end|>").input_ids
        with torch.no_grad():
            logps = model(torch.tensor([[*start, *answer]])).logits[0].log_softmax(-1)
        losses += [-logps[len(start) + i - 1, token].item() for i, token in enumerate(answer)]
    return sum(losses) / len(losses)


def test_no_prompt_of_sft_is_one_of_preferences(built):
    out, _ = built
    learnt = {row["prompt"][0]["content"] for row in rows(out / "sft.jsonl")}
    compared = {row["prompt"]["content"] for row in rows(out / "triples.jsonl")}
    assert learnt
    assert not learnt & compared


def test_a_prompt_that_stands_there_twice_is_in_one_part(world, tmp_path):
    path = tmp_path / "twice.jsonl"
    texts = [*PROMPTS, *PROMPTS[::-1]]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    settings = recipe(world, prompts=str(path))
    draft = align_build._draft(settings, tmp_path / "out")
    assert [row.messages[0].content for row in draft.prompts] == PROMPTS
    assert draft.unread == {"prompts that stand there twice": 9}
    assert len(draft.for_sft) == 3
    assert align_build.plan(settings)["prompts"] == 9


def test_wrpo_trains_on_what_was_built(built, tmp_path):
    out, told = built
    data = {"path": str(out / "triples.jsonl"), "max_tokens": 128, "max_prompt_tokens": 64}
    train = {"max_steps": 3, "batch_size": 4, "lr": 1e-3, "log_every_steps": 1}
    settings = AlignRun.model_validate(
        {"model": str(out / "sft" / "model"), "data": data, "train": train, "device": "cpu"}
    )
    align.run(settings, tmp_path)
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert facts(tmp_path)["num_rows"] <= told["rows"]


def test_pairs_are_of_one_source_and_need_no_answer_of_the_target(world, tmp_path):
    settings = recipe(world, choose={"form": "pairs"})
    told = align_build.run(settings, tmp_path / "out")
    found = rows(tmp_path / "out" / "pairs.jsonl")
    assert told["rows"] == len(found) > 0
    assert all(len(set(row["models"])) == 1 for row in found)
    assert "mine" not in told["models"]
    data = {
        "path": str(tmp_path / "out" / "pairs.jsonl"),
        "max_tokens": 99,
        "max_prompt_tokens": 64,
    }
    model = str(tmp_path / "out" / "sft" / "model")
    train = {"max_steps": 1, "batch_size": 2, "log_every_steps": 1}
    run = {"model": model, "data": data, "method": "ln_dpo", "train": train, "device": "cpu"}
    align.run(AlignRun.model_validate(run), tmp_path / "dpo")
    [metrics] = read_metrics(tmp_path / "dpo" / "metrics.jsonl")
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)


# ---------------------------------------------------------------------------- stops and goes on


def dying(function, at: int):
    """A function that is interrupted the ``at``-th time."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return counted


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("answers", 2),  # one source has answered
        ("scores_of", 1),
        ("write_jsonl", 1),
        ("scores_of", 2),  # the target has answered
        ("write_jsonl", 3),  # the triples
        ("write_json", 1),
    ],
)
def test_a_killed_build_goes_on(world, built, tmp_path, monkeypatch, name: str, at: int):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(align_build, name, dying(getattr(align_build, name), at))
        with pytest.raises(KeyboardInterrupt):
            align_build.run(recipe(world), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("answers-*.jsonl")}
    assert len(before) == {("answers", 2): 1, ("scores_of", 1): 2, ("write_jsonl", 1): 2}.get(
        (name, at), 3
    )
    align_build.run(recipe(world), out)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert contents(out) == contents(built[0])


def test_a_build_that_is_killed_in_sft_goes_on(world, built, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(align, "preference_loss", dying(align.preference_loss, 1))
        with pytest.raises(KeyboardInterrupt):
            align_build.run(recipe(world), tmp_path / "out")
    align_build.run(recipe(world), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(built[0])


def test_a_finished_build_is_left_alone(world, built):
    out, told = built
    before = contents(out)
    cheaper = recipe(world, sampling=SAMPLING | {"batch_size": 2})
    assert align_build.run(cheaper, out) == told
    with pytest.raises(SettingsError, match=r"settings\.sampling\.temperature: 0\.8 there, 0\.5"):
        align_build.run(recipe(world, sampling=SAMPLING | {"temperature": 0.5}), out)
    with pytest.raises(SettingsError, match=r"settings\.sft\.share: "):
        align_build.run(recipe(world, sft={"share": 0.5}), out)
    assert contents(out) == before


def test_builds_share_answers_and_scores(world, built, tmp_path, monkeypatch):
    work = str(tmp_path / "work")
    align_build.run(recipe(world, work=work), tmp_path / "one")
    assert contents(tmp_path / "one") == contents(built[0])
    before = {path: path.stat().st_mtime_ns for path in Path(work).rglob("*.jsonl")}
    strict = recipe(world, work=work, choose={"min_gap": 0.5})
    told = align_build.run(strict, tmp_path / "two")
    after = {path: path.stat().st_mtime_ns for path in Path(work).rglob("*.jsonl")}
    assert after == before
    assert told["rows"] <= built[1]["rows"]
    assert all(
        row["scores"][1] - row["scores"][2] >= 0.5 for row in rows(tmp_path / "two/triples.jsonl")
    )


def test_a_dying_scorer_stops_the_build_and_loses_nothing(world, built, tmp_path, monkeypatch):
    real = reward
    asked = []

    def ill(prompt, answers):
        asked.append(prompt[0]["content"])
        if len(asked) == 3:
            return [math.nan for _ in answers]
        return real(prompt, answers)

    monkeypatch.setattr("tests.flows.test_align_build.reward", ill)
    told = r"prompts\.jsonl:3: no score for the answer .* gave nan|expected a finite number"
    with pytest.raises(DataError, match=told):
        align_build.run(recipe(world), tmp_path / "out")
    assert asked == PROMPTS[:3]
    align_build.run(recipe(world), tmp_path / "out")
    assert asked[3:6] == PROMPTS[2:5]  # the first two are known
    assert contents(tmp_path / "out") == contents(built[0])


# -------------------------------------------------------------------------------------- bad input


def endpoint(fake, **more) -> dict:
    return {
        "name": "far",
        "endpoint": {"url": fake.url, "model": "m", "max_retries": 0, "timeout_s": 0.5} | more,
    }


def test_answers_without_a_text_are_not_scored():
    row = (
        Answer("x", 1),
        Answer(" \n", 2),
        Answer(None, 3, "timed out"),
        Answer("\ud83d", 4),
        Answer("x", 5),
        Answer("y", 6),
    )
    assert texts({"a": [row]}, 0) == ("x", "y")
    found = Answered({"a": [row]}, [[0.5, NoScore("no number")]]).candidates(0)
    assert [(one.sample, one.seed, one.score, one.failure) for one in found] == [
        (0, 1, 0.5, ""),
        (1, 2, None, "empty answer"),
        (2, 3, None, "timed out"),
        (3, 4, None, "lone surrogates"),
        (4, 5, 0.5, ""),
        (5, 6, None, "no number"),
    ]


def test_an_endpoint_that_fails_is_counted_and_nothing_is_lost(world, tmp_path):
    def say(body, before):
        text, seed = body["messages"][-1]["content"], body["seed"]
        if text == PROMPTS[0]:
            return Fault(hang_s=1.0)
        if text == PROMPTS[1]:
            return Fault(429, "{}")
        if text == PROMPTS[2]:
            return completion(None)
        if text == PROMPTS[3]:
            return " \n"
        return f"你好 {text} {seed}"

    with serving(say) as fake:
        settings = recipe(
            world,
            sources=(
                str(world / "a"),
                endpoint(fake),
            ),
        )
        told = align_build.run(settings, tmp_path / "out")
        num_calls = len(fake.calls)
        align_build.run(settings, tmp_path / "out")
        assert len(fake.calls) == num_calls
    far = told["models"]["far"]
    assert far["answers"] == len(PROMPTS) * SAMPLES
    assert sum(far["failures"].values()) == 4 * SAMPLES
    assert all(number % SAMPLES == 0 for number in far["failures"].values())
    told_of = " ".join(far["failures"])
    for reason in ("429", "empty answer", "0.5 s"):
        assert reason in told_of
    found = rows(tmp_path / "out" / "candidates.jsonl")
    for row in found[:4]:
        lost = [one for one in row["answers"] if one["model"] == "far"]
        assert all(one["score"] is None and one["failure"] for one in lost)
    kept = [one["text"] for one in found[4]["answers"] if one["model"] == "far"]
    assert kept == [f"你好 {PROMPTS[4]} {seed}" for seed in (42, 43, 44)]


def test_prompts_that_nobody_answers_are_left_out_and_named(world, tmp_path, caplog):
    def say(body, before):
        text = body["messages"][-1]["content"]
        return "" if text in PROMPTS[::2] else f"{text} {body['seed']}"

    with serving(say) as fake:
        told = align_build.run(recipe(world, sources=(endpoint(fake),)), tmp_path / "out")
    reason = "prompts without a scored answer of a source"
    assert told["dropped"][reason] == 5
    named = [record.getMessage() for record in caplog.records if reason in record.getMessage()]
    assert f"{world}/prompts.jsonl:1 is left out: {reason}" in named
    assert told["rows"] + sum(told["dropped"].values()) + len(rows(tmp_path / "out/sft.jsonl")) == 9


def test_a_source_that_never_answers_stops_before_sft(world, tmp_path):
    with serving(lambda body, before: "") as fake:
        with pytest.raises(SettingsError, match="requests in a row have failed"):
            align_build.run(recipe(world, sources=(endpoint(fake),)), tmp_path / "out")
    assert not (tmp_path / "out" / "sft").exists()


def test_without_any_answer_there_is_no_sft(world, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.flows.test_align_build.reward", lambda prompt, answers: [])
    dropping = recipe(world, scorer={"callable": REWARD, "on_error": "drop"})
    with pytest.raises(DataError, match=r"no answer for SFT \(3 prompts without a scored answer"):
        align_build.run(dropping, tmp_path / "out")
    assert not (tmp_path / "out" / "sft").exists()


def test_identical_answers_of_the_target_give_no_rows(world, tmp_path):
    greedy = recipe(world, sampling={"max_new_tokens": 6, "top_k": 1})
    told = r"found no triples \(6 prompts to which all answers of the target are one text\)"
    with pytest.raises(DataError, match=told):
        align_build.run(greedy, tmp_path / "out")
    assert rows(tmp_path / "out" / "candidates.jsonl")[0]["answers"]
    assert not (tmp_path / "out" / "triples.jsonl").exists()


def test_a_template_without_a_generation_prompt_is_refused_at_once(world, tmp_path):
    hf = byte_level()
    hf.chat_template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    path = save_model(tmp_path / "odd", hf)
    with pytest.raises(DataError, match="but not when it is asked for a prompt for generation"):
        align_build.run(recipe(world, target=str(path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reference_that_is_none_is_told_before_anything_is_asked(world, tmp_path, monkeypatch):
    rows = [{"prompt": text, "right": "1" if text == "jumps over" else "1 way"} for text in PROMPTS]
    rows[4]["right"] = "many"
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(align_build, "answers", None)
    prompts = {"path": str(tmp_path / "p.jsonl"), "reference": "right"}
    settings = recipe(world, prompts=prompts, scorer={"check": {"kind": "number"}})
    with pytest.raises(DataError, match=r"p\.jsonl:5: found the reference 'many', with no number"):
        align_build.run(settings, tmp_path / "out")


def test_too_few_prompts(world, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": " "}\n')
    settings = recipe(world, prompts=str(tmp_path / "p.jsonl"))
    with pytest.raises(DataError, match=r"1 usable prompts \(1 rows with an empty prompt\), 0 of"):
        align_build.run(settings, tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sources": ()}, "at least 1 item"),
        ({"sources": ("x/a", "y/a")}, r"two models are called \['a'\]"),
        ({"sources": ("x/mine",)}, r"two models are called \['mine'\]"),
        ({"sources": ({"name": "a/b", "path": "x"},)}, "expected one that can name a folder"),
        ({"scorer": {"check": {"kind": "exact"}}}, "name its column as prompts.reference"),
        (
            {"scorer": {"reward_model": "r"}, "prompts": {"path": "p", "reference": "x"}},
            "prompts.reference has no effect on a reward model",
        ),
        ({"samples": 1}, "greater than or equal to 2"),
        ({"sampling": {"temperature": 0.0}}, "temperature 0 makes all samples of a model one"),
        ({"sft": {"max_tokens": 64, "max_prompt_tokens": 64}}, "so that an answer has room"),
    ],
)
def test_settings_that_contradict_each_other(world, changed, told):
    with pytest.raises(ValueError, match=told):
        recipe(world, **changed)


def test_sources_have_names_of_their_own(world):
    far = {"endpoint": {"url": "http://x/v1", "model": "org/Large-2407"}}
    found = recipe(
        world,
        sources=(
            "models/a",
            far,
            {"name": "c", "path": "d"},
        ),
    )
    assert [source.name for source in found.sources] == ["a", "Large-2407", "c"]


def test_a_plan_counts_answers(world):
    price = {"prompt_price": 1.0, "answer_price": 10.0}
    far = {"endpoint": {"url": "http://x/v1", "model": "m"} | price}
    found = align_build.plan(
        recipe(
            world,
            sources=(
                str(world / "a"),
                far,
            ),
        )
    )
    assert (found["prompts"], found["for SFT"]) == (9, 3)
    assert (found["answers of a"], found["answers of m"]) == (27, 27)
    assert found["answers of mine, after SFT"] == 18
    # Per answer: a prompt of its bytes / 4 + 4 tokens at 1, and 6 tokens at 10, in millionths.
    prompts = sum(len(text.encode()) // 4 + 4 for text in PROMPTS)
    assert found["cost of sources"] == f"at most {(3 * prompts + 27 * 60) / 1e6:.2f}"
    assert "unknown" in str(align_build.plan(recipe(world, prompts="org/dataset"))["prompts"])


def test_a_plan_refuses_a_file_without_prompts(world, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="found 0 usable prompts"):
        align_build.plan(recipe(world, prompts=str(tmp_path / "empty.jsonl")))
