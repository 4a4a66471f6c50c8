"""Linear layers by oneDNN: the same products, only where they are to be, and back again."""

import pytest
import torch
from torch import nn

from inarch.numerics import onednn
from inarch.numerics.onednn import with_onednn


def layer_of(width_in, width_out, bias=True, dtype=torch.float32):
    torch.manual_seed(width_in)
    return nn.Linear(width_in, width_out, bias, dtype=dtype)


@pytest.fixture
def calls(monkeypatch):
    """What runs by PyTorch's own function."""
    seen = []
    own = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda *args: (seen.append(1), own(*args))[1])
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (1, 5), (2, 7, 1), (2, 0)])
def test_products_are_those_of_float64(calls, bias, shape):
    layer = layer_of(33, 17, bias)
    hidden = torch.randn(*shape, 33)
    wide = hidden.double() @ layer.weight.double().T
    wide = wide + layer.bias.double() if bias else wide
    with torch.no_grad(), with_onednn(layer):
        found = layer(hidden)
        turned = layer(hidden.transpose(0, -2)) if len(shape) > 1 else None
    assert len(calls) == (0 if hidden.numel() else 2)
    torch.testing.assert_close(found.double(), wide, rtol=1e-6, atol=1e-6)
    if turned is not None:
        torch.testing.assert_close(turned, found.transpose(0, -2), rtol=1e-6, atol=1e-6)


def test_what_is_left_alone(calls, monkeypatch):
    class Own(nn.Linear):
        pass

    low, own, moved = layer_of(8, 8, dtype=torch.bfloat16), Own(8, 8), layer_of(8, 8)
    moved.forward = lambda hidden: hidden + 1
    plain = layer_of(8, 8)
    model = nn.ModuleList([low, own, moved, plain])
    hidden = torch.randn(2, 8)
    with torch.no_grad(), with_onednn(model):
        assert "forward" in plain.__dict__
        assert not {"forward"} & (low.__dict__.keys() | own.__dict__.keys())
        assert torch.equal(moved(hidden), hidden + 1)
    assert "forward" not in plain.__dict__
    plain(hidden)
    assert len(calls) == 1
    monkeypatch.setattr(onednn, "_has_onednn", lambda: False)
    with with_onednn(model):
        assert "forward" not in plain.__dict__
