"""What caches take, by hand; times only as far as they must be."""

import pytest
import torch

from inarch.evaluate import Workload, measure_speed
from inarch.io.models import new_model

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
}


def test_cache_bytes_by_hand() -> None:
    # 3 layers, keys and values, 2 heads of 16 / 4 numbers, 4 bytes each.
    model = new_model(LLAMA, 31, seed=0)
    (speed,) = measure_speed([model], Workload(2, 5, 3, 1))
    assert speed.cache_bytes == 3 * 2 * 2 * 4 * 4


def test_half_the_numbers_in_half_the_bytes() -> None:
    model = new_model(LLAMA, 31, seed=0).to(torch.bfloat16)
    (speed,) = measure_speed([model], Workload(1, 4, 2, 1))
    assert speed.cache_bytes == 3 * 2 * 2 * 4 * 2


def test_every_call_is_counted_and_the_first_round_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that moves by 1 per forward of model one and by 10 per forward of model two, and by
    # 100 times as much in the round that does not count.
    clock, calls = [0.0], {1: 0, 10: 0}
    models = []
    for step in (1, 10):
        model = new_model(LLAMA, 31, seed=0)

        def tick(*_: object, step: int = step) -> None:
            calls[step] += 1
            first_round = calls[step] <= 1 + 4
            clock[0] += step * (100 if first_round else 1)

        model.register_forward_hook(tick)
        models.append(model)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    one, two = measure_speed(models, Workload(1, 3, 4, 3))
    assert (one.prefill_s, one.decode_s) == (1, 1)
    assert (two.prefill_s, two.decode_s) == (10, 10)
    assert calls == {1: 4 * 5, 10: 4 * 5}
