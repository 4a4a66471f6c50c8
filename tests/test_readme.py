"""Every `inarch` command of the README runs as it is written, in a folder with such models."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from inarch.cli.main import app
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
def workplace(tmp_path_factory) -> Path:
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
    for seed, name in enumerate(("chat", "code"), 3):
        save_model(folder / "models" / name, byte_level(), seed=seed)
    for name, recipe in RECIPES.items():
        (folder / name).write_text(recipe)
    return folder


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
