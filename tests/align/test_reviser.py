"""A reviser's chat, its lessons, and the labels as it would write them."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch.align._labels import LabelSettings
from inarch.align._ranked import Ranked
from inarch.align._reviser import (
    ReviserForm,
    as_answers,
    opening_logps,
    openings,
    reviser_chat,
    reviser_lessons,
)
from inarch.align._rows import Dropped, PreferenceSettings, answer_rows
from inarch.errors import SettingsError
from inarch.io.generation import read_prompts
from inarch.io.tokenizers import load_tokenizer, wrap_tokenizer
from inarch.records import Message
from inarch.settings import validate
from tests.align.test_logps import token_by_token
from tests.tiny import byte_level, save_model, sentencepiece

GAPS = LabelSettings(scale="gap", thresholds=(0.0, 1.0), keep_frac=0.4)
FORM = ReviserForm(labels=GAPS)
NAMES = FORM.labels.names
TURNS = (
    Message("system", "Be brief."),
    Message("user", "你好 👋"),
    Message("assistant", "Hi {labels}"),
    Message("user", "Why?"),
)
TOKENIZERS = {"bytes": byte_level, "sentencepiece": sentencepiece}


def test_a_chat_of_several_turns_goes_on():
    form = FORM.model_copy(update={"instruction": "Say {labels}!"})
    *before, answer, asked = reviser_chat(TURNS, "So {labels}.", form)
    assert tuple(before) == TURNS
    assert answer == ("assistant", "So {labels}.")  # what people wrote is no template
    assert asked == ("user", "Say [No Revise], [Minor Revise], [Major Revise]!")


def test_an_instruction_says_something():
    with pytest.raises(SettingsError, match="instruction: found an empty text"):
        validate(ReviserForm, {"instruction": " \n"}, "here")


def ranked(num: int) -> list[Ranked]:
    """Prompts with a good answer, one that is nearly as good, and a bad one."""
    scores = (3.0, 2.5, 0.0)
    return [
        Ranked(f"row {i}", (Message("user", f"p{i}"),), (f"a{i}", f"b{i}", f"c{i}"), scores)
        for i in range(num)
    ]


def test_lessons_by_hand():
    made = reviser_lessons(ranked(3), FORM, torch.Generator().manual_seed(0))
    # Six to revise and a share of .4 want four to keep; there are three best answers.
    assert made.counts == (3, 3, 3)
    lessons = list(as_answers(made.rows, FORM))
    (instruction,) = {row["prompt"][-1]["content"] for row in lessons}
    assert all(name in instruction for name in NAMES)
    by_text = {row["prompt"][1]["content"]: row["completion"] for row in lessons}
    for i in range(3):
        assert by_text[f"a{i}"] == f"[No Revise]\na{i}"
        assert by_text[f"b{i}"] == f"[Minor Revise]\na{i}"
        assert by_text[f"c{i}"] == f"[Major Revise]\na{i}"
    assert [turn["role"] for turn in lessons[0]["prompt"]] == ["user", "assistant", "user"]


def test_a_plain_rewriter_learns_nothing_to_keep():
    generator = torch.Generator().manual_seed(0)
    made = reviser_lessons(ranked(3), FORM, generator, keeps=False)
    assert made.counts == (0, 3, 3)
    assert {row.label for row in made.rows} == {1, 2}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_label_is_learnt_and_the_answer_that_is_read_is_not(kind: str, tmp_path):
    import json

    tokenizer = wrap_tokenizer(TOKENIZERS[kind](), kind)
    chat = reviser_chat(TURNS, "an answer 🙂", FORM)
    row = {"prompt": [t._asdict() for t in chat], "completion": f"{NAMES[1]}\n更好的 answer"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    settings = PreferenceSettings(path=str(path), max_tokens=2048)
    (made,) = answer_rows(settings, "answers", tokenizer, Dropped())
    learnt = tokenizer.hf.decode(made.answers[0], skip_special_tokens=True)
    assert learnt.strip() == row["completion"]
    assert "an answer" in tokenizer.hf.decode(made.prompt)
    ends = [tokenizer.roles[n] for n in ("eot", "eos") if n in tokenizer.roles]
    assert np.isin(made.answers[0], ends).sum() == 1


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_openings_are_how_lessons_begin(kind: str):
    tokenizer = wrap_tokenizer(TOKENIZERS[kind](), kind)
    chat = reviser_chat(TURNS, "an answer", FORM)
    found = openings(chat, NAMES, tokenizer)
    prompt = tokenizer.hf.apply_chat_template(
        [t._asdict() for t in chat], add_generation_prompt=True
    )["input_ids"]
    for name, one in zip(NAMES, found, strict=True):
        told = [*(t._asdict() for t in chat), {"role": "assistant", "content": f"{name}\nwhatever"}]
        whole = tokenizer.hf.apply_chat_template(told)["input_ids"]
        lesson = whole[len(prompt) :]
        assert one.ids.tolist() == lesson[: len(one.ids)]
        assert one.text.rstrip("\n") == name
        assert tokenizer.hf.decode(one.ids).strip() == name


def test_a_token_may_hold_the_label_s_end_and_the_line_break():
    """As many tokenizers have one for a bracket before a line break."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<u>", "<a>", "<e>", *"KMx]\nq", "]\n"]
    made = Tokenizer(models.BPE({t: i for i, t in enumerate(letters)}, [("]", "\n")]))
    made.pre_tokenizer = pre_tokenizers.Split("<", "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<u>", "<a>", "<e>"])
    hf = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<e>")
    hf.chat_template = (
        "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    )
    tokenizer = wrap_tokenizer(hf, "merged")
    found = openings((Message("user", "q"),), ("K]", "M]"), tokenizer)
    assert [one.ids.tolist() for one in found] == [[3, 9], [4, 9]]
    assert [one.text for one in found] == ["K]\n", "M]\n"]


def test_a_chat_that_the_template_refuses_has_no_openings():
    hf = byte_level()
    hf.chat_template = "{{ raise_exception('roles must alternate') }}"
    assert openings((Message("user", "q"),), NAMES, wrap_tokenizer(hf, "strict")) is None


def test_log_probs_of_labels_against_one_token_at_a_time(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path, byte_level()))
    for weight in model.parameters():
        weight.data.mul_(4.0)
    tokenizer = load_tokenizer(str(tmp_path))
    chats = [reviser_chat((Message("user", t),), t * 2, FORM) for t in ("a", "longer text", "你")]
    prompts = read_prompts(model, tokenizer, chats)
    opened = [openings(chat, NAMES, tokenizer) for chat in chats]
    found_BL = opening_logps(model, prompts, opened)
    assert found_BL.shape == (3, 3)
    for b, prompt in enumerate(prompts):
        for index, one in enumerate(opened[b]):
            expected = token_by_token(model, np.array(prompt), np.array(one.ids))
            assert math.isclose(found_BL[b, index], expected, rel_tol=1e-5)
