"""The auxiliary features: by hand, and what the layer attention must hold."""

import pytest
import torch

from inarch.spans.auxiliary import AuxiliaryFeatures, LayerAttention, MeanAndMax, SummaryToken

B, T, H, L = 2, 3, 4, 5


@pytest.fixture
def states() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, T, H, generator=generator) for _ in range(L)]


@pytest.fixture
def attention() -> LayerAttention:
    torch.manual_seed(1)
    made = LayerAttention(H)
    made.score.weight.data.mul_(5)
    return made


def test_attention_weighs_every_token_of_its_own(states, attention):
    found = attention(states)
    w, b = attention.score.weight[0], attention.score.bias[0]
    for row in range(B):
        for t in range(T):
            scores = torch.stack([state[row, t] @ w + b for state in states])
            weights = scores.exp() / scores.exp().sum()
            expected = sum(a * state[row, t] for a, state in zip(weights, states, strict=True))
            torch.testing.assert_close(found[row, t], expected)


def test_attention_does_not_know_the_order_of_layers(states, attention):
    torch.testing.assert_close(attention(states[::-1]), attention(states))


def test_attention_without_weights_is_the_mean(states, attention):
    attention.score.weight.data.zero_()
    torch.testing.assert_close(attention(states), torch.stack(states).mean(0))


def test_attention_over_equal_layers_is_the_layer(states, attention):
    torch.testing.assert_close(attention([states[0]] * L), states[0])


def test_gradient_reaches_all_layers(states, attention):
    for state in states:
        state.requires_grad_()
    attention(states).square().sum().backward()
    assert all(state.grad.abs().sum() > 0 for state in states)
    assert attention.score.weight.grad.abs().sum() > 0


def test_each_feature_is_what_its_line_says(states):
    pooled = torch.randn(B, H, generator=torch.Generator().manual_seed(3))
    wide = pooled[:, None].expand(B, T, H)
    torch.manual_seed(1)
    features = {
        aux: AuxiliaryFeatures(aux, H) for aux in ("none", "cls", "concat", "onatt", "att", "last4")
    }
    features["att"].attention = features["onatt"].attention
    mixed = features["onatt"].attention(states)
    expected = {
        "none": states[-1],
        "cls": states[-1] + wide,
        "concat": torch.cat([states[-1], wide], -1),
        "onatt": mixed,
        "att": mixed + wide,
        "last4": torch.cat([states[1], states[2], states[3], states[4], wide], -1),
    }
    for aux, made in features.items():
        found = made(states, pooled)
        torch.testing.assert_close(found, expected[aux])
        assert found.shape[-1] == made.out_width


@pytest.mark.parametrize(("last", "positions"), [(False, (0, 1)), (True, (1, 2))])
def test_the_summary_is_the_first_or_last_token_on_either_side_of_padding(states, last, positions):
    real = torch.tensor([[True, True, False], [False, True, True]])
    pool = SummaryToken(H, last)
    found = pool(states[0], real)
    for row, position in enumerate(positions):
        torch.testing.assert_close(found[row], pool.linear(states[0][row, position]).tanh())


def test_mean_and_max_look_at_real_tokens_only():
    pool = MeanAndMax(1)
    pool.linear.weight.data[:] = torch.tensor([[0.1, 0.01]])
    pool.linear.bias.data.zero_()
    hidden = torch.tensor([[[1.0], [3.0], [99.0]], [[-5.0], [99.0], [99.0]], [[9.0]] * 3])
    real = torch.tensor([[True, True, False], [True, False, False], [False] * 3])
    # [mean 2, max 3], [mean -5, max -5], and nothing.
    expected = torch.tensor([[0.23], [-0.55], [0.0]]).tanh()
    torch.testing.assert_close(pool(hidden, real), expected)
