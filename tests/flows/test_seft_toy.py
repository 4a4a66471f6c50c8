"""SEFT on toy tasks, from files to models: the policy gains, and what is good is kept.

Sorting: prompts are four letters, and right is to sort them; the reward is the share of letters at
their place. The policy sorts in a fifth of its answers, and copies or reverses in the others. The
reviser begins as the policy and learns from pairs; then the policy learns in two rounds from
prompts that nobody has answered. Prompts of pairs, rounds and measurement have none in common.

Many valid answers: right is any order of five letters that begins with the smallest. Here a
rewriter that changes every answer is as often right as one that keeps, so that only what stays
unchanged tells them apart.
"""

import itertools
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inarch.align._decode import revised
from inarch.align._reviser import ReviserForm
from inarch.flows import align, seft
from inarch.flows._seft.reviser import reviser_of
from inarch.flows._seft.settings import DecodeSettings
from inarch.flows._seft.write import Writer, write
from inarch.flows.align import AlignRun
from inarch.flows.seft import SeftRun
from inarch.io.models import load_model, new_model
from inarch.io.sampling import SamplingSettings, sample
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Message

pytestmark = pytest.mark.slow

LETTERS = "abcdefgh"
MIXTURE = {"copy": 0.55, "reverse": 0.25, "sort": 0.2}
NAMES = ("K", "m", "M")
FORM = {"labels": {"names": NAMES}, "instruction": ";"}
SHAPE = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
TRAIN = {
    "batch_size": 32,
    "weight_decay": 0.0,
    "warmup_frac": 0.05,
    "schedule": "cosine",
    "save_every_steps": None,
}
BASE = TRAIN | {"max_steps": 600, "lr": 3e-3}
REVISER = TRAIN | {"max_steps": 900, "lr": 3e-3}
POLICY = TRAIN | {"max_steps": 40, "lr": 1e-3}
MEASURED = 300


# ---------------------------------------------------------------------------------------- sorting


@pytest.fixture(scope="module", params=[0, 1, 2])
def sorting(request: pytest.FixtureRequest, tmp_path_factory) -> dict[str, float]:
    """The numbers of one seed."""
    return sorting_experiment(request.param, tmp_path_factory.mktemp(f"sorting-{request.param}"))


def test_the_policy_gains_in_two_rounds(sorting):
    assert sorting["round 2"] >= 0.85
    assert sorting["round 2"] >= sorting["self-SFT 2"] + 0.2


def test_the_reviser_keeps_what_is_right_and_nothing_else(sorting):
    assert sorting["kept of right"] >= 0.95
    assert sorting["kept of wrong"] <= 0.10


def sorting_experiment(seed: int, folder: Path) -> dict[str, float]:
    rng = Random(f"sorting {seed}")
    prompts = ["".join(letters) for letters in itertools.product(LETTERS, repeat=4)]
    rng.shuffle(prompts)
    labelled, asked, fresh = prompts[:1500], prompts[1500 : 1500 + MEASURED], prompts[1800:3000]
    policy = base(folder, seed, labelled, rng)
    rows = []
    for p in labelled:
        answers = [right(p), *wrong(p, rng)]
        rows.append(
            {"prompt": chat(p), "answers": answers, "scores": [reward(p, a) for a in answers]}
        )
    recipe = {
        "policy": str(policy),
        "revisers": {
            "internal": {
                "data": str(write_rows(folder / "labelled.jsonl", rows)),
                "form": FORM,
                "max_tokens": 40,
                "train": REVISER | {"seed": seed},
            }
        },
        "rounds": ("internal", "internal"),
        "prompts": str(write_rows(folder / "prompts.jsonl", ({"prompt": chat(p)} for p in fresh))),
        "sampling": {
            "temperature": 1.0,
            "top_p": 1.0,
            "max_new_tokens": 8,
            "seed": seed,
            "batch_size": 300,
        },
        "decode": {"max_new_tokens": 12, "batch_size": 300},
        "max_tokens": 24,
        "max_prompt_tokens": 8,
        "train": POLICY | {"seed": seed},
        "device": "cpu",
    }
    found = {"base": mean_reward(policy, asked, seed)}
    for name, control in (("round", None), ("self-SFT", "self_sft")):
        out = folder / name
        seft.run(SeftRun(**recipe, control=control), out)
        for number in (1, 2):
            model = out / f"round-{number}" / "train" / "model"
            found[f"{name} {number}"] = mean_reward(model, asked, seed)
    drawn = [texts[0] for texts in answers_of(policy, asked, seed, 1)]
    shown = [*zip(asked, map(right, asked), strict=True), *zip(asked, drawn, strict=True)]
    after = revise(folder / "round" / "revisers" / "internal", shown)
    kept = {True: [], False: []}
    for (p, answer), one in zip(shown, after, strict=True):
        kept[answer == right(p)].append(one.label == 0)
    found["kept of right"], found["kept of wrong"] = (
        statistics.fmean(kept[k]) for k in (True, False)
    )
    found["before the reviser"] = statistics.fmean(reward(p, a) for p, a in shown[MEASURED:])
    found["after the reviser"] = statistics.fmean(
        reward(p, one.text) for (p, _), one in zip(shown[MEASURED:], after[MEASURED:], strict=True)
    )
    return found


