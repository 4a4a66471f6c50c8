"""WRPO on a toy task, from files to models: what it learns from the sources, and how alpha acts.

Prompts are four letters, and right is to sort them; the reward is the share of letters at their
place. The model that learns does so in a fifth of its answers, and copies or reverses in the
others. Three sources put each letter right with probabilities of their own. What is not said in
the plan of this experiment, how the base is taught, was chosen on seeds 10 to 12.

The best of fifteen answers of the sources is nearly always right, so as many steps of SFT on it get
as far as WRPO does, or 1 to 3 points further. What WRPO beats is SFT as its released first stage
does it, which learns the prompts, too.
"""

import json
import statistics
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inarch.flows import align
from inarch.flows.align import AlignRun
from inarch.io.models import load_model
from inarch.io.sampling import SamplingSettings, sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message

pytestmark = pytest.mark.slow

LETTERS = "abcdef"
MIXTURE = {"copy": 0.55, "reverse": 0.25, "sort": 0.2}
SOURCES = (0.8, 0.6, 0.1)
"""Probability of each source that a letter of its answer is right."""
NUM_SAMPLES = 5
NUM_PROMPTS = 900
NUM_HELD_OUT = 300
"""Prompts that every model answers four times."""
BETA = 0.1
BATCH = 32
SHAPE = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
ALPHAS = {
    "dpo": {"alpha": 0.0, "ramp": False},
    "ramp to .1": {"alpha": 0.1, "ramp": True},
    "ramp to .5": {"alpha": 0.5, "ramp": True},
    "constant .5": {"alpha": 0.5, "ramp": False},
    "source alone": {"alpha": 1.0, "ramp": False},
}


@pytest.fixture(scope="module", params=[0, 1, 2])
def found(request: pytest.FixtureRequest, tmp_path_factory) -> dict[str, dict[str, float]]:
    """The results of one seed."""
    return experiment(request.param, tmp_path_factory.mktemp(f"toy-{request.param}"))


def test_wrpo_beats_where_it_began(found):
    assert found["reward"]["ramp to .5"] >= found["reward"]["sft"] + 0.10


def test_wrpo_beats_as_many_steps_of_sft_as_it_was_released(found):
    assert found["reward"]["ramp to .5"] >= found["reward"]["whole texts"] + 0.03


def test_the_answer_of_the_source_rises_with_alpha(found):
    rises = [found["log_ratio"][name] for name in ALPHAS]
    assert all(low < high for low, high in pairwise(rises)), rises


# ------------------------------------------------------------------------------- the experiment


