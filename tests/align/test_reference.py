"""Reference log-probs: three ways to one set of numbers, none of which moves."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from inarch.align import _reference as module
from inarch.align._examples import collator
from inarch.align._logps import answer_logps
from inarch.align._reference import Products, adapter_off, frozen, reference_logps
from inarch.errors import DataError, SettingsError, WeightsError
from tests.align.test_logps import made, token_by_token
from tests.align.test_objective import data_of, moved, rows_of

KEY = ({"max_tokens": 64}, {"weights": "a", "data": "d"})


def batch_of_rows(rows):
    return collator("rows")([*data_of(rows)])


def with_adapter(model, dropout: float = 0.0):
    config = LoraConfig(
        r=2, target_modules="all-linear", lora_dropout=dropout, task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # zero at the start
            torch.nn.init.normal_(weight)
    return adapted


def test_a_copy_stays_where_it_was():
    start, batch = made(), batch_of_rows(rows_of())
    reference = frozen(copy.deepcopy(start), Products())
    policy = moved(start)
    torch.testing.assert_close(
        reference(policy, batch), answer_logps(start, batch).detach(), rtol=0, atol=0
    )
    assert not reference(policy, batch).requires_grad


def test_the_policy_as_its_own_reference_is_refused():
    policy, batch = made(), batch_of_rows(rows_of())
    with pytest.raises(WeightsError, match="shares weights with its reference"):
        frozen(policy, Products())(policy, batch)
    tied = copy.copy(policy)
    with pytest.raises(WeightsError, match="shares weights with its reference"):
        frozen(tied, Products())(policy, batch)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # the second has dropout of its own
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_adapter_switched_off_is_the_model_below(wrapped: bool, kind: str):
    start, batch = made(kind), batch_of_rows(rows_of())
    expected = answer_logps(start, batch).detach()
    policy = with_adapter(copy.deepcopy(start), dropout=0.5).train()
    outer = torch.nn.Module()
    outer.module = policy
    found = adapter_off()(outer if wrapped else policy, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not found.requires_grad
    # It is on again, and so is dropout.
    assert all(part.training for part in policy.modules())
    assert (answer_logps(policy.eval(), batch) - expected).abs().max() > 1


def test_a_model_without_an_adapter_is_refused():
    with pytest.raises(WeightsError, match="found no adapter on the model in training"):
        adapter_off()(made(), batch_of_rows(rows_of()))


def test_products_are_those_of_training():
    start, batch = made(), batch_of_rows(rows_of())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = answer_logps(start, batch)
    found = frozen(copy.deepcopy(start), Products(torch.bfloat16))(moved(start), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    exact = frozen(copy.deepcopy(start), Products())(moved(start), batch)
    assert (found - exact).abs().max() > 1e-3


# ------------------------------------------------------------------------------------- the cache


def test_stored_numbers_are_those_of_each_row(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "_SHARD_ROWS", 4)
    monkeypatch.setattr(module, "_BATCH_TOKENS", 100)
    model, rows = made(), rows_of(10)
    found = reference_logps(tmp_path, KEY, data_of(rows), model, Products())
    expected = [[token_by_token(model, row.prompt, a) for a in row.answers] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-5)
    assert sorted(p.name for p in tmp_path.glob("*.arrow")) == [
        f"shard-0000{i}.arrow" for i in range(3)
    ]
    again = reference_logps(tmp_path, KEY, data_of(rows), None, Products())
    np.testing.assert_array_equal(again, found)  # and no model was needed


def test_what_was_killed_goes_on(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "_SHARD_ROWS", 4)
    model, rows = made(), rows_of(10)
    unbroken = reference_logps(tmp_path / "a", KEY, data_of(rows), model, Products())
    write, written = module._write, []

    def dying(path, logps):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, logps)

    monkeypatch.setattr(module, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        reference_logps(tmp_path / "b", KEY, data_of(rows), model, Products())
    before = [path.stat().st_mtime_ns for path in written]
    monkeypatch.setattr(module, "_write", write)
    found = reference_logps(tmp_path / "b", KEY, data_of(rows), model, Products())
    np.testing.assert_array_equal(found, unbroken)
    assert [path.stat().st_mtime_ns for path in written] == before


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((KEY[0], KEY[1] | {"weights": "b"}), 'inputs.weights: "a" there, "b" now'),
        ((KEY[0], KEY[1] | {"data": "e"}), 'inputs.data: "d" there, "e" now'),
        (({"max_tokens": 32}, KEY[1]), "settings.max_tokens: 64 there, 32 now"),
    ],
)
def test_a_cache_of_something_else_is_refused_by_name(tmp_path: Path, key, message: str):
    model, rows = made(), rows_of(3)
    reference_logps(tmp_path, KEY, data_of(rows), model, Products())
    with pytest.raises(SettingsError, match=message):
        reference_logps(tmp_path, key, data_of(rows), model, Products())


def test_a_shard_that_was_cut_is_told(tmp_path: Path):
    model, rows = made(), rows_of(3)
    reference_logps(tmp_path, KEY, data_of(rows), model, Products())
    path = tmp_path / "shard-00000.arrow"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"shard-00000.arrow: not a whole Arrow file"):
        reference_logps(tmp_path, KEY, data_of(rows), model, Products())


def test_numbers_that_are_none_are_not_stored(tmp_path: Path):
    model, rows = made(), rows_of(3)
    model.model.norm.weight.data[0] = torch.nan
    with pytest.raises(DataError, match="log-probs under the reference that are not finite"):
        reference_logps(tmp_path, KEY, data_of(rows), model, Products())
    assert not list(tmp_path.glob("*.arrow"))
