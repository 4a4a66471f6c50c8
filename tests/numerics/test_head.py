from collections.abc import Mapping
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from inarch.io.models import new_model
from inarch.numerics import Head, chunked_sum, head, run_with_head, token_logps

VOCAB = 53
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "model_type": "llama"},
    "tied": {**SMALL, "model_type": "llama", "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2},
    "gpt_neox": {**SMALL, "model_type": "gpt_neox"},
    "phi with a bias": {**SMALL, "model_type": "phi"},
    "gemma2, caps logits": {
        **SMALL,
        "model_type": "gemma2",
        "head_dim": 8,
        "num_key_value_heads": 2,
    },
    "cohere, scales logits": {**SMALL, "model_type": "cohere"},
    "granite, divides logits": {**SMALL, "model_type": "granite", "logits_scaling": 8.0},
}
DENSE = {name for name in MODELS if "logits" in name}
IDS_BT = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
NEXT_N = IDS_BT[:, 1:].reshape(-1)


def make(name: str) -> Any:
    """The model without dropout, as two forwards are compared."""
    model = new_model(MODELS[name], VOCAB, seed=0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def sums(hidden_BTD: Tensor, head: Head, chunk: int | None = 5) -> Tensor:
    """Summed loss, hits and their squares: two metrics beside the loss."""

    def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
        logps_n = token_logps(logits_nV, NEXT_N[part])
        return torch.stack([-logps_n.sum(), (logps_n > -4).sum(), logps_n.square().sum()])

    return chunked_sum(hidden_BTD[:, :-1].flatten(0, 1), head, per_chunk, chunk=chunk)


def dense_sums(model: nn.Module) -> Tensor:
    logps_NV = model(input_ids=IDS_BT).logits[:, :-1].flatten(0, 1).float().log_softmax(1)
    logps_N = logps_NV.gather(1, NEXT_N[:, None])[:, 0]
    return torch.stack([-logps_N.sum(), (logps_N > -4).sum(), logps_N.square().sum()])


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_training(model: nn.Module, atol: float = 1e-5) -> None:
    found = run_with_head(model, {"input_ids": IDS_BT}, sums)
    expected = dense_sums(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    found_grads = gradients(model, found[0] / 24)
    expected_grads = gradients(model, expected[0] / 24)
    assert found_grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        torch.testing.assert_close(found_grads[name], grad, atol=atol, rtol=0, msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_sums_and_gradients_are_those_of_the_dense_computation(name: str) -> None:
    model = make(name)
    assert_same_training(model)
    shapes = []
    with torch.no_grad():
        run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: shapes.append(h.shape[-1]))
    assert shapes == [VOCAB if name in DENSE else 16]


@pytest.mark.parametrize("name", ["llama", "tied", "gemma2, caps logits"])
def test_logits_of_the_head_are_those_of_the_model(name: str) -> None:
    model = make(name).eval()
    with torch.no_grad():
        logits_BTV = run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: head.logits(h))
        width = run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: {"any": head.width})
    torch.testing.assert_close(logits_BTV, model(input_ids=IDS_BT).logits)
    assert width == {"any": VOCAB}


def test_the_mask_reaches_the_model() -> None:
    model = make("llama")
    mask_BT = torch.ones_like(IDS_BT)
    mask_BT[:, :3] = 0
    inputs = {"input_ids": IDS_BT, "attention_mask": mask_BT}
    logits_BTV = run_with_head(model, inputs, lambda h, head: head.logits(h))
    torch.testing.assert_close(logits_BTV, model(**inputs).logits)


def test_lora_on_the_head_too() -> None:
    base = make("llama")
    model = get_peft_model(
        base, LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    )
    assert_same_training(model.train())


def test_a_frozen_head_gets_no_gradient() -> None:
    model = make("llama")
    model.lm_head.weight.requires_grad_(False)
    assert_same_training(model)


def test_bf16_weights_get_the_gradients_of_the_dense_computation() -> None:
    # bf16 keeps 8 bits, so single entries differ by 1/256; their direction must not.
    model = make("llama").bfloat16()
    found = gradients(model, run_with_head(model, {"input_ids": IDS_BT}, sums)[0])
    reference = make("llama").bfloat16().float()
    expected = gradients(reference, dense_sums(reference)[0])
    for name, grad in expected.items():
        error = (found[name].float() - grad).norm() / grad.norm()
        assert error < 0.03, name


def test_bf16_weight_gradients_add_up_in_float32() -> None:
    # 4096 chunks of gradient 1/8 each are 512; bf16 sums of 1/8 stop growing at 32.
    linear = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    hidden_ND = torch.full((4096, 1), 0.125, dtype=torch.bfloat16)
    plain = Head(1, linear.forward, linear)
    total = chunked_sum(hidden_ND, plain, lambda logits, part: logits.sum()[None], chunk=1)
    total[0].backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.item() == 512.0