def experiment(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Train the base, Target-SFT, more SFT and all alphas; return rewards and log-ratios.

    The log-ratio is that of the source's answer where the target has another one, in nats.
    """
    rng = Random(f"toy {seed}")
    write_tokenizer(folder / "tokenizer")
    prompts = ["".join(rng.choices(LETTERS, k=4)) for _ in range(NUM_PROMPTS)]
    asked = ["".join(rng.choices(LETTERS, k=4)) for _ in range(NUM_HELD_OUT)]
    first, rest = prompts[: NUM_PROMPTS // 3], prompts[NUM_PROMPTS // 3 :]
    base = run(folder, "base", None, mixture(rng), seed, BASE)
    source = {p: best(p, answers_of_sources(p, rng)) for p in prompts}
    sft = run(folder, "sft", base, completions(first, source), seed, SFT | {"max_steps": 12})
    drawn = answers_of(sft, rest, seed, NUM_SAMPLES)
    rows = [
        {"prompt": chat(p), "source": source[p], "target": best(p, own), "rejected": worst(p, own)}
        for p, own in zip(rest, drawn, strict=True)
        if reward(p, best(p, own)) > reward(p, worst(p, own))
    ]
    told = write(folder / "apart.jsonl", (r for r in rows if r["source"] != r["target"]))
    num_steps = 2 * len(rows) // BATCH
    more = {"max_steps": num_steps}
    made = {
        "base": base,
        "sft": sft,
        "more sft": run(folder, "more sft", sft, completions(rest, source), seed, SFT | more),
        "whole texts": run(folder, "whole texts", sft, texts(rest, source), seed, SFT | more),
    }
    log_ratio = {}
    for name, own in ALPHAS.items():
        method = {"name": "wrpo", "beta": BETA, **own}
        made[name] = run(folder, name, sft, rows, seed, WRPO | more, method=method, held_out=told)
        after = json.loads((folder / name / "manifest.json").read_text())["facts"]
        log_ratio[name] = after["held_out_after"]["rewards/source_chosen"] / BETA
    rewards = {
        name: statistics.fmean(
            reward(p, answer)
            for p, answers in zip(asked, answers_of(model, asked, seed, 4), strict=True)
            for answer in answers
        )
        for name, model in made.items()
    }
    return {"reward": rewards, "log_ratio": log_ratio}


def reward(prompt: str, answer: str) -> float:
    """Share of the letters at their place."""
    return statistics.fmean(a == b for a, b in zip(sorted(prompt), answer.ljust(4), strict=False))


def best(prompt: str, answers: list[str]) -> str:
    return max(answers, key=lambda answer: reward(prompt, answer))


def worst(prompt: str, answers: list[str]) -> str:
    return min(answers, key=lambda answer: reward(prompt, answer))


def answers_of_sources(prompt: str, rng: Random) -> list[str]:
    right = sorted(prompt)
    return [
        "".join(letter if rng.random() < share else rng.choice(LETTERS) for letter in right)
        for share in SOURCES
        for _ in range(NUM_SAMPLES)
    ]


def mixture(rng: Random) -> Iterator[dict]:
    """What the base is taught."""
    for _ in range(12_800):
        prompt = "".join(rng.choices(LETTERS, k=4))
        (kind,) = rng.choices(list(MIXTURE), list(MIXTURE.values()))
        answer = {"copy": prompt, "reverse": prompt[::-1], "sort": "".join(sorted(prompt))}[kind]
        yield {"prompt": chat(prompt), "completion": answer}


def completions(prompts: Iterable[str], answers: dict[str, str]) -> Iterator[dict]:
    return ({"prompt": chat(p), "completion": answers[p]} for p in prompts)


def texts(prompts: Iterable[str], answers: dict[str, str]) -> Iterator[dict]:
    """Rows of which the prompt is learnt, too, but for the character that opens it."""
    return ({"prompt": "?", "completion": f"{p}={answers[p]}"} for p in prompts)


def chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


# ------------------------------------------------------------------------ the means to this end

TRAIN = {
    "batch_size": BATCH,
    "weight_decay": 0.0,
    "warmup_frac": 0.0,
    "schedule": "constant",
    "save_every_steps": None,
}
BASE = TRAIN | {"max_steps": 800, "lr": 3e-3}
SFT = TRAIN | {"lr": 1e-4}
WRPO = TRAIN | {"lr": 1e-4}


def run(folder: Path, name: str, model: Path | None, rows, seed: int, train, **sections) -> Path:
    """Train on rows by ``inarch align``'s flow, and return the model's folder."""
    tokenizer = str(folder / "tokenizer")
    data = {"path": str(write(folder / f"{name}.jsonl", rows))} | LENGTHS
    if "held_out" in sections:
        sections["held_out"] = {"path": str(sections["held_out"])} | LENGTHS
    new = {"scratch": SHAPE, "tokenizer": tokenizer}
    settings = {"method": {"name": "sft"}} | sections
    settings |= {"model": str(model) if model else new, "data": data, "device": "cpu"}
    align.run(AlignRun(**settings, train=train | {"seed": seed}), folder / name)
    return folder / name / "model"


LENGTHS = {"max_tokens": 16, "max_prompt_tokens": 8}


def write(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer whose tokens are characters; its chats read ``?dbac=abcd.``."""
    vocabulary = {token: i for i, token in enumerate([".", "#", "?", "=", *LETTERS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="#"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens([".", "#"])
    hf = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=".", pad_token="#", unk_token="#")
    hf.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}?{{ m.content }}"
        "{% else %}={{ m.content }}.{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}={% endif %}"
    )
    hf.save_pretrained(folder)


def answers_of(model: Path, prompts: list[str], seed: int, num: int) -> list[list[str]]:
    """Answers at temperature .8."""
    settings = SamplingSettings(temperature=0.8, top_p=1.0, max_new_tokens=6, seed=seed)
    chats = [(Message("user", prompt),) for prompt in prompts]
    return sample(load_model(model), load_tokenizer(str(model)), chats, settings, num_samples=num)
