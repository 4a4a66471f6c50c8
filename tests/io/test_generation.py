"""Greedy answers in batches against a plain loop over single prompts."""

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inarch.errors import DataError
from inarch.io import generation, sampling
from inarch.io.generation import Completion, answer_greedily
from inarch.io.tokenizers import Tokenizer, wrap_tokenizer
from inarch.records import Message

WORDS = ["<pad>", "<end>", "<bot>", *"abcdefghijklmn"]
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)


def _tokenizer(template: str | None = TEMPLATE) -> Tokenizer:
    backend = Backend(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.add_special_tokens(WORDS[:3])
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<end>", chat_template=template
    )
    return wrap_tokenizer(hf, "letters")


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.6,
    )
    return LlamaForCausalLM(config).train()


def _chats(prompts: list[str]) -> list[list[Message]]:
    return [[Message("user", prompt)] for prompt in prompts]


PROMPTS = ["a", "hgfedcba", "cab", "nn", "mlkjih", "bad", "face"]


def _one_by_one(model: LlamaForCausalLM, prompt: str, num_tokens: int) -> str:
    ids = [WORDS.index(c) for c in prompt] + [2]
    answer = []
    with torch.no_grad():
        for _ in range(num_tokens):
            token = int(model(torch.tensor([ids + answer])).logits[0, -1].argmax())
            if token == 1:
                break
            answer.append(token)
    return "".join(WORDS[token] for token in answer if token > 2)


def _joined(answers: list[str]) -> list[str]:
    return [answer.replace(" ", "") for answer in answers]


def test_batches_give_what_single_prompts_give(model: LlamaForCausalLM) -> None:
    answers = answer_greedily(model, _tokenizer(), _chats(PROMPTS), max_new_tokens=12, batch_size=3)
    assert model.training
    expected = [_one_by_one(model, prompt, 12) for prompt in PROMPTS]
    assert len({len(answer) for answer in expected}) > 1  # some end early: the end token works
    assert _joined(answers) == expected


def test_a_models_own_generation_settings_change_nothing(model: LlamaForCausalLM) -> None:
    plain = answer_greedily(model, _tokenizer(), _chats(PROMPTS), max_new_tokens=9)
    model.generation_config.update(
        do_sample=True, temperature=5.0, num_beams=3, repetition_penalty=3.0, no_repeat_ngram_size=1
    )
    assert answer_greedily(model, _tokenizer(), _chats(PROMPTS), max_new_tokens=9) == plain


def test_a_tokenizer_without_a_chat_template_is_refused(model: LlamaForCausalLM) -> None:
    with pytest.raises(DataError, match="chat template"):
        answer_greedily(model, _tokenizer(None), _chats(["a"]), max_new_tokens=2)


def test_white_space_of_the_template_is_not_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = TEMPLATE.replace("{{ m['content'] }}", "<bot> {{ m['content'] }}")
    written = [" a b", "  c", "d"]
    for module in (generation, sampling):
        monkeypatch.setattr(
            module, "complete", lambda *args: [Completion(text, False) for text in written]
        )
        monkeypatch.setattr(module, "read_prompts", lambda *args: [[2]] * 3)
    one = sampling.SamplingSettings(max_new_tokens=1)
    for template, expected in ((spaced, ["a b", " c", "d"]), (TEMPLATE, written)):
        hf = _tokenizer(template)
        chats = _chats(["a", "b", "c"])
        assert answer_greedily(None, hf, chats, max_new_tokens=1) == expected
        assert sampling.sample(None, hf, chats, one) == [[text] for text in expected]
