"""tanh by way of the sigmoid."""

import pytest
import torch

from s2s_plugin.ops import activations


@pytest.mark.parametrize("dtype, roundings", [(torch.float32, 3), (torch.float64, 3), (torch.bfloat16, 4)])
def test_tanh_is_right_to_some_roundings_of_one(dtype, roundings, ways):
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, 100.0, -100.0, float("inf"), -float("inf")])])
    x = x.to(dtype)
    expected, kept = torch.tanh(x.double()), x.clone()
    got = activations.tanh(x)
    assert torch.equal(x, kept) and got.dtype == dtype
    assert (got.double() - expected).abs().max() <= roundings * torch.finfo(dtype).eps
    assert activations.tanh_(x) is x and torch.equal(x, got)
