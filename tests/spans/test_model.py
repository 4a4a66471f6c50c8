"""The tagger of tokens: real tokens only, padding of either side, saving, the stock pipeline."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, pipeline
from transformers.utils import logging

from inarch.errors import SettingsError, WeightsError
from inarch.spans.encoder import WordEncoder, WordEncoderSettings
from inarch.spans.losses import token_loss
from inarch.spans.model import SpanConfig, SpanModel
from inarch.spans.tagger import Tagger, load_coder, load_span_model

from .made_up import AUXES, KINDS, TEXTS, made
from .test_crf import all_paths

logging.disable_progress_bar()


def text_logits(model, coder, rows) -> list[torch.Tensor]:
    """Log-marginals of the tokens of rows, without those around them."""
    with torch.no_grad():
        batch = coder.batch(rows)
        found = model.emissions(**batch)
        logits = model(**batch).logits
    return [
        part[real][: len(row)] for part, real, row in zip(logits, found.real_BT, rows, strict=True)
    ]


@pytest.mark.parametrize("aux", AUXES)
@pytest.mark.parametrize("kind", [*KINDS, "words"])
def test_padding_on_either_side_changes_nothing(kind, aux):
    model, coder = made(kind, aux)
    rows = [tokens.ids for tokens in coder.encode(TEXTS) if len(tokens.ids)]
    together = text_logits(model, coder, rows)
    for row, found in zip(rows, together, strict=True):
        (alone,) = text_logits(model, coder, [row])
        torch.testing.assert_close(found, alone, atol=2e-5, rtol=0)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(row)))


@pytest.mark.parametrize("kind", ["bert", "xlnet", "words"])
def test_logits_are_the_marginals_of_all_paths_over_the_text(kind):
    model, coder = made(kind)
    row = coder.encode(["the lazy dog"])[0].ids[:8]
    (found,) = text_logits(model, coder, [row])
    with torch.no_grad():
        emissions = model.emissions(**coder.batch([row])).scores_BTK[0, : len(row)].double()
    paths = all_paths(model.crf, emissions)
    log_z = np.logaddexp.reduce(list(paths.values()))
    for t in range(len(row)):
        toxic = sum(np.exp(value - log_z) for path, value in paths.items() if path[t] == 1)
        assert found[t, 1].exp().item() == pytest.approx(toxic, abs=1e-5)


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_special_tokens_and_padding_are_outside(kind):
    model, coder = made(kind)
    rows = [tokens.ids for tokens in coder.encode(["The quick brown fox", "cat"])]
    batch = coder.batch(rows)
    with torch.no_grad():
        logits = model(**batch).logits
    special = torch.isin(batch["input_ids"], torch.tensor(coder.special_ids))
    assert special.sum() > 4
    assert (logits[special][:, 0] == 0).all()
    assert (logits[special][:, 1] < -1000).all()
    assert (~special).sum() == sum(map(len, rows))


@pytest.mark.parametrize("head", ["crf", "softmax"])
@pytest.mark.parametrize("loss", ["crf", "ce", "dice", "focal"])
@pytest.mark.parametrize("kind", ["bert", "xlnet", "words"])
def test_the_loss_is_that_of_the_real_tokens(kind, loss, head):
    model, coder = made(kind, head=head)
    model.config.loss = loss
    encoded = [tokens for tokens in coder.encode(TEXTS) if len(tokens.ids)]
    rows = [tokens.ids for tokens in encoded]
    tags = [np.arange(len(row)) % 3 == 0 for row in rows]
    tags = [row.astype(np.int64) for row in tags]
    batch = coder.batch(rows, tags)
    if loss == "crf" and head == "softmax":
        with pytest.raises(SettingsError, match="expected head: crf"):
            model(**batch)
        return
    found = model(**batch, only_loss=True)
    assert found.logits is None
    num_tokens = sum(map(len, rows))
    if loss == "crf":
        with torch.no_grad():
            alone = [model(**coder.batch([r], [t])).loss * len(r) for r, t in zip(rows, tags)]  # noqa: B905
        expected = sum(alone) / num_tokens
    else:
        logits = torch.cat(text_logits(model, coder, rows))
        expected = token_loss(loss, logits, torch.from_numpy(np.concatenate(tags))) / num_tokens
    torch.testing.assert_close(found.loss, expected, atol=1e-5, rtol=1e-5)
    found.loss.backward()
    assert all(w.grad is not None for n, w in model.named_parameters() if "mask_emb" not in n)


@pytest.mark.parametrize("aux", ["none", "att", "last4"])
@pytest.mark.parametrize("kind", [*KINDS, "words"])
def test_saved_and_loaded_is_the_same(kind, aux, tmp_path):
    model, coder = made(kind, aux)
    model.save_pretrained(tmp_path)
    coder.save(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = load_span_model(tmp_path)
    assert not loaded.training
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    again = Tagger(loaded, load_coder(tmp_path, loaded)).tag_batch(TEXTS)
    assert again == Tagger(model, coder).tag_batch(TEXTS)
    assert type(AutoModelForTokenClassification.from_pretrained(tmp_path)) is SpanModel


@pytest.mark.parametrize("aux", ["none", "att"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stock_pipeline_finds_the_same_characters(kind, aux, tmp_path):
    model, coder = made(kind, aux)
    model.save_pretrained(tmp_path)
    coder.save(tmp_path)
    tagger = Tagger.from_pretrained(tmp_path, decode="posterior")
    stock = pipeline("token-classification", model=str(tmp_path), aggregation_strategy="simple")
    seen = set()
    for text in TEXTS:
        if not text.strip():
            continue
        (tokens,) = tagger.coder.encode([text])
        (tagged,) = tagger.mark([tokens])
        if np.abs(tagged.probability_T - 0.5).min() < 1e-5:
            continue  # a tie, which the last bit decides
        theirs = {
            i
            for group in stock(text)
            if group["entity_group"] == "TOXIC"
            for i in range(group["start"], group["end"])
        }
        ours = {i for span in tagger.tag(text) for i in range(span.start, span.end)}
        visible = {i for i in range(len(text)) if not text[i].isspace()}
        assert ours & visible == theirs & visible
        seen |= {bool(ours), ours == visible}
    assert True in seen


def test_four_layers_of_fewer_are_refused():
    config = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 16}
    config |= {"num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
    with pytest.raises(SettingsError, match="found aux last4 with 3 states"):
        SpanModel(SpanConfig(encoder=config, aux="last4"))


def test_no_pooler_is_kept_that_nobody_asks():
    assert made("bert")[0].encoder.pooler is None
    model, _ = made("bert", "cls")
    assert model.encoder.pooler is not None
    assert model.pool is None
    assert made("xlnet", "cls")[0].pool.last


def test_weights_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(WeightsError, match=r"found no config\.json"):
        load_span_model(tmp_path)
    model, _ = made("words")
    model.save_pretrained(tmp_path)
    state = {name: w.clone() for name, w in model.state_dict().items() if "start" not in name}
    from safetensors.torch import save_file

    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"such as crf\.start_K"):
        load_span_model(tmp_path)


def test_the_built_in_encoder_reads_both_ways():
    """Against torch's bidirectional LSTM on each row alone, two layers deep."""
    model, coder = made("words")
    rows = [tokens.ids for tokens in coder.encode(TEXTS) if len(tokens.ids)]
    batch = coder.batch(rows)
    encoder = model.encoder
    lengths = batch.pop("attention_mask").sum(1)
    forms = batch.pop("input_ids")
    with torch.no_grad():
        states = encoder(forms, lengths, **batch)
        spelling = torch.cat([encoder.spelling(batch["chars_UC"]), batch["flags_UF"]], 1)
        for row, length in enumerate(lengths.tolist()):
            own = forms[row, :length]
            hidden = torch.cat([encoder.words(batch["words_U"][own]), spelling[own]], 1)
            for state, layer in zip(states, encoder.layers, strict=True):
                both = torch.nn.LSTM(hidden.shape[1], 8, bidirectional=True)
                for name, weight in both.named_parameters():
                    of = layer[1] if name.endswith("_reverse") else layer[0]
                    weight.data = getattr(of, name.removesuffix("_reverse"))
                hidden, _ = both(hidden)
                torch.testing.assert_close(state[row, :length], hidden, atol=1e-5, rtol=1e-4)


def test_the_built_in_encoder_learns_with_unknown_words():
    settings = WordEncoderSettings(word_dropout=1.0, dropout=0.0, hidden=4, word_dim=4)
    torch.manual_seed(0)
    encoder = WordEncoder(settings, 10, 10, has_input_state=False)
    inputs = {
        "lengths_B": torch.tensor([2]),
        "flags_UF": torch.zeros(3, 7),
        "chars_UC": torch.tensor([[0, 0, 0], [2, 0, 0], [2, 0, 0]]),
    }
    forms, words = torch.tensor([[1, 2]]), torch.tensor([0, 4, 5])
    encoder.train()
    known = encoder(forms, words_U=words, **inputs)[-1]
    unknown = encoder.eval()(forms, words_U=torch.tensor([0, 1, 1]), **inputs)[-1]
    torch.testing.assert_close(known, unknown)
    assert not torch.allclose(encoder(forms, words_U=words, **inputs)[-1], unknown)
