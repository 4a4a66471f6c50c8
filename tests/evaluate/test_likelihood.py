"""Windows by hand and by definition, likelihood by arithmetic, invariance, what is refused."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

from inarch.align._layout import Sequences
from inarch.errors import DataError, SettingsError, WeightsError
from inarch.evaluate.lm import _sums, _windows
from inarch.evaluate.lm._sums import summed_logps
from inarch.evaluate.lm._texts import digest_tokens, encode, read_texts
from inarch.evaluate.lm._windows import Window
from inarch.evaluate.lm.likelihood import LikelihoodSettings, score_texts


def model_of(num_ids, positions=64):
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=num_ids,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
            initializer_range=0.3,
        )
    ).eval()


@pytest.fixture(scope="module")
def pair():
    hf = tiny.byte_level()
    return model_of(len(hf)), hf


def texts_of(tmp_path, *rows):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts(path)[0]


def dense(model, ids, scored):
    """Nats of some tokens of a row that is read alone."""
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(logps[t - 1, ids[t]].item() for t in scored)


# --------------------------------------------------------------------------------------- windows


def test_windows_by_hand():
    # 10 tokens behind one in front, 4 at a time; the last window reads two of them again
    assert _windows.rolling(10, 4, 4) == [Window(0, 4, 4), Window(4, 8, 4), Window(6, 10, 2)]
    assert _windows.rolling(7, 4, 2) == [Window(0, 4, 4), Window(2, 6, 2), Window(3, 7, 1)]
    assert _windows.rolling(3, 4, 4) == [Window(0, 3, 3)]
    # tokens 0-5, 2-7, 4-9 are read; 1-5, then 6-7, then 8-9 are scored
    assert _windows.strided(10, 6, 2) == [Window(0, 5, 5), Window(2, 7, 2), Window(4, 9, 2)]
    # 0-3 and 4-7: nothing tells of 0 and 4
    assert _windows.strided(8, 4, 4) == [Window(0, 3, 3), Window(4, 7, 3)]
    assert _windows.chunks(11, 4) == [Window(0, 3, 3), Window(4, 7, 3)]
    assert _windows.chunks(3, 4) == _windows.strided(1, 4, 2) == _windows.rolling(0, 4, 4) == []


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 12))
def test_every_token_is_scored_once(num_tokens, window, stride):
    stride = min(stride, window)

    def scored(windows):
        return [t for w in windows for t in range(w.end - w.num + 1, w.end + 1)]

    rolled = _windows.rolling(num_tokens, window, stride)
    assert scored(rolled) == list(range(1, num_tokens + 1))
    assert all(0 <= w.begin < w.end and w.end - w.begin <= window for w in rolled)
    # all but a short text are read as far back as the window goes
    assert all(w.end - w.begin == min(window, num_tokens) for w in rolled)
    if stride < window:
        moved = _windows.strided(num_tokens, window, stride)
        assert scored(moved) == list(range(1, num_tokens))
        assert all(w.begin == stride * k for k, w in enumerate(moved))


# ------------------------------------------------------------------------------------ likelihood


def test_a_uniform_model_by_arithmetic(tmp_path):
    hf = tiny.byte_level()
    model = model_of(512)
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = texts_of(
        tmp_path, {"text": "é  x", "original": "é \n x y z"}, {"text": "中"}, {"text": ""}
    )
    assert len(texts) == 2
    found = score_texts(model, hf, texts, LikelihoodSettings(window=4)).numbers()
    # 512 ids are 9 bits per token; bytes é ␣ \n ␣ x ␣ y ␣ z = 10 and 3; words é x y z = 4 and 1
    tokens = sum(len(hf(text)["input_ids"]) for text in ("é  x", "中"))
    assert (found["n_tokens"], found["n_bytes"], found["n_words"]) == (tokens, 13, 5)
    assert found["bits_per_byte"] == pytest.approx(9 * tokens / 13, rel=1e-6)
    assert found["byte_perplexity"] == pytest.approx(2 ** (9 * tokens / 13), rel=1e-6)
    assert found["word_perplexity"] == pytest.approx(2 ** (9 * tokens / 5), rel=1e-6)
    assert found["token_perplexity"] == pytest.approx(512, rel=1e-6)


@pytest.mark.parametrize("stride", ["chunked", 5])
def test_windows_are_what_the_model_reads(pair, tmp_path, stride):
    model, hf = pair
    (text,) = texts_of(tmp_path, {"text": "A cat sat on the mat, and 中文 was 🙂. " * 3})
    ids = [hf.bos_token_id, *hf(text.text)["input_ids"]]
    step = 16 if stride == "chunked" else stride
    nats = sum(
        dense(
            model, ids[w.begin : w.end + 1], range(w.end - w.begin + 1 - w.num, w.end - w.begin + 1)
        )
        for w in _windows.rolling(len(ids) - 1, 16, step)
    )
    settings = LikelihoodSettings(window=16, stride=stride)
    assert score_texts(model, hf, [text], settings).total("nats") == pytest.approx(nats, rel=1e-6)


def test_joined_texts_are_what_papers_and_guides_do(pair, tmp_path):
    model, hf = pair
    texts = texts_of(tmp_path, *({"text": line} for line in tiny.TEXT[:4]))
    ids = hf("\n\n".join(tiny.TEXT[:4]))["input_ids"]
    # GPTQ's loop: mean loss of each chunk, the rest dropped
    chunks = [ids[i : i + 24] for i in range(0, len(ids) // 24 * 24, 24)]
    with torch.no_grad():
        losses = [model(torch.tensor([c]), labels=torch.tensor([c])).loss.item() for c in chunks]
    settings = LikelihoodSettings(window=24, joined=True)
    found = score_texts(model, hf, texts, settings)
    assert found.numbers()["token_perplexity"] == pytest.approx(
        math.exp(sum(losses) / len(losses)), rel=1e-5
    )
    assert found.numbers()["bits_per_byte"] is None
    assert found.first_token == "not counted in any window"
    # the guide's loop: new tokens of each window, the others masked
    nats, begin, done = 0.0, 0, 0
    while done < len(ids):
        end = min(begin + 24, len(ids))
        labels = torch.tensor([ids[begin:end]])
        labels[:, : done - begin] = -100
        with torch.no_grad():
            loss = model(torch.tensor([ids[begin:end]]), labels=labels).loss.item()
        nats += loss * (labels[:, 1:] != -100).sum().item()
        begin, done = begin + 8, end
    strided = score_texts(model, hf, texts, settings.model_copy(update={"stride": 8}))
    assert strided.total("nats") == pytest.approx(nats, rel=1e-5)
    assert strided.numbers()["n_tokens"] == len(ids) - 1


def test_a_begin_token_may_be_read_once(pair, tmp_path):
    from tokenizers.processors import TemplateProcessing

    model, hf = pair[0], tiny.byte_level()
    hf.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", hf.bos_token_id)]
    )
    (text,) = texts_of(tmp_path, {"text": "the lazy dog"})
    bos, ids = hf.bos_token_id, hf(text.text, add_special_tokens=False)["input_ids"]
    once = score_texts(model, hf, [text], LikelihoodSettings(window=32, bos="once"))
    twice = score_texts(model, hf, [text], LikelihoodSettings(window=32))
    row = [bos, *ids]
    assert once.total("nats") == pytest.approx(dense(model, row, range(1, len(row))), rel=1e-6)
    row = [bos, bos, *ids]
    assert twice.total("nats") == pytest.approx(dense(model, row, range(1, len(row))), rel=1e-6)
    assert twice.total("num_tokens") == once.total("num_tokens") + 1
    assert [len(ids) for ids in encode(hf, ["<bos>a", "a"])] == [2, 2]


# ---------------------------------------------------------------------------------------- batches


def rows_of(seed, number, num_choices):
    """Rows of one prompt and a few continuations."""
    random = np.random.default_rng(seed)

    def ids(least, most):
        return random.integers(0, 100, random.integers(least, most)).astype(np.int32)

    rows = []
    for _ in range(number):
        prompt, count = ids(1, 20), random.integers(1, num_choices + 1)
        rows.append(Sequences((prompt,) * count, tuple(ids(1, 6) for _ in range(count))))
    return rows


@pytest.mark.parametrize("trial_rows", [0, 10**9])
def test_no_number_depends_on_the_batch(monkeypatch, trial_rows):
    monkeypatch.setattr(_sums, "TRIAL_ROWS", trial_rows)  # shared prompts, or never
    monkeypatch.setattr(_sums, "CHUNK_LOGITS", 700)
    monkeypatch.setattr(_sums, "CHUNK_ROWS", 1)
    model, rows = model_of(100), rows_of(1, 25, 4)
    alone = [
        [
            -dense(model, [*p, *a], range(len(p), len(p) + len(a)))
            for p, a in zip(row.prompts, row.answers, strict=True)
        ]
        for row in rows
    ]
    for batch_tokens in (1, 90, 5000):
        ticks = []
        found = summed_logps(model, rows, batch_tokens, ticks.append)
        assert sum(ticks) == len(rows)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_model_that_cannot_share_prompts_scores_the_same(monkeypatch):
    monkeypatch.setattr(_sums, "TRIAL_ROWS", 0)
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=2, initializer_range=0.3)
    model = BloomForCausalLM(config).eval()  # counts places in the row, not positions
    ids = np.arange(60, dtype=np.int32)
    row = Sequences((ids[:9],) * 3, (ids[20:25], ids[30:33], ids[40:46]))
    (found,) = summed_logps(model, [row], 1000)
    alone = [-dense(model, [*ids[:9], *a], range(9, 9 + len(a))) for a in row.answers]
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_a_killed_run_goes_on_with_the_same_numbers(monkeypatch, tmp_path):
    model, rows, journal = model_of(100), rows_of(3, 20, 3), tmp_path / "j.jsonl"
    whole = summed_logps(model, rows, 90)
    own, calls = _sums._score, []

    def dying(model, rows, layout, last=4):
        if len(calls) == last:
            raise KeyboardInterrupt
        calls.append(len(rows))
        return own(model, rows, layout)

    monkeypatch.setattr(_sums, "_score", dying)
    with pytest.raises(KeyboardInterrupt):
        summed_logps(model, rows, 90, journal=journal)
    with journal.open("a") as file:
        file.write('{"rows": [0')  # a line that was cut
    monkeypatch.setattr(_sums, "_score", lambda *args: dying(*args, last=99))
    ticks = []
    again = summed_logps(model, rows, 90, ticks.append, journal)
    assert sum(ticks) == sum(calls) == len(rows)
    assert all(np.array_equal(one, other) for one, other in zip(again, whole, strict=True))
    monkeypatch.setattr(_sums, "_score", None)
    kept = summed_logps(model, rows, 200, journal=journal)  # in other batches, nothing to do
    assert all(np.array_equal(one, other) for one, other in zip(kept, whole, strict=True))


def test_a_model_that_gives_no_number_is_named(tmp_path):
    model, journal = model_of(100), tmp_path / "j.jsonl"
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(WeightsError, match=r"found NaN .*torch.float32 is too narrow"):
        summed_logps(model, rows_of(3, 2, 1), 90, journal=journal)
    assert not journal.exists()


def test_batches_are_of_like_lengths():
    rows = [
        Sequences((np.zeros(n, np.int32),), (np.zeros(1, np.int32),)) for n in (64, 7, 56, 55, 8)
    ]
    # 56 is 7/8 of 64 and 7 of 8; 55 is less, and 2 * 56 > 111
    found = list(_sums._batches(rows, _sums.PADDED, 1000))
    assert found == [[0, 2], [3], [4, 1]]
    assert list(_sums._batches(rows, _sums.PADDED, 111)) == [[0], [2], [3], [4, 1]]


# ------------------------------------------------------------------------------------- bad input


def test_files(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("all of it\n\nis one text")
    assert [text.text for text in read_texts(path)[0]] == ["all of it\n\nis one text"]
    path.write_text("")
    with pytest.raises(DataError, match=r"found no text .*1"):
        read_texts(path)
    with pytest.raises(DataError, match=r"found no file .*absent"):
        read_texts(tmp_path / "absent.jsonl")
    rows = tmp_path / "r.jsonl"
    rows.write_text('{"text": "a"}\n{"text": ""}\n{"text": "\\ud800"}\n')
    texts, skipped = read_texts(rows)
    assert [text.text for text in texts] == ["a"]
    assert skipped == {"empty texts": 1, "texts with half of a surrogate pair": 1}
    for bad, said in (
        ('{"txt": "a"}', "r.jsonl:1: found {'txt': 'a'}"),
        ('{"text": "a", "original": 1}', "original: found 1"),
        ('{"text": "a"', "not a JSON object"),
        ("[1]", "found list"),
    ):
        rows.write_text(bad + "\n")
        with pytest.raises(DataError, match=said):
            read_texts(rows)
    with pytest.raises(DataError, match="nameless"):
        read_texts(_bare(tmp_path))


def _bare(tmp_path):
    path = tmp_path / "bare"
    path.write_text("x")
    return path


def test_what_is_refused(pair, tmp_path):
    model, hf = pair
    texts = texts_of(tmp_path, {"text": "a"})
    with pytest.raises(SettingsError, match="--stride 9 and --window 8"):
        score_texts(model, hf, texts, LikelihoodSettings(window=8, stride=9))
    with pytest.raises(SettingsError, match="no effect on joined"):
        score_texts(model, hf, texts, LikelihoodSettings(window=8, bos="once", joined=True))
    with pytest.raises(DataError, match="1 tokens, which is not one window of 8"):
        score_texts(model, hf, texts, LikelihoodSettings(window=8, joined=True))
    # a text of one token, from the begin token
    assert score_texts(model, hf, texts, LikelihoodSettings(window=8)).numbers()["n_tokens"] == 1
    bare = tiny.byte_level()
    bare.bos_token = bare.eos_token = None
    with pytest.raises(DataError, match="neither a begin nor an end token"):
        score_texts(model, bare, texts, LikelihoodSettings(window=8))


def test_other_tokens_have_another_digest():
    hf, other = tiny.byte_level(), tiny.sentencepiece()
    rows = encode(hf, ["the cat", "sat"])
    assert digest_tokens(hf, rows) == digest_tokens(tiny.byte_level(), rows)
    assert digest_tokens(hf, rows) != digest_tokens(other, encode(other, ["the cat", "sat"]))
    assert digest_tokens(hf, rows) != digest_tokens(hf, [np.concatenate(rows), rows[0][:0]])
    assert digest_tokens(hf, rows) != digest_tokens(hf, rows[::-1])
    # the same numbers, which are other tokens
    renamed = SimpleNamespace(convert_ids_to_tokens=str)
    assert digest_tokens(hf, rows) != digest_tokens(renamed, rows)
