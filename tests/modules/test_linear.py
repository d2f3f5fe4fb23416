"""What is kept of weights between the steps of a search, and everything that must make it forgotten."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parametrizations, prune

from s2s_plugin.modules.linear import Linear
from s2s_plugin.ops.int8 import SEVEN_BITS, products_in_int8
from tests.models.builders import make_model

SOURCE, PREV = torch.tensor([[4, 9, 5, 2], [6, 2, 1, 1]]), torch.tensor([[2, 8, 4], [2, 12, 6]])


@pytest.fixture
def linear():
    torch.manual_seed(81)
    return Linear(16, 16).eval()


def assert_fresh(linear, x=None):
    x = torch.ones(2, 16) if x is None else x
    with torch.no_grad():
        torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))


def test_weights_that_take_the_place_of_others(linear):
    """torch gives a new tensor the address of one that is gone."""
    assert_fresh(linear)
    for factor in range(2, 12):
        linear.weight.data = linear.weight.data * factor / 3
        assert_fresh(linear)


def test_weights_from_outside(linear):
    x = torch.ones(2, 16)
    for _ in range(10):
        weights = {"weight": torch.randn(16, 16), "bias": torch.randn(16)}
        with torch.no_grad():
            got = torch.func.functional_call(linear, weights, x)
        torch.testing.assert_close(got, F.linear(x, weights["weight"], weights["bias"]))


def test_parametrised_and_pruned_weights(linear):
    parametrizations.weight_norm(linear)
    for _ in range(5):
        linear.parametrizations.weight.original0.data.mul_(2)
        assert_fresh(linear)
    pruned = Linear(16, 16).eval()
    for _ in range(5):
        assert_fresh(pruned)
        prune.random_unstructured(pruned, "weight", 0.3)


def test_updates_in_evaluation_mode(linear):
    """fairseq's optimisers write into `.data`, which torch does not count; the step before them wants gradients."""
    x = torch.ones(2, 16)
    for _ in range(3):
        assert_fresh(linear)
        linear(x).sum().backward()
        linear.weight.data.add_(linear.weight.grad, alpha=-0.1)
    assert_fresh(linear)


def test_inside_and_outside_of_autocast(linear):
    x = torch.ones(2, 16)
    with torch.no_grad():
        exact = linear(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(x).dtype == torch.bfloat16
        assert torch.equal(linear(x), exact)


def test_other_dtypes(linear):
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
        linear.to(dtype)
        assert_fresh(linear, torch.ones(2, 16, dtype=dtype))


@pytest.mark.parametrize("attn_mode", ["recurrent", "conditional", "parallel"])
def test_a_model_can_be_exported(attn_mode):
    model = make_model(attn_mode=attn_mode)
    with torch.no_grad():
        expected, _ = model(SOURCE, None, PREV)

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, source, prev):
                return self.model(source, None, prev)[0]

        exported = torch.export.export(Logits().eval(), (SOURCE, PREV)).module()
        torch.testing.assert_close(exported(SOURCE, PREV), expected)


def test_a_model_made_in_inference_mode_translates():
    with torch.inference_mode():
        model = make_model()
        first, _ = model(SOURCE, None, PREV)
        second, _ = model(SOURCE, None, PREV)
    assert torch.equal(first, second)


def test_evaluation_again_forgets_nothing_and_training_all(linear, monkeypatch):
    """fairseq's search calls eval() at every batch."""
    made = []
    monkeypatch.setattr("s2s_plugin.modules.linear.pack", lambda weight: made.append(1) or weight)
    for _ in range(3):
        linear.eval()
        assert_fresh(linear)
    assert len(made) == 1
    linear.train()
    linear.weight.data.mul_(2)
    linear.eval()
    assert_fresh(linear)
    assert len(made) == 2
    linear.weight.data.mul_(2)  # past torch's count
    linear.train().eval()
    assert_fresh(linear)


def test_eight_bits_and_back(linear):
    x = torch.ones(2, 16)
    with torch.no_grad():
        exact = linear(x)
        with products_in_int8(SEVEN_BITS):
            rounded = linear(x)
        assert 0 < (rounded - exact).abs().max() < 0.1
        assert torch.equal(linear(x), exact)