def test_under_autocast_the_dense_result_is_met() -> None:
    model = make("llama")
    with torch.autocast("cpu", torch.bfloat16):
        found = run_with_head(model, {"input_ids": IDS_BT}, sums)
        expected = dense_sums(model)
    torch.testing.assert_close(found[0], expected[0], atol=0.05, rtol=1e-3)
    found_grads, expected_grads = gradients(model, found[0]), gradients(model, expected[0])
    for name, grad in expected_grads.items():
        assert found_grads[name].dtype == torch.float32
        assert (found_grads[name] - grad).norm() / grad.norm() < 0.03, name


@pytest.mark.parametrize("chunk", [1, 7, 24, 1000, None])
@pytest.mark.parametrize("name", ["llama", "gemma2, caps logits"])
def test_the_chunk_does_not_matter(name: str, chunk: int | None) -> None:
    model = make(name)

    def run(chunk: int | None) -> tuple[Tensor, dict[str, Tensor]]:
        total = run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: sums(h, head, chunk))
        return total.detach(), gradients(model, total[0])

    (found, found_grads), (expected, expected_grads) = run(chunk), run(3)
    torch.testing.assert_close(found, expected)
    for key, grad in expected_grads.items():
        torch.testing.assert_close(found_grads[key], grad, atol=1e-4, rtol=1e-4)


def test_no_more_than_a_chunk_of_logits_is_seen() -> None:
    model, seen = make("llama"), []

    def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
        seen.append((len(logits_nV), part.start))
        return logits_nV.sum()[None]

    run_with_head(
        model, {"input_ids": IDS_BT}, lambda h, head: chunked_sum(h[0], head, per_chunk, chunk=4)
    )
    assert seen == [(4, 0), (4, 4), (1, 8)]


@pytest.mark.parametrize("name", ["llama", "gemma2, caps logits"])
def test_no_positions_give_zero_and_a_gradient_of_zero(name: str) -> None:
    model = make(name)

    def nothing(hidden_BTD: Tensor, head: Head) -> Tensor:
        def per_chunk(logits_nV: Tensor, part: slice) -> Tensor:
            return torch.stack([logits_nV.sum(), logits_nV.sum().detach()])

        return chunked_sum(hidden_BTD.flatten(0, 1)[:0], head, per_chunk)

    total = run_with_head(model, {"input_ids": IDS_BT}, nothing)
    assert total.tolist() == [0.0, 0.0]
    assert all(grad.abs().max() == 0 for grad in gradients(model, total[0]).values())


@pytest.mark.parametrize("name", ["llama", "gemma2, caps logits"])
def test_metrics_carry_no_gradient(name: str) -> None:
    model = make(name)
    total = run_with_head(model, {"input_ids": IDS_BT}, sums)
    only_loss = gradients(model, total[0])
    total = run_with_head(model, {"input_ids": IDS_BT}, sums)
    for key, grad in gradients(model, total.sum()).items():
        torch.testing.assert_close(grad, only_loss[key])


def test_the_gradients_of_a_plain_head_can_be_used_once() -> None:
    model = make("llama")
    loss = run_with_head(model, {"input_ids": IDS_BT}, sums)[0]
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="used up"):
        loss.backward()


def test_the_head_is_put_back_after_an_error() -> None:
    model = make("llama").eval()
    expected = model(input_ids=IDS_BT).logits

    def fail(hidden_BTD: Tensor, head: Head) -> Tensor:
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        run_with_head(model, {"input_ids": IDS_BT}, fail)
    torch.testing.assert_close(model(input_ids=IDS_BT).logits, expected)


def test_a_forward_of_its_own_stays_and_none_is_left_behind() -> None:
    model = make("llama").eval()
    run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: None)
    assert "forward" not in vars(model.lm_head)
    model.lm_head.forward = own = lambda hidden: nn.Linear.forward(model.lm_head, hidden) + 1
    run_with_head(model, {"input_ids": IDS_BT}, lambda h, head: None)
    assert vars(model.lm_head)["forward"] is own


def test_looking_at_a_model_changes_neither_its_mode_nor_the_random_state() -> None:
    model = new_model(MODELS["gpt2"], VOCAB, seed=0).train()  # with dropout
    model.transformer.h[0].eval()
    before = torch.get_rng_state()
    assert head._probe(model, model, IDS_BT[:1, :2])
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model.transformer.h[0].training


def test_a_model_that_scales_by_a_setting_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[Any] = []
    probe = head._probe

    def count(*args: Any) -> bool:
        looked.append(args)
        return probe(*args)

    monkeypatch.setattr(head, "_probe", count)
    model = make("granite, divides logits")
    inputs: Mapping[str, Tensor] = {"input_ids": IDS_BT}
    run_with_head(model, inputs, sums)
    run_with_head(model, inputs, sums)
    assert len(looked) == 1
