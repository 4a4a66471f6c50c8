"""The tagger: any batch, any length, any text."""

import numpy as np
import pytest
import torch

from inarch.errors import DataError, WeightsError
from inarch.spans.coders import PieceCoder
from inarch.spans.offsets import Span
from inarch.spans.tagger import Tagger, speller

from .made_up import TEXTS, made, tokenizer_of

KINDS = ["bert", "albert", "xlnet", "words"]


@pytest.fixture(scope="module", params=KINDS)
def tagger(request) -> Tagger:
    return Tagger(*made(request.param))


def assert_same(found: list[list[Span]], expected: list[list[Span]]) -> None:
    assert [[span[:3] for span in row] for row in found] == [
        [span[:3] for span in row] for row in expected
    ]
    scores = [[span.score for row in rows for span in row] for rows in (found, expected)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_batches_order_and_threads_change_nothing(tagger):
    texts = TEXTS * 3
    expected = [tagger.tag(text) for text in texts]
    assert any(expected)
    for batch_size in (1, 2, 5, 100):
        assert_same(tagger.tag_batch(texts, batch_size), expected)
    backwards = tagger.tag_batch(texts[::-1], 4)[::-1]
    assert_same(backwards, expected)
    torch.set_num_threads(2)
    try:
        assert_same(tagger.tag_batch(texts, 7), expected)
    finally:
        torch.set_num_threads(1)


def test_spans_are_parts_of_the_text(tagger):
    for text, spans in zip(TEXTS, tagger.tag_batch(TEXTS), strict=True):
        end = -1
        for span in spans:
            assert text[span.start : span.end] == span.text == span.text.strip()
            assert span.text
            assert span.start > end
            assert 0 < span.score <= 1
            end = span.end


def test_a_score_is_the_mean_marginal_of_its_tokens(tagger):
    text = TEXTS[0]
    (tokens,) = tagger.coder.encode([text])
    (tagged,) = tagger.mark([tokens])
    for span in tagger.tag(text):
        inside = [
            probability
            for (start, end), toxic, probability in zip(tokens.offsets, *tagged, strict=True)
            if toxic and span.start < end and start < span.end and text[start:end].strip()
        ]
        assert span.score == pytest.approx(np.mean(inside), abs=1e-6)


def test_a_stream_is_lazy_and_keeps_the_order(tagger):
    taken = []

    def texts():
        for i in range(200):
            taken.append(i)
            yield TEXTS[i % len(TEXTS)]

    stream = tagger.tag_stream(texts(), batch_size=2)
    first = next(stream)
    assert len(taken) == 32
    rest = list(stream)
    expected = tagger.tag_batch(TEXTS)
    assert_same([first, *rest], [expected[i % len(TEXTS)] for i in range(200)])


def test_a_threshold_is_monotone(tagger):
    sizes = []
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
        other = Tagger(tagger.model, tagger.coder, decode="posterior", threshold=threshold)
        sizes.append(sum(len(span.text) for row in other.tag_batch(TEXTS) for span in row))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[3] >= 0 == sizes[4]


def test_splitting_changes_nothing_where_the_text_fits(tagger, monkeypatch):
    (tokens,) = tagger.coder.encode([TEXTS[0]])
    (whole,) = tagger.mark([tokens])
    monkeypatch.setattr(tagger.coder, "max_tokens", len(tokens.ids))
    (fits,) = tagger.mark([tokens])
    np.testing.assert_array_equal(fits.toxic_T, whole.toxic_T)
    np.testing.assert_array_equal(fits.probability_T, whole.probability_T)


def test_probabilities_are_means_over_windows(tagger, monkeypatch):
    (tokens,) = tagger.coder.encode([TEXTS[0]])
    num_tokens, size = len(tokens.ids), 6
    monkeypatch.setattr(tagger.coder, "max_tokens", size)
    (found,) = tagger.mark([tokens])
    sums, counts = np.zeros(num_tokens), np.zeros(num_tokens)
    for start in sorted({*range(0, num_tokens - size, 3), num_tokens - size}):
        ids = tokens.ids[start : start + size]
        with torch.no_grad():
            batch = tagger.coder.batch([ids])
            real = tagger.model.emissions(**batch).real_BT[0]
            sums[start : start + size] += tagger.model(**batch).logits[0, real, 1].exp().numpy()
        counts[start : start + size] += 1
    np.testing.assert_allclose(found.probability_T, sums / counts, atol=1e-5)
    assert counts.max() >= 2


@pytest.mark.parametrize("kind", ["bert", "words"])
@pytest.mark.parametrize("decode", ["viterbi", "posterior"])
def test_a_toxic_word_at_every_place_is_found(kind, decode):
    """A model that knows one token finds it wherever windows begin or end."""
    model, coder = made(kind)
    bad, good = "hat", "dog"
    ids = [set(coder.encode([word])[0].ids.tolist()) for word in (f" {bad}", f" {good}")]
    only = (ids[0] - ids[1]).pop()
    knows_one(model, coder, only)
    coder.max_tokens = 8
    tagger = Tagger(model, coder, decode=decode)
    for place in range(40):
        words = [good] * 40
        words[place] = bad
        text = "".join(f" {word}" for word in words)
        spans = tagger.tag(text)
        assert len(spans) == 1
        assert text[spans[0].start : spans[0].end] in bad
        assert spans[0].start >= 4 * place
        assert spans[0].end <= 4 * place + 4


@torch.no_grad()
def knows_one(model, coder, token: int) -> None:
    """Give one token a score that its surroundings do not change."""

    def scores(states, mask_BT, pooled_BH):
        toxic_BT = (model.seen == token).float()
        return torch.stack([torch.zeros_like(toxic_BT), 16 * toxic_BT - 8], -1)

    original = model.emissions

    def emissions(input_ids, attention_mask=None, **inputs):
        if "words_U" in inputs:  # of each place, the form that the coder gave it
            known = torch.from_numpy(coder.vocabulary.table(list(coder._ids)).words_U)
            wanted = known[token]
            model.seen = torch.where(inputs["words_U"][input_ids] == wanted, token, -1)
        else:
            model.seen = input_ids
        return original(input_ids, attention_mask, **inputs)

    model._classified = scores
    model.emissions = emissions
    for weight in model.crf.parameters():
        weight.zero_()


@pytest.mark.parametrize(
    "kind", ["words", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[:-1])]
)
def test_a_very_long_text(kind):
    tagger = Tagger(*made(kind))
    text = "the lazy fool sat\n" * 5_600  # 100,800 characters
    spans = tagger.tag(text)
    assert all(text[span.start : span.end] == span.text for span in spans)
    assert len({span.text for span in spans if 10_000 < span.start < 90_000}) <= 3  # periodic
    assert all(span.end <= 100_000 for span in tagger.tag("x" * 100_000))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\r\n\r\n",
        "\u00a0\u200b\u200d",
        "\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "e\u0301\u0323",
        "\u202eabc\u202c \u05e9\u05dc\u05d5\u05dd",
        "\x00\x01a",
        "\ud83d half a pair",
        "<cls> written <sep> by hand <pad>",
        "\u4f60\u8fd9\u4e2a\u7b28\u86cb",
    ],
)
def test_texts_that_break_taggers(tagger, text):
    spans = tagger.tag(text)
    assert all(text[span.start : span.end] == span.text for span in spans)
    beside = tagger.tag_batch(["a cat", text, "the dog"])[1]
    assert_same([beside], [spans])


