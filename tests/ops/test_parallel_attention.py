"""Attention of all steps at once against the specification, and its backward against finite differences."""

import pytest
import torch

from s2s_plugin.ops import parallel_attention, reference

KINDS = [
    (1, False, ""), (3, False, ""), (3, True, ""), (1, True, ""), (1, False, "coverage"), (3, True, "coverage"),
    (1, False, "location"), (3, True, "coverage, location"),
]  # fmt: skip
"""Heads, whether weights are dropped, what the read knows of the past."""


def make_inputs(steps, batch, source, attn_dim, memory_size, dtype, heads=1, has_dropout=False, past=""):
    def tensor(*shape):
        return torch.randn(*shape, dtype=dtype).requires_grad_()

    mask = torch.zeros(batch, source, dtype=torch.bool)
    if batch > 1:
        mask[1, 1:] = True
    if batch > 2:
        mask[2] = True
    return (
        tensor(steps, batch, attn_dim),
        tensor(batch, source, attn_dim),
        tensor(batch, source, memory_size),
        tensor(attn_dim),
        mask,
        heads,
        torch.bernoulli(torch.full((steps, batch, heads, source), 0.5, dtype=dtype)) * 2 if has_dropout else None,
        tensor(attn_dim) if "coverage" in past else None,
        torch.rand(batch, source, dtype=dtype).requires_grad_() if "coverage" in past else None,
        tensor(2, 3) if "location" in past else None,
        tensor(attn_dim, 2) if "location" in past else None,
        torch.rand(batch, source, dtype=dtype).requires_grad_() if "location" in past else None,
    )


def given(values) -> list:
    return [value for value in values if value is not None]


@pytest.mark.parametrize("heads, has_dropout, past", KINDS)
def test_gradcheck(heads, has_dropout, past, ways):
    torch.manual_seed(61)
    inputs = make_inputs(3, 2, 4, 9, 6, torch.float64, heads, has_dropout, past)
    assert torch.autograd.gradcheck(lambda *args: given(parallel_attention.parallel_attention(*args)), inputs)


@pytest.mark.parametrize("heads, has_dropout, past", KINDS)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 12, 9), (7, 5, 6, 12, 9)])
def test_equals_reference(sizes, heads, has_dropout, past, ways):
    results = []
    for function in (reference.parallel_attention, parallel_attention.parallel_attention):
        torch.manual_seed(62)
        inputs = make_inputs(*sizes, torch.float32, heads, has_dropout, past)
        out = given(function(*inputs))
        sum((y * torch.randn(y.shape)).sum() for y in out).backward()
        results.append([*out, *(x.grad for x in given([*inputs[:4], *inputs[7:]]))])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_autocast_rounds_the_products_and_not_the_softmax():
    torch.manual_seed(63)
    inputs = make_inputs(3, 2, 4, 8, 6, torch.float32)
    expected = reference.parallel_attention(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context, attn, _ = parallel_attention.parallel_attention(*inputs)
    assert context.dtype == torch.bfloat16 and attn.dtype == torch.float32
    torch.testing.assert_close(context.float(), expected[0], rtol=0.05, atol=0.05)
