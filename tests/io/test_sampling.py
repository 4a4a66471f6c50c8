"""Sampled answers against exact distributions, and against a plain loop over single prompts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.tiny import PLAIN, byte_level, sentencepiece
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from inarch.errors import DataError
from inarch.io.generation import answer_greedily, read_prompts
from inarch.io.sampling import SamplingSettings, _Draw, sample
from inarch.io.tokenizers import Tokenizer, wrap_tokenizer
from inarch.records import Message

WORDS = ["<pad>", "<end>", "<bot>", "<stop>", *"abcdefgh"]
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)
SIZE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
SIZE |= {"num_attention_heads": 2}
NO_IDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
PROMPTS = ["a", "hgfedcba", "cab", "bb", "hagb", "bad", "face"]


def _letters(template: str = TEMPLATE) -> Tokenizer:
    backend = Backend(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.add_special_tokens(WORDS[:4])
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<end>", chat_template=template
    )
    return wrap_tokenizer(hf, "letters")


@pytest.fixture
def tokenizer() -> Tokenizer:
    return _letters()


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=len(WORDS), initializer_range=0.6, **SIZE, **NO_IDS)
    return LlamaForCausalLM(config).eval()


def _chats(prompts: list[str]) -> list[list[Message]]:
    return [[Message("user", prompt)] for prompt in prompts]


def _probs(model: Any, ids: list[int], settings: SamplingSettings) -> NDArray[np.float64]:
    """What a token is drawn from, in numpy: temperature, the k best, the fewest that hold p."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double().numpy()
    probs = np.exp((logits - logits.max()) / settings.temperature)
    order = np.argsort(-probs)
    if settings.top_k is not None:
        probs[order[settings.top_k :]] = 0
    probs /= probs.sum()
    held_before = np.cumsum(probs[order]) - probs[order]
    probs[order[held_before >= settings.top_p]] = 0
    return probs / probs.sum()


def _stream(seed: int, key: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))


def _one_by_one(
    model: Any, ids: list[int], settings: SamplingSettings, stream: Any, *, limit: int = 10**9
) -> list[int]:
    """Draw one answer, token by token, without a cache or a batch."""
    answer: list[int] = []
    while len(answer) < settings.max_new_tokens and len(ids) + len(answer) < limit:
        probs = _probs(model, ids + answer, settings)
        token = int(np.flatnonzero(np.cumsum(probs) > stream.random() * probs.sum())[0])
        if token == WORDS.index("<end>"):
            break
        answer.append(token)
    return answer


def _spelled(ids: list[int]) -> str:
    return "".join(WORDS[token] for token in ids if token > 3)


def _joined(answers: list[list[str]]) -> list[list[str]]:
    return [[text.replace(" ", "") for text in row] for row in answers]


WAYS = [
    SamplingSettings(temperature=1.3, top_p=1.0),
    SamplingSettings(temperature=1.2, top_p=0.9),
    SamplingSettings(temperature=1.5, top_p=0.9, top_k=4),
]


def test_a_number_picks_the_token_whose_piece_of_the_mass_it_falls_on() -> None:
    # pieces of [0, 1): none, [0, 1/4), [1/4, 1/2), none, [1/2, 1)
    logits_BV = torch.tensor([[0.0, 0.25, 0.25, 0.0, 0.5]]).log()
    for u, token in ((0.0, 1), (0.249, 1), (0.25, 2), (0.499, 2), (0.5, 4), (1 - 2**-53, 4)):
        picked_BV = _Draw(np.array([[u]]))(torch.zeros(1, 1), logits_BV)
        assert picked_BV.argmax().item() == token
        assert torch.isneginf(picked_BV).sum() == 4


@pytest.mark.parametrize("way", WAYS)
def test_two_tokens_come_as_often_as_the_model_says(
    model: LlamaForCausalLM, tokenizer: Tokenizer, way: SamplingSettings
) -> None:
    settings = way.model_copy(update={"max_new_tokens": 2, "batch_size": 500})
    ids = [WORDS.index("c"), WORDS.index("<bot>")]
    expected: Counter[str] = Counter()
    first = _probs(model, ids, settings)
    for a in np.flatnonzero(first):
        second = _probs(model, [*ids, int(a)], settings)
        for b in range(len(WORDS)):
            ends = a == WORDS.index("<end>")
            text = "" if ends else _spelled([int(a), b])
            expected[text] += float(first[a] * second[b])
    num_chats, num_samples = 200, 20
    answers = _joined(sample(model, tokenizer, _chats(["c"] * num_chats), settings, num_samples=20))
    counts = Counter(text for row in answers for text in row)
    assert set(counts) <= {text for text, p in expected.items() if p}
    num = num_chats * num_samples
    common = [text for text, p in expected.items() if p * num >= 5]
    pairs = [(counts[text], expected[text] * num) for text in common]
    rest = num - sum(want for _, want in pairs)
    if rest >= 5:
        pairs.append((num - sum(got for got, _ in pairs), rest))
    chi_square = sum((got - want) ** 2 / want for got, want in pairs)
    freedom = len(pairs) - 1
    assert freedom > 5
    # A chi-square has mean f and variance 2 f; numbers that repeat would multiply it.
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("way", WAYS)
def test_batches_give_what_a_loop_over_single_prompts_gives(
    model: LlamaForCausalLM, tokenizer: Tokenizer, way: SamplingSettings
) -> None:
    settings = way.model_copy(update={"max_new_tokens": 9, "batch_size": 4})
    keys = [7, 2**63 + 1, 0, 3, 11, 5, 2]
    answers = sample(model.train(), tokenizer, _chats(PROMPTS), settings, num_samples=3, keys=keys)
    assert model.training
    model.eval()
    expected = []
    for prompt, key in zip(PROMPTS, keys, strict=True):
        ids = [WORDS.index(c) for c in prompt] + [WORDS.index("<bot>")]
        row = [_one_by_one(model, ids, settings, _stream(42 + j, key)) for j in range(3)]
        expected.append([_spelled(answer) for answer in row])
    assert _joined(answers) == expected
    lengths = {len(text) for row in expected for text in row}
    assert len(lengths) > 2  # some end early: the end token works


