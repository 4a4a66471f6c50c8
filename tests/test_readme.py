"""Every `inarch` command of the README runs as it is written, in a folder with such models."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from inarch.cli.main import app
from tests.io.fake_endpoint import serving
from tests.tiny import TEXT, byte_level, save_model, sentencepiece

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.startswith("inarch ")
]

RECIPES = {
    block.split("\n")[0].removeprefix("# "): block
    for language, block in BLOCKS
    if language == "yaml"
}


@pytest.fixture(scope="module")
def judge_url() -> Iterator[str]:
    """A server like the one that the README speaks of; its judge always takes the first answer."""
    with serving(lambda body, before: "The first.\n[[A>B]]") as fake:
        yield fake.url


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, judge_url: str) -> Path:
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    save_model(folder / "models/mine", byte_level(), seed=0)
    save_model(folder / "models/llama", byte_level(300), seed=1)
    save_model(folder / "models/neox", sentencepiece(), kind="gpt_neox", seed=2)
    chats = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]}
        for text in TEXT
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    user, answers = {"role": "user", "content": "q"}, [*TEXT, *TEXT]
    triples = [
        {
            "prompt": [user],
            "chosen": [{"role": "assistant", "content": text} for text in answers[i : i + 2]],
            "rejected": [{"role": "assistant", "content": answers[i + 2]}],
        }
        for i in range(len(TEXT))
    ]
    (folder / "triples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triples))
    pairs = [row | {"chosen": row["chosen"][:1]} for row in triples]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    prompts = [{"prompt": f"{i}: {text}"} for i, text in enumerate(TEXT * 2)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "rewards.py").write_text(
        "def score(prompt, answers):\n    return [a.count(' ') + len(a) / 1e3 for a in answers]\n"
    )
    (folder / "notes.txt").write_text("\n".join(TEXT))
    questions = [{"q": text, "options": ["cat", "dog"], "label": 0} for text in TEXT]
    (folder / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    write_posts(folder)
    write_judgments(folder)
    for seed, name in enumerate(("chat", "code"), 3):
        save_model(folder / "models" / name, byte_level(), seed=seed)
    for name, recipe in RECIPES.items():
        (folder / name).write_text(recipe.replace("http://localhost:8000/v1", judge_url))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    return folder


def write_posts(folder: Path) -> None:
    """Posts with toxic spans, as the official files have them, and predictions for some."""
    posts = [f"you {word} {i}" for i in range(8) for word in ("fool", "friend")]
    offsets = ["[4, 5, 6, 7]" if "fool" in post else "[]" for post in posts]
    rows = [f'"{spans}",{post}\n' for post, spans in zip(posts, offsets, strict=True)]
    for name, some in (("train", rows[:10]), ("trial", rows[10:13]), ("test", rows[13:])):
        (folder / f"tsd_{name}.csv").write_text("spans,text\n" + "".join(some))
    (folder / "spans-pred.txt").write_text("0\t[]\n1\t[4, 5]\n2\t[]\n")
    (folder / "posts.txt").write_text("\n".join(posts))


def write_judgments(folder: Path) -> None:
    """What judges wrote, as the published benchmarks keep it."""
    annotations = [
        {
            "instruction": f"ask {i}",
            "output_1": "b" * (9 + i),
            "output_2": "m" * (20 - i),
            "generator_1": "gpt4_1106_preview",
            "generator_2": "mine",
            "preference": 1.1 + 0.08 * i,
        }
        for i in range(10)
    ]
    (folder / "annotations.json").write_text(json.dumps(annotations))
    header = "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"
    gamed = [f"{0.1 + 0.04 * i},{i % 10},{i / 10 - 1},{i % 10 / 3},False,v\n" for i in range(20)]
    (folder / "df_gamed.csv").write_text(header + "".join(gamed))
    battles = [
        {"question_id": str(i), "model_a": "gpt-4-0314", "model_b": "mine", "winner": winner}
        for i in range(6)
        for winner in ("model_a", "model_b" if i % 2 else "tie")
    ]
    (folder / "battles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in battles))
    (folder / "judgments.csv").write_text(
        "question_id,category,model,turn,score,judge\n"
        + "".join(f"{i},writing,mine,{1 + i % 2},{5 + i % 4},gpt-4\n" for i in range(8))
    )


def test_the_readme_has_commands():
    assert {command[0] for command in COMMANDS} >= {"fuse", "match", "report", "merge", "diff"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(workplace: Path, monkeypatch, command: list[str]):
    monkeypatch.chdir(workplace)
    shown = CliRunner().invoke(app, command, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"^make ([\w-]+)", README, re.MULTILINE):
        assert target in targets


def test_the_recipe_says_what_the_text_says():
    assert yaml.safe_load(RECIPES["recipe.yaml"])["fuse"] == {"lambda": 0.5}
