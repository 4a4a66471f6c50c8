"""Judge prompts, read out of files like the official ones, which are not here; never run."""

import hashlib
import json

import pytest

from inarch.errors import DataError
from inarch.evaluate.judges import official
from inarch.evaluate.judges import prompts as judge_prompts
from inarch.evaluate.judges.official import OfficialFile
from inarch.evaluate.judges.prompts import CATEGORIES, SINGLE, JudgePrompt, read_judge_prompts

SOURCE = """
import os
os.remove({victim!r})
FIRST = "Judge \\u00e9.\\n\\n"
SETTINGS = {{"a": 1}}
JUDGE_SETTINGS = {{
    "hard_prompt": {{"baseline": "o", "system_prompt": FIRST}},
    "coding": {{"baseline": "o", "system_prompt": FIRST}},
    "math": {{"baseline": "o", "system_prompt": FIRST}},
    "creative_writing": {{"system_prompt": "Enjoy.", "baseline": "g"}},
    "another": {{"system_prompt": "not asked"}},
}}
"""


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """A function that makes files official, and what is read from them."""
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))

    def publish(benchmark, texts, of):
        files = {}
        for name, text in texts.items():
            path = tmp_path / "cache" / benchmark / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            files[f"{benchmark}/{name}"] = OfficialFile(
                f"{benchmark}/{name}", "", 1, sha(text), ("u",)
            )
        monkeypatch.setattr(official, "_BY_NAME", files)
        digests = {name: tuple(map(sha, prompt)) for name, prompt in of.items()}
        monkeypatch.setattr(judge_prompts, "_DIGESTS", {benchmark: digests})

    return publish


def mt_rows(names=SINGLE):
    return "".join(
        json.dumps(
            {"name": name, "type": "single", "system_prompt": f"s {name}", "prompt_template": "p"}
        )
        + "\n"
        for name in names
    )


def test_prompts_in_source_code_are_read_and_not_run(publish, tmp_path):
    victim = tmp_path / "victim"
    victim.touch()
    user = "<|User|>\n{QUESTION}\n{ANSWER_A}{ANSWER_B}"
    first, last = JudgePrompt("Judge é.\n\n", user), JudgePrompt("Enjoy.", user)
    right = dict.fromkeys(CATEGORIES[:3], first) | {"creative_writing": last}
    texts = {
        "judge_utils.py": SOURCE.format(victim=str(victim)),
        "arena-hard-v2.0.yaml": f"judge_model: j\nprompt_template: {json.dumps(user)}\n",
    }
    publish("arena_hard_v2", texts, right)
    found = read_judge_prompts("arena_hard_v2")
    assert found.of == right
    assert list(found.of) == ["hard_prompt", "coding", "math", "creative_writing"]
    assert found.is_official
    assert victim.exists()


def test_a_text_that_is_read_wrongly_is_refused(publish):
    user = '"{QUESTION}"'
    texts = {
        "judge_utils.py": SOURCE.format(victim="x"),
        "arena-hard-v2.0.yaml": f"prompt_template: {user}\n",
    }
    prompt = JudgePrompt("Judge é.\n\n", "{QUESTION}")
    right = dict.fromkeys(CATEGORIES, prompt)  # the last one is another
    publish("arena_hard_v2", texts, right)
    with pytest.raises(DataError, match="found the official files of arena_hard_v2, but what was"):
        read_judge_prompts("arena_hard_v2")


def test_v01_has_one_prompt_for_all(publish, tmp_path):
    text = 'judge_model: j\nsystem_prompt: "Judge.\\n\\n"\nprompt_template: ["{question_1}"]\n'
    right = {"": JudgePrompt("Judge.\n\n", "{question_1}")}
    publish("arena_hard_v0.1", {"judge_config.yaml": text}, right)
    official = read_judge_prompts("arena_hard_v0.1")
    assert official.of == right
    # another judge in the file is no other prompt
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("judge_model: j", "judge_model: mine"))
    given = read_judge_prompts("arena_hard_v0.1", mine)
    assert given.is_official
    assert given.digest == official.digest
    mine.write_text(text.replace("Judge", "judge"))
    given = read_judge_prompts("arena_hard_v0.1", mine)
    assert not given.is_official
    assert given.digest != official.digest