def test_specials_that_a_text_spells_are_text_without_tokens():
    _, coder = made("bert")
    (spelt,) = coder.encode(["a<sep>b"])
    (plain,) = coder.encode(["ab"])
    assert spelt.ids.tolist() == plain.ids.tolist()
    assert spelt.offsets == [(0, 1), (6, 7)]


def test_unknown_tokens_are_text():
    hf = tokenizer_of("albert")
    coder = PieceCoder(hf, 32)
    assert hf.unk_token_id is not None
    assert hf.unk_token_id not in coder.special_ids
    assert hf.pad_token_id in coder.special_ids


def test_a_window_needs_room():
    with pytest.raises(DataError, match="found a window of 3 tokens, expected at least 4"):
        PieceCoder(tokenizer_of("bert"), 3)


def test_forms_are_forgotten_and_met_again(monkeypatch):
    model, coder = made("words")
    plain = Tagger(model, coder).tag_batch(TEXTS)
    from inarch.spans import coders

    monkeypatch.setattr(coders, "_MAX_FORMS", 5)
    spelt = coders.WordCoder(coder.vocabulary, speller(model.encoder))
    tagger = Tagger(model, spelt)
    for _ in range(3):
        assert_same([tagger.tag(text) for text in TEXTS], plain)
    assert len(spelt._ids) < 40


def test_no_tagger_in_a_folder(tmp_path):
    with pytest.raises(WeightsError, match="expected a folder that `inarch spans train` wrote"):
        Tagger.from_pretrained(tmp_path)
    model, _ = made("words")
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"words\.json"):
        Tagger.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("config", "told"), [("{", "no JSON"), ("[]", "type None"), ("{}", "type None")]
)
def test_a_config_that_is_no_taggers(tmp_path, config, told):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=rf"config\.json: .*{told}"):
        Tagger.from_pretrained(tmp_path)
