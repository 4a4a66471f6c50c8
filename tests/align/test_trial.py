"""Which layouts a model is found to compute the same in."""

import logging

import pytest
import torch

from inarch.align import _masks
from inarch.align._layout import PADDED, batch_of
from inarch.align._logps import answer_logps
from inarch.align._trial import layout_for
from inarch.errors import SettingsError
from inarch.io.models import new_model

from .test_layout import KINDS, made, row
from .test_logps import LLAMA, V

SHAPES = [row((0,) * 12, *((0,) * 8,) * 3)]
BLOOM = {"model_type": "bloom", "hidden_size": 16, "n_layer": 2, "n_head": 2}  # ALiBi
MPT = {"model_type": "mpt", "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 128}  # too
LFM2 = LLAMA | {
    "model_type": "lfm2",
    "num_key_value_heads": 2,
    "layer_types": ["conv", "full_attention"],
}


def odd(config: dict):
    model = new_model(config, V, 0)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.mul_(4.0)
    return model


def kinds(model, wish: str = "auto") -> tuple[str, ...]:
    return layout_for(wish, model, SHAPES).kinds


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_is_offered(kind: str):
    model = made(kind)
    assert kinds(model) == ("padded", "packed", "shared")
    assert kinds(model, "shared") == ("shared",)
    assert layout_for("packed", model, SHAPES).hidden == 16


@pytest.mark.parametrize(
    ("config", "reason"),
    [(BLOOM, "does not run so"), (MPT, "other log-probs"), (LFM2, "carries a state along it")],
)
def test_what_cannot_is_refused(config: dict, reason: str, caplog):
    model, wish = odd(config), "shared"
    with pytest.raises(SettingsError, match=f"layout: {wish}, but .*{reason}.*use layout: auto"):
        kinds(model, wish)
    with caplog.at_level(logging.INFO, "inarch"):
        # ALiBi looks at differences of places alone, so that MPT's answers may share a row.
        assert kinds(model) == (("padded", "packed") if config is MPT else ("padded",))
    assert f"answers are not {wish}: {config['model_type']}" in caplog.text
    assert layout_for("padded", model, SHAPES) == PADDED


def test_a_window_that_no_mask_tells_of_is_found_out(monkeypatch):
    seen = _masks.visible
    monkeypatch.setattr(_masks, "visible", lambda batch, window=None: seen(batch))
    assert kinds(made("gemma3")) == ("padded",)
    assert kinds(made("mistral")) == ("padded",)
    assert kinds(made("llama")) == ("padded", "packed", "shared")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_low_precision_passes_and_still_finds_out(kind: str, monkeypatch):
    assert kinds(made(kind).bfloat16()) == ("padded", "packed", "shared")
    monkeypatch.setattr(_masks, "visible", lambda b, w=None: torch.ones(1, 1, 1).tril() > 0)
    assert kinds(made(kind).bfloat16()) == ("padded",)
    assert kinds(odd(LFM2).bfloat16()) == ("padded",)


def test_weights_as_they_are_at_first_show_it_too():
    # All but uniform, so that what is seen hardly matters yet.
    assert kinds(new_model(KINDS["llama"], V, 0)) == ("padded", "packed", "shared")
    assert kinds(new_model(LFM2, V, 0)) == ("padded",)


def test_no_row_is_wider_than_the_trial():
    # MPT has a table of biases for 128 places; 24 answers of 9 to 13 tokens would best share a row.
    model = odd(MPT)
    layout = layout_for("packed", model, SHAPES)
    assert layout.widest == 3 * (12 + 7) + 3 * (1 + 1)  # its own row of 1 and 2 tokens
    rows = [row((1,) * 6, (2,) * (4 + i % 5)) for i in range(24)]
    layout = layout._replace(hidden=2**40)  # so that padding is all that costs
    assert batch_of(rows, layout._replace(widest=None))["input_ids"].shape[1] > 128
    batch = batch_of(rows, layout)
    assert batch["input_ids"].shape[1] <= layout.widest
    found, expected = answer_logps(model, batch), answer_logps(model, batch_of(rows))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # A row that is longer than that is alone.
    assert batch_of([row((1,) * 90, (2,) * 7)] * 2, layout)["input_ids"].shape[0] == 2


def test_the_trial_leaves_random_state_and_weights_alone():
    model = made()
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    kinds(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