def test_own_prompts_by_category(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "system_prompt: {math: Count., hard_prompt: Judge.}\nprompt_template: '{QUESTION}'"
    )
    found = read_judge_prompts("arena_hard_v2", path)
    assert found.of == {
        "math": JudgePrompt("Count.", "{QUESTION}"),
        "hard_prompt": JudgePrompt("Judge.", "{QUESTION}"),
    }
    assert not found.is_official
    path.write_text("prompt_template: '{QUESTION}'")
    assert read_judge_prompts("arena_hard_v2", path).of == {"": JudgePrompt("", "{QUESTION}")}


def test_chatml_is_split(publish):
    text = (
        "<|im_start|>system\nYou judge.\n<|im_end|>\n<|im_start|>user\n\nWho?\n{instruction}\n"
        '{"m": "{output_1}"}\n## Best\n<|im_end|>\n'
    )
    user = 'Who?\n{instruction}\n{"m": "{output_1}"}\n## Best'
    publish("alpaca_eval2", {"alpaca_eval_clf.txt": text}, {"": JudgePrompt("You judge.", user)})
    assert read_judge_prompts("alpaca_eval2").of == {"": JudgePrompt("You judge.", user)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Who?", "found the messages none"),
        ("<|im_start|>system\na<|im_end|>", "found the messages system;"),
        ("<|im_start|>user\na<|im_end|> b", "found the messages user;"),
        (
            "<|im_start|>user\na<|im_end|><|im_start|>user\nb<|im_end|>",
            "found the messages user, user",
        ),
        ("<|im_start|>user\na<|im_end|><|im_start|>system\nb<|im_end|>", "messages user, system"),
        ("<|im_start|>user\na", "found the messages none"),
    ],
)
def test_other_chatml_is_refused(tmp_path, text, said):
    path = tmp_path / "p.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=f"p.txt: .*{said}.*expected ChatML"):
        read_judge_prompts("alpaca_eval2", path)
    path.write_text("<|im_start|>user\n a \n<|im_end|>")
    assert read_judge_prompts("alpaca_eval2", path).of == {"": JudgePrompt("", "a")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not YAML"),
        ("- a", "found list; expected system_prompt and prompt_template"),
        ("system_prompt: a", "prompt_template: found None, expected one text"),
        ("prompt_template: [a, b]", "prompt_template: found .'a', 'b'., expected one text"),
        ("prompt_template: a\nsystem_prompt: 3", "system_prompt: found 3, expected a text, or one"),
        ("prompt_template: a\nsystem_prompt: {}", "system_prompt: found {}"),
        ("prompt_template: a\nsystem_prompt: {a: 1}", "system_prompt: found {'a': 1}"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_other_yaml_is_refused(tmp_path, text, said):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"p.yaml: .*{said}"):
        read_judge_prompts("arena_hard_v0.1", path)
    path.write_bytes(b"a\xff")
    with pytest.raises(DataError, match="byte 1 is not UTF-8"):
        read_judge_prompts("arena_hard_v0.1", path)


def test_prompts_of_mt_bench(publish, tmp_path):
    names = ("pair-v2", *SINGLE)
    right = {name: JudgePrompt(f"s {name}", "p") for name in names}
    publish("mt_bench", {"judge_prompts.jsonl": mt_rows(names)}, right)
    found = read_judge_prompts("mt_bench")
    assert found.of == right
    assert found.is_official
    path = tmp_path / "p.jsonl"
    path.write_text(mt_rows())
    assert read_judge_prompts("mt_bench", path).is_official  # some of the official ones
    path.write_text(mt_rows(SINGLE[1:]))
    with pytest.raises(DataError, match=r"found the prompts .*, without single-v1; expected all"):
        read_judge_prompts("mt_bench", path)
    path.write_text(mt_rows().replace('"prompt_template": "p"', '"prompt": "p"', 1))
    with pytest.raises(DataError, match=r"p.jsonl:1: found the columns .* without prompt_template"):
        read_judge_prompts("mt_bench", path)


def test_digests_tell_texts_apart():
    def digest(**of):
        prompts = {name: JudgePrompt(*texts) for name, texts in of.items()}
        return judge_prompts.JudgePrompts("mt_bench", prompts).digest

    ways = [
        digest(a=("b", "c")),
        digest(a=("bc", "")),
        digest(ab=("", "c")),
        digest(a=("b", "")),
        digest(a=("b", "c"), d=("", "")),
    ]
    assert len(set(ways)) == len(ways)
    # printf 'a\0b\0c\0' | sha256sum
    assert ways[0] == "13e228567e8249fce53337f25d7970de3bd68ab2653424c7b8f9fd05e33caedf"
