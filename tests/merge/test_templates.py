"""Chat templates known by name, beside what mergekit renders; and the most common one."""

import json

import pytest
from tests import tiny
from transformers import AutoTokenizer

from inarch.errors import SettingsError, WeightsError
from inarch.merge._templates import TEMPLATES, choose_template, read_template

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]


@pytest.fixture(scope="module")
def hf():
    return tiny.byte_level()


def render(hf, template: str, chat=CHAT, **options: bool) -> str:
    hf.chat_template = template
    return hf.apply_chat_template(chat, tokenize=False, **options)


EXPECTED = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama3": "<bos><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<bos> [INST] Be brief.\n\nHi [/INST] Hello!<eos> [INST] Bye [/INST]",
    "exaone": "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n"
    "[|assistant|]Hello![|endofturn|]\n[|user|]Bye\n[|assistant|]",
    "alpaca": "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n"
    "### Instruction:\nBye\n\n### Response:\n",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_by_name(hf, name):
    template = choose_template(name, [])
    assert render(hf, template, add_generation_prompt=True) == EXPECTED[name]
    prompt = {
        "chatml": "<|im_start|>assistant\n",
        "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "exaone": "[|assistant|]",
        "alpaca": "### Response:\n",
        "mistral": "",
    }[name]
    assert render(hf, template) == EXPECTED[name].removesuffix(prompt)


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_parity_with_mergekit(hf, name):
    templates = pytest.importorskip("mergekit._data.chat_templates")
    from importlib.resources import files

    theirs = (files(templates) / f"{name}.jinja").read_text()
    for chat in (CHAT, CHAT[1:], CHAT[1:3]):
        for prompt in (True, False):
            ours = render(hf, TEMPLATES[name], chat, add_generation_prompt=prompt)
            assert ours == render(hf, theirs, chat, add_generation_prompt=prompt)


def test_exaone_begins_with_an_empty_system_message(hf):
    made = render(hf, TEMPLATES["exaone"], CHAT[1:2], add_generation_prompt=True)
    assert made == "[|system|][|endofturn|]\n[|user|]Hi\n[|assistant|]"


def test_auto_takes_the_most_common_one_and_of_equals_the_first(tmp_path):
    folders = []
    for number, template in enumerate(["{{ 'b' }}", "{{ 'a' }}", None, "{{ 'a' }}", "{{ 'b' }}"]):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        if template:
            (folders[-1] / "chat_template.jinja").write_text(template)
    assert choose_template("auto", folders) == "{{ 'b' }}"
    assert choose_template("auto", folders[1:4]) == "{{ 'a' }}"
    assert choose_template("auto", folders[2:3]) is None


def test_templates_of_older_files(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "{{ 1 }}"}))
    assert read_template(tmp_path) == "{{ 1 }}"
    named = [
        {"template": "n"},
        {"name": "tool_use", "template": "t"},
        {"name": "default", "template": "d"},
    ]
    config.write_text(json.dumps({"chat_template": named}))
    assert read_template(tmp_path) == "d"
    (tmp_path / "chat_template.jinja").write_text("{{ 2 }}")
    assert read_template(tmp_path) == "{{ 2 }}"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match=r"chat_template\.jinja is not UTF-8"):
        read_template(tmp_path)


def test_a_template_that_is_spelled_out(hf, tmp_path):
    text = "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}é{% endfor %}"
    assert choose_template(text, []) == text
    hf.chat_template = text
    hf.save_pretrained(tmp_path)
    assert (
        AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(CHAT, tokenize=False) == "éééé"
    )


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("vicuna", "found 'vicuna', expected auto, one of alpaca, chatml"),
        ("chatLM", "did you mean chatml"),
        ("{% for x in y %}", "this is no Jinja template: line 1"),
        ("", "found ''"),
    ],
)
def test_what_is_no_template(wish, words):
    with pytest.raises(SettingsError, match=words):
        choose_template(wish, [])
