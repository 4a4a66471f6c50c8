"""Log-probs of answers: one token after the other in float64 is the judge."""

import math

import numpy as np
import pytest
import torch

from inarch.align._layout import Sequences, batch_of
from inarch.align._logps import CHUNK_LOGITS, answer_logps, chunked_logps
from inarch.io.models import new_model
from inarch.numerics import Head

V = 37
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
CAPPED = LLAMA | {
    "model_type": "gemma2",
    "head_dim": 8,
    "num_key_value_heads": 2,
    "final_logit_softcapping": 3.0,
}
TIED = LLAMA | {"tie_word_embeddings": True}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
KINDS = {"llama": LLAMA, "tied": TIED, "gpt2": GPT2, "capped": CAPPED}


def made(kind: str = "llama"):
    model = new_model(KINDS[kind], V, 0)
    for weight in model.parameters():  # far from uniform, so that tokens differ
        weight.data.mul_(4.0)
    return model


def rows_of(num: int, num_answers: int, seed: int = 0) -> list[Sequences]:
    random = np.random.default_rng(seed)

    def ids(low: int, high: int):
        return random.integers(0, V, random.integers(low, high)).astype(np.int32)

    rows = []
    for _ in range(num):
        prompt = ids(1, 9)
        rows.append(
            Sequences((prompt,) * num_answers, tuple(ids(1, 12) for _ in range(num_answers)))
        )
    return rows


def token_by_token(model, prompt, answer) -> float:
    """Sum of log p(token | all before it), from raw logits of one unpadded sequence."""
    ids = [*prompt.tolist(), *answer.tolist()]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().numpy()
    total = 0.0
    for place, token in enumerate(answer.tolist()):
        before = logits[len(prompt) - 1 + place]
        highest = max(before)
        norm = highest + math.log(sum(math.exp(x - highest) for x in before))
        total += before[token] - norm
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_the_sum_over_its_tokens(kind):
    model, rows = made(kind), rows_of(4, 3)
    found = answer_logps(model, batch_of(rows))
    expected = [
        token_by_token(model, row.prompts[k], row.answers[k]) for k in range(3) for row in rows
    ]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=2e-6, atol=2e-5)


def test_lengths_are_those_of_the_answers():
    rows = rows_of(3, 2)
    found = batch_of(rows)["lengths_A"].tolist()
    assert found == [len(row.answers[k]) for k in range(2) for row in rows]


def test_padding_changes_nothing():
    model, rows = made(), rows_of(3, 2)
    batch = batch_of(rows)
    width = batch["input_ids"].shape[1]
    wide = dict(batch)
    for name, filling in (("input_ids", 5), ("attention_mask", 0)):
        wide[name] = torch.nn.functional.pad(batch[name], (0, width), value=filling)
    at = batch["flat_N"]
    wide["flat_N"] = at // width * 2 * width + at % width
    torch.testing.assert_close(
        answer_logps(model, wide), answer_logps(model, batch), rtol=0, atol=1e-5
    )


def test_rows_and_batches_do_not_matter():
    model, rows = made(), rows_of(5, 3)
    whole = answer_logps(model, batch_of(rows)).view(3, 5)
    back = answer_logps(model, batch_of(rows[::-1])).view(3, 5)
    alone = torch.stack([answer_logps(model, batch_of([row])) for row in rows], 1)
    torch.testing.assert_close(back.flip(1), whole, rtol=0, atol=2e-5)
    torch.testing.assert_close(alone, whole, rtol=0, atol=2e-5)


def dense(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps = logits.log_softmax(-1).flatten(0, 1)[batch["flat_N"], batch["labels_N"]]
    return torch.zeros(len(batch["lengths_A"])).index_add(0, batch["answer_N"], logps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_dense_one(kind, monkeypatch):
    monkeypatch.setattr("inarch.align._logps.CHUNK_LOGITS", 3 * V)  # several chunks
    rows = rows_of(4, 3)
    weight_A = torch.randn(12, generator=torch.Generator().manual_seed(0))
    grads = []
    for scorer in (answer_logps, dense):
        model = made(kind)
        # Not linear in the answers, as a preference loss is not.
        torch.tanh(weight_A * scorer(model, batch_of(rows)) / 20).sum().backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert any(grad.abs().max() > 1e-3 for grad in grads[1].values())
    for name, grad in grads[1].items():
        torch.testing.assert_close(grads[0][name], grad, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("linear", [True, False])
def test_chunks_do_not_matter(linear):
    hidden = torch.randn(11, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(11) % 7
    results = []
    for chunk in (1, 4, 11, 100):
        layer = torch.nn.Linear(4, 7)
        torch.nn.init.constant_(layer.bias, 0.3)
        with torch.no_grad():
            layer.weight.copy_(torch.arange(28.0).view(7, 4).sin())
        given = hidden.clone().requires_grad_()
        head = Head(7, layer.forward, layer if linear else None)
        logps = chunked_logps(given, head, labels, chunk=chunk)
        (logps * labels).sum().backward()
        results.append((logps.detach(), given.grad, layer.weight.grad, layer.bias.grad))
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_frozen_head_gets_no_gradient_and_hands_it_on():
    model, batch = made(), batch_of(rows_of(3, 2))
    model.lm_head.weight.requires_grad_(False)
    answer_logps(model, batch).square().sum().backward()
    other = made()
    dense(other, batch).square().sum().backward()
    assert model.lm_head.weight.grad is None
    torch.testing.assert_close(
        model.model.norm.weight.grad, other.model.norm.weight.grad, rtol=1e-5, atol=1e-3
    )


def test_full_logits_never_exist(monkeypatch):
    monkeypatch.setattr("inarch.align._logps.CHUNK_LOGITS", 2 * V)
    largest = []
    linear = torch.nn.functional.linear

    def watch(*args):
        result = linear(*args)
        if result.shape[-1] == V:
            largest.append(result.numel())
        return result

    monkeypatch.setattr(torch.nn.functional, "linear", watch)
    model, batch = made(), batch_of(rows_of(4, 3))
    answer_logps(model, batch).sum().backward()
    assert len(batch["labels_N"]) > 30
    assert max(largest) <= 4 * V  # D / 4 = 4 positions


def test_bf16_products_still_add_up_in_float32():
    model, rows = made(), rows_of(4, 2)
    exact = answer_logps(model, batch_of(rows)).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rough = answer_logps(model, batch_of(rows))
        (rough * 0.1).sum().backward()
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert model.lm_head.weight.grad.dtype == torch.float32


def test_chunks_are_32_mib():
    assert CHUNK_LOGITS * 4 == 32 * 2**20
