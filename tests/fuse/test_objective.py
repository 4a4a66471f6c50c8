"""The loss of a fused target on a tiny model, against dense torch expressions."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inarch.fuse import Example, FuseSettings, Lesson, collate, fused_loss, plain_loss
from inarch.records import TokenRow

VOCAB, K = 23, 4


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config)


def example(length: int, seed: int, *, spoken: float = 0.7) -> Example:
    """A row with random ids, a random mask and a random sparse teacher."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCAB, length).astype(np.int32)
    supervised = rng.random(length) < 0.8
    supervised[0], supervised[-1] = True, False
    num = int(supervised.sum())
    probs = rng.dirichlet(np.ones(VOCAB), num)
    best = np.argsort(-probs, axis=1)[:, :K].astype(np.int32)
    kept = np.take_along_axis(probs, best, 1)
    chunk = np.arange(num, dtype=np.int32) // 2
    lesson = Lesson(
        ids=best,
        logps=np.log(kept).astype(np.float16),
        tail=np.log(1 - kept.sum(1)).astype(np.float16),
        winner=np.where(rng.random(num) < spoken, 0, -1).astype(np.int8),
        chunk=chunk,
        chunk_logps=np.log(rng.uniform(0.1, 0.9, chunk.max() + 1)).astype(np.float32),
    )
    return Example(TokenRow(ids, np.zeros(length, np.int32), supervised, True), lesson)


EXAMPLES = [example(9, 1), example(5, 2), example(7, 3)]


def dense(model: LlamaForCausalLM, examples: list[Example], settings: FuseSettings) -> torch.Tensor:
    """The sum over supervised tokens, row by row, with dense [T, V] teachers and no padding."""
    total = torch.zeros(())
    for row, lesson in examples:
        logits = model(torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0].float()
        logq = logits.log_softmax(-1)
        at = np.flatnonzero(row.supervised)
        for p, t in enumerate(at):
            clm = -logq[t, int(row.ids[t + 1])]
            fused = clm
            if lesson.winner[p] >= 0:
                teacher = torch.zeros(VOCAB)
                teacher[torch.from_numpy(lesson.ids[p].astype(np.int64))] = torch.from_numpy(
                    np.exp(lesson.logps[p].astype(np.float32))
                )
                fused = -(teacher * logq[t]).sum()
                if settings.tail == "bucket":
                    others = logq[t].exp()[teacher == 0].sum()
                    fused = fused - math.exp(lesson.tail[p]) * others.log()
            elif settings.unmatched == "skip":
                fused = torch.zeros(())
            total = total + settings.lambda_ * clm + (1 - settings.lambda_) * fused
    return total


@pytest.mark.parametrize("tail", ["bucket", "ignore"])
@pytest.mark.parametrize("unmatched", ["label", "skip"])
def test_sparse_equals_dense(model: LlamaForCausalLM, tail: str, unmatched: str):
    # C5, values and gradients, over padded batches
    settings = FuseSettings(**{"lambda": 0.3, "tail": tail, "unmatched": unmatched})
    expected = dense(model, EXAMPLES, settings)
    expected.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    made = fused_loss(settings)(model, collate(EXAMPLES), 0.0)
    made.loss.backward()
    assert made.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, atol=1e-5, rtol=1e-5)


def test_lambda_one_is_plain_training_and_zero_the_fused_term(model: LlamaForCausalLM):
    # C4
    batch = collate(EXAMPLES)
    plain = plain_loss(model, batch, 0.0)
    settings = {"lambda": 1.0}
    one = fused_loss(FuseSettings(**settings))(model, batch, 0.0)
    assert one.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)
    zero = fused_loss(FuseSettings(**{"lambda": 0.0}))(model, batch, 0.0)
    assert zero.loss.item() == pytest.approx(zero.metrics["fused"].item(), rel=1e-6)
    assert zero.metrics["clm"].item() == pytest.approx(plain.loss.item(), rel=1e-6)


def test_plain_loss_is_transformers_own(model: LlamaForCausalLM):
    row = EXAMPLES[0].row
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    labels = torch.full_like(ids, -100)
    at = np.flatnonzero(row.supervised) + 1
    labels[0, at] = ids[0, at]
    expected = model(ids, labels=labels).loss * len(at)
    made = plain_loss(model, collate([Example(row, None)]), 0.0)
    assert made.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_kl_has_the_gradient_of_ce(model: LlamaForCausalLM):
    # C4
    grads = []
    for objective in ("ce", "kl"):
        model.zero_grad()
        fused_loss(FuseSettings(objective=objective))(model, collate(EXAMPLES), 0.0).loss.backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for ce, kl in zip(*grads, strict=True):
        torch.testing.assert_close(ce, kl, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("objective", ["ce", "reverse_kl", "jsd", "uld", "chunk"])
def test_how_a_batch_is_cut_does_not_matter(model: LlamaForCausalLM, objective: str):
    # C6: sums over micro-batches are the sum over the batch, in value and gradient
    loss = fused_loss(FuseSettings(**{"objective": objective, "lambda": 0.4}))

    def run(parts: list[list[Example]]) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        outs = [loss(model, collate(part), 0.0) for part in parts]
        sum(out.loss for out in outs).backward()
        return sum(out.loss.item() for out in outs), [p.grad.clone() for p in model.parameters()]

    whole, grads = run([EXAMPLES])
    split, parts = run([EXAMPLES[:1], EXAMPLES[1:]])
    assert split == pytest.approx(whole, rel=1e-5)
    for a, b in zip(grads, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_unsupervised_tokens_count_for_neither_term(model: LlamaForCausalLM):
    # C6: what is not supervised may be anything at the end of a row
    row, lesson = example(9, 4)
    row.supervised[5:] = False
    num = int(row.supervised.sum())
    lesson = Lesson(*(x[:num] for x in lesson[:5]), lesson.chunk_logps)
    loss = fused_loss(FuseSettings())
    before = loss(model, collate([Example(row, lesson)]), 0.0).loss.item()
    row.ids[7:] = (row.ids[7:] + 5) % VOCAB
    after = loss(model, collate([Example(row, lesson)]), 0.0).loss.item()
    assert before == pytest.approx(after, rel=1e-6)
    assert collate([Example(row, lesson)])["num_items"].item() == num


def test_chunk_loss_gradient_against_differences(model: LlamaForCausalLM):
    model = model.double()
    loss = fused_loss(FuseSettings(**{"objective": "chunk", "lambda": 0.2}))
    batch = collate(EXAMPLES)
    loss(model, batch, 0.0).loss.backward()
    weight = model.lm_head.weight
    slope = weight.grad[3, 2].item()
    with torch.no_grad():
        values = []
        for step in (1e-2, -2e-2):
            weight[3, 2] += step
            values.append(loss(model, batch, 0.0).loss.item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-2, rel=2e-2)


def test_metrics_by_hand(model: LlamaForCausalLM):
    out = fused_loss(FuseSettings(**{"lambda": 0.5}))(model, collate(EXAMPLES), 0.0)
    spoken = sum(int((e.lesson.winner >= 0).sum()) for e in EXAMPLES)
    assert out.metrics["spoken"].item() == spoken
    half = 0.5 * out.metrics["clm"].item() + 0.5 * out.metrics["fused"].item()
    assert out.loss.item() == pytest.approx(half, rel=1e-6)