def test_an_answer_depends_on_its_own_chat_key_and_seed_alone(
    model: LlamaForCausalLM, tokenizer: Tokenizer
) -> None:
    settings = SamplingSettings(temperature=1.5, max_new_tokens=8, batch_size=64)

    def draw(numbers: list[int], num_samples: int = 2, **changes: Any) -> dict[int, list[str]]:
        chats = _chats([PROMPTS[i] for i in numbers])
        own = settings.model_copy(update=changes)
        found = sample(model, tokenizer, chats, own, num_samples=num_samples, keys=numbers)
        return dict(zip(numbers, found, strict=True))

    whole = draw(list(range(7)))
    assert len({text for row in whole.values() for text in row}) > 10
    assert draw(list(range(7))) == whole
    assert draw([6, 2, 4, 0, 1, 5, 3], batch_size=1) == whole
    assert draw([6, 2, 4], batch_size=5) == {i: whole[i] for i in (6, 2, 4)}
    longer = draw(list(range(7)), max_new_tokens=12)
    assert all(b.startswith(a) for i in whole for a, b in zip(whole[i], longer[i], strict=True))
    # The seeds of the samples follow each other, so a sample can be had alone.
    more = draw(list(range(7)), num_samples=4)
    assert {i: row[:2] for i, row in more.items()} == whole
    assert draw([5], num_samples=1, seed=45)[5] == more[5][3:]
    other = sample(model, tokenizer, _chats(PROMPTS), settings, num_samples=2, keys=range(50, 57))
    assert other != list(whole.values())


def test_the_global_random_state_is_neither_read_nor_moved(
    model: LlamaForCausalLM, tokenizer: Tokenizer
) -> None:
    def draw(seed: int) -> tuple[list[list[str]], bool]:
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found = sample(model, tokenizer, _chats(PROMPTS), SamplingSettings(max_new_tokens=6))
        return found, torch.equal(before, torch.get_rng_state())

    assert draw(1) == draw(2)
    assert draw(1)[1]


def test_temperature_0_is_greedy(model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    greedy = answer_greedily(model, tokenizer, _chats(PROMPTS), max_new_tokens=7)
    settings = SamplingSettings(temperature=0.0, max_new_tokens=7)
    found = sample(model, tokenizer, _chats(PROMPTS), settings, num_samples=2)
    assert found == [[text, text] for text in greedy]
    with pytest.raises(ValueError, match="top_k"):
        SamplingSettings(temperature=0.0, top_k=5)


def test_end_tokens_of_the_models_own_settings_end_an_answer_too(
    model: LlamaForCausalLM, tokenizer: Tokenizer
) -> None:
    settings = SamplingSettings(temperature=3.0, top_p=1.0, max_new_tokens=40)
    stop, letter = WORDS.index("<stop>"), WORDS.index("b")
    one_end = sample(model, tokenizer, _chats(PROMPTS), settings)
    # "b" is no special token of this tokenizer: such an id is left over from another one.
    model.generation_config = GenerationConfig(eos_token_id=[stop, letter])
    two_ends = sample(model, tokenizer, _chats(PROMPTS), settings)
    assert sum(len(row[0]) for row in two_ends) < sum(len(row[0]) for row in one_end)
    assert any("b" in row[0][:-1] for row in two_ends)
    pairs = zip(one_end, two_ends, strict=True)
    assert all(long[0].startswith(short[0]) for long, short in pairs)


def _gpt2() -> GPT2LMHeadModel:
    """Its positions are a table, so a row that goes past them is an index error."""
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=12, n_embd=16, n_layer=1, n_head=2, **NO_IDS
    )
    config.initializer_range = 0.5
    return GPT2LMHeadModel(config).eval()