def base(folder: Path, seed: int, prompts: list[str], rng: Random) -> Path:
    """Return the policy before the first round."""
    write_tokenizer(folder / "tokenizer")
    rows = []
    for _ in range(BASE["max_steps"] * 32):
        p = rng.choice(prompts)
        (kind,) = rng.choices(list(MIXTURE), list(MIXTURE.values()))
        answer = {"copy": p, "reverse": p[::-1], "sort": right(p)}[kind]
        rows.append({"prompt": chat(p), "completion": answer})
    settings = AlignRun(
        model={"scratch": SHAPE, "tokenizer": str(folder / "tokenizer")},
        data={
            "path": str(write_rows(folder / "base.jsonl", rows)),
            "max_tokens": 24,
            "max_prompt_tokens": 8,
        },
        method={"name": "sft"},
        train=BASE | {"seed": seed},
        device="cpu",
    )
    align.run(settings, folder / "base")
    return folder / "base" / "model"


def right(prompt: str) -> str:
    return "".join(sorted(prompt))


def wrong(prompt: str, rng: Random) -> list[str]:
    """A copy or its reverse, and an order by chance."""
    one = rng.choice([prompt, prompt[::-1]])
    return [one, "".join(rng.sample(prompt, 4))]


def reward(prompt: str, answer: str) -> float:
    """Share of the letters at their place."""
    return statistics.fmean(a == b for a, b in zip(right(prompt), answer.ljust(4), strict=False))


def mean_reward(model: Path, prompts: list[str], seed: int) -> float:
    found = answers_of(model, prompts, seed, 2)
    return statistics.fmean(
        reward(p, answer) for p, texts in zip(prompts, found, strict=True) for answer in texts
    )


# ------------------------------------------------------------------------------ many valid answers


@pytest.fixture(scope="module", params=[0, 1, 2])
def many(request: pytest.FixtureRequest, tmp_path_factory) -> dict[str, dict[str, float]]:
    """The numbers of one seed."""
    return many_experiment(request.param, tmp_path_factory.mktemp(f"many-{request.param}"))


def test_valid_answers_stay_with_keep_alone(many):
    assert many["keep"]["unchanged"] >= 0.95
    assert many["always revise"]["unchanged"] <= 0.30


def test_what_is_revised_is_valid_either_way(many):
    for found in many.values():
        assert found["valid"] >= 0.95
        assert found["valid from wrong"] >= 0.9


def many_experiment(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    rng = Random(f"many {seed}")
    prompts = ["".join(letters) for letters in itertools.permutations(LETTERS, 5)]
    rng.shuffle(prompts)
    labelled, asked = prompts[:3000], prompts[3000:3300]
    write_tokenizer(folder / "tokenizer")
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    new_model(SHAPE, tokenizer.size, seed).save_pretrained(folder / "base")
    tokenizer.hf.save_pretrained(folder / "base")
    rows = (
        {"prompt": chat(p), "answers": [valid(p, rng), invalid(p, rng)], "scores": [1, 0]}
        for p in labelled
    )
    recipe = {
        "policy": str(folder / "base"),
        "revisers": {
            "internal": {
                "data": str(write_rows(folder / "labelled.jsonl", rows)),
                "form": FORM,
                "max_tokens": 40,
                "train": REVISER | {"max_steps": 700, "seed": seed},
            }
        },
        "rounds": ("internal",),
        "prompts": "none.jsonl",
        "device": "cpu",
    }
    good, bad = ([(p, make(p, rng)) for p in asked] for make in (valid, invalid))
    found = {}
    for name, control in (("keep", None), ("always revise", "always_revise")):
        reviser_of(SeftRun(**recipe, control=control), "internal", folder / name)
        after = revise(folder / name / "revisers" / "internal", good + bad)
        texts = [one.text for one in after]
        right = [text in orders(p) for (p, _), text in zip(good + bad, texts, strict=True)]
        same = [text == answer for (_, answer), text in zip(good, texts, strict=False)]
        found[name] = {
            "unchanged": statistics.fmean(same),
            "valid": statistics.fmean(right[: len(good)]),
            "valid from wrong": statistics.fmean(right[len(good) :]),
        }
    return found


def orders(prompt: str) -> set[str]:
    """Return what is right: any order behind the smallest letter."""
    first, *rest = sorted(prompt)
    return {first + "".join(more) for more in itertools.permutations(rest)}


def valid(prompt: str, rng: Random) -> str:
    first, *rest = sorted(prompt)
    return first + "".join(rng.sample(rest, 4))


def invalid(prompt: str, rng: Random) -> str:
    first, *rest = sorted(prompt)
    head, *tail = rng.sample(rest, 4)
    return head + "".join(rng.sample([first, *tail], 4))


# -------------------------------------------------------------------------- the means to this end


def chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def write_rows(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer whose tokens are characters; its chats read ``?dbac=abcd.``."""
    tokens = [".", "#", "?", "=", ";", "\n", *NAMES, *LETTERS]
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="#"))
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
    """Answers at temperature 1, which is how the policy answers."""
    settings = SamplingSettings(
        temperature=1.0, top_p=1.0, max_new_tokens=8, seed=seed, batch_size=300
    )
    chats = [(Message("user", prompt),) for prompt in prompts]
    return sample(load_model(model), load_tokenizer(str(model)), chats, settings, num_samples=num)


def revise(folder: Path, shown: list[tuple[str, str]]):
    """Return what a reviser makes of answers."""
    model = folder / "train" / "model"
    form, decode = ReviserForm(**FORM), DecodeSettings(max_new_tokens=12, batch_size=300)
    writer = Writer(load_model(model), load_tokenizer(str(model)), form, decode)
    chats = [(Message("user", p),) for p, _ in shown]
    texts = write(writer, chats, [answer for _, answer in shown])
    return [revised(a, text, NAMES) for (_, a), text in zip(shown, texts, strict=True)]