def test_a_row_ends_with_the_models_last_position(tokenizer: Tokenizer) -> None:
    model = _gpt2()
    settings = SamplingSettings(temperature=2.0, max_new_tokens=9, top_p=1.0)
    prompts = ["abcdefgha", "a", "abcd", "abcdefgh", "bcdefgha", "ab", "abcdefghab"]
    found = _joined(sample(model, tokenizer, _chats(prompts), settings))
    for i, prompt in enumerate(prompts):
        ids = [WORDS.index(c) for c in prompt] + [WORDS.index("<bot>")]
        alone = _one_by_one(model, ids, settings, _stream(42, i), limit=12)
        assert found[i] == [_spelled(alone)]


def test_a_prompt_without_room_is_named(tokenizer: Tokenizer) -> None:
    model = _gpt2()
    chats = _chats(["ab", "abcdefghabc", "abcdefghabcdef"])  # with <bot>, 3, 12 and 15 tokens
    read = read_prompts(model, tokenizer, chats)
    assert [isinstance(prompt, str) for prompt in read] == [False, True, True]
    with pytest.raises(DataError, match=r"chat 1 .* 12 positions"):
        sample(model, tokenizer, chats, SamplingSettings())
    assert len(sample(model, tokenizer, chats[:1], SamplingSettings(max_new_tokens=99))) == 1


SILENT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
STRICT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    + TEMPLATE
)


def test_a_template_that_does_not_open_an_answer_is_refused(model: LlamaForCausalLM) -> None:
    with pytest.raises(DataError, match=r"'<\|assistant\|>'.*add_generation_prompt"):
        sample(model, _letters(SILENT), _chats(["a"]), SamplingSettings())
    # Where an answer has no header there is nothing to open.
    assert sample(model, _letters(PLAIN), _chats(["a"]), SamplingSettings(max_new_tokens=2))


def test_a_chat_that_the_template_refuses_is_named(model: LlamaForCausalLM) -> None:
    chats = [*_chats(["a"]), [Message("system", "be"), Message("user", "a")]]
    with pytest.raises(DataError, match=r"chat 1 .*no system turns"):
        sample(model, _letters(STRICT), chats, SamplingSettings())
    with pytest.raises(DataError, match=r"chat 0 .*surrogate"):
        sample(model, _letters(), _chats(["a\ud83d"]), SamplingSettings())


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_prompts_of_any_script_are_read_whole(make: Callable[[], Any]) -> None:
    hf = make()
    tokenizer = wrap_tokenizer(hf, "tiny")
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=len(hf), initializer_range=0.4, **SIZE, **NO_IDS)
    model = LlamaForCausalLM(config).eval()
    texts = ["你好，世界 😀", "🇩🇪 e\u0301 — ", "plain", " \n\t"]
    settings = SamplingSettings(max_new_tokens=12, temperature=1.2, batch_size=2)
    found = sample(model, tokenizer, _chats(texts), settings)
    for i, text in enumerate(texts):
        chat = [{"role": "user", "content": text}]
        rendered = hf.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = hf(rendered, add_special_tokens=False)["input_ids"]
        assert hf.decode(ids).count("你好") == text.count("你好")
        stream, answer = _stream(42, i), []
        for _ in range(12):
            probs = _probs(model, ids + answer, settings)
            token = int(np.flatnonzero(np.cumsum(probs) > stream.random() * probs.sum())[0])
            if token in (tokenizer.roles["eos"], tokenizer.roles["eot"]):
                break
            answer.append(token)
        written = hf.decode(answer, skip_special_tokens=True)
        # The template of the second writes a space in front of every content.
        assert found[i] == [written.removeprefix("" if make is byte_level else " ")]


def test_an_end_token_that_is_not_marked_special_is_no_part_of_an_answer() -> None:
    hf = byte_level()
    hf.add_tokens(["<|fin|>"])  # an added token, but not a special one
    hf.chat_template = hf.chat_template.replace("<|end|>", "<|fin|>")
    hf.clean_up_tokenization_spaces = True  # would turn " ." into "." and " 'm" into "'m"
    tokenizer = wrap_tokenizer(hf, "tiny")
    spoken = [*hf.encode("x ."), hf.convert_tokens_to_ids("<|fin|>")]
    assert tokenizer.roles["eot"] == spoken[-1]
    assert tokenizer.roles["eot"] not in tokenizer.special_ids
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(hf), **SIZE, **NO_IDS)).eval()
    steps = iter(spoken)

    def speak(module: Any, args: Any, logits_BTV: torch.Tensor) -> torch.Tensor:
        forced = torch.zeros_like(logits_BTV)
        forced[..., next(steps)] = 1e9
        return forced

    model.lm_head.register_forward_hook(speak)
    for way in (SamplingSettings(max_new_tokens=6), SamplingSettings(temperature=0.0)):
        steps = iter(spoken)
        assert sample(model, tokenizer, _chats(["a"]), way) == [["x ."]]


def test_streams_of_seeds_and_keys_do_not_meet() -> None:
    starts = {_stream(seed, key).random() for seed, key in product(range(40), range(40))}
    assert len(starts) == 1600
