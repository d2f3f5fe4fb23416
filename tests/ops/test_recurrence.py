"""The fast recurrence against the specification, and its hand-written backward against finite differences."""

import itertools

import pytest
import torch

from s2s_plugin.ops import recurrence, reference

NAMES = "x_preact memory keys padding_mask hidden cell w_query v w_context w_hidden b_hidden".split()


def make_inputs(cell_type, steps, batch, source, memory_size, attn_dim, size, dtype):
    """Arguments of `attention_recurrence`: a state that is not zero, padding on both sides, one row of one word."""
    gates = reference.GATES[cell_type] * size

    def tensor(*shape):
        return torch.randn(*shape, dtype=dtype).requires_grad_()

    mask = torch.zeros(batch, source, dtype=torch.bool)
    if batch > 1:
        mask[1, 1:] = True
    if batch > 2:
        mask[2, : source // 2] = True
    return [
        tensor(steps, batch, gates),
        tensor(batch, source, memory_size),
        tensor(batch, source, attn_dim),
        mask,
        tensor(batch, size),
        tensor(batch, size) if cell_type == "lstm" else None,
        tensor(attn_dim, size),
        tensor(attn_dim),
        tensor(gates, memory_size),
        tensor(gates, size),
        tensor(gates),
        cell_type,
    ]


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_gradcheck(cell_type):
    torch.manual_seed(4)
    inputs = make_inputs(cell_type, 3, 4, 5, 6, 7, 2, torch.float64)

    def outputs(*args):
        return [out for out in recurrence.attention_recurrence(*args) if out is not None]

    assert torch.autograd.gradcheck(outputs, inputs)


@pytest.mark.parametrize("cell_type", reference.GATES)
@pytest.mark.parametrize("steps, batch, source", list(itertools.product((1, 7), (1, 5), (1, 6))))
def test_equals_reference(cell_type, steps, batch, source):
    """Outputs and every gradient, through every output, in float32."""
    torch.manual_seed(5)
    inputs = make_inputs(cell_type, steps, batch, source, 9, 11, 13, torch.float32)
    results = []
    for function in (reference.attention_recurrence, recurrence.attention_recurrence):
        copies = [x.detach().clone().requires_grad_() if x is not None and x.is_floating_point() else x
                  for x in inputs[:-1]]  # fmt: skip
        out = function(*copies, cell_type)
        torch.manual_seed(6)
        loss = sum((y * torch.randn_like(y)).sum() for y in out if y is not None)
        loss.backward()
        results.append((out, {n: x.grad for n, x in zip(NAMES, copies, strict=True) if x is not None}))
    (expected, expected_grads), (got, got_grads) = results
    for name, a, b in zip(expected._fields, expected, got, strict=True):
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    for name, grad in expected_grads.items():
        if grad is not None:
            torch.testing.assert_close(got_grads[name], grad, rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"d {n}: {m}")


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_every_entry_of_its_buffers_is_written(cell_type, monkeypatch):
    """Buffers start as NaN instead of whatever the memory held."""
    torch.manual_seed(7)
    inputs = make_inputs(cell_type, 3, 4, 5, 6, 7, 2, torch.float32)

    def full_of_nan(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch, "empty_like", full_of_nan(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", full_of_nan(torch.Tensor.new_empty))
    out = recurrence.attention_recurrence(*inputs)
    sum(y.sum() for y in out if y is not None).backward()
    assert all(y.isfinite().all() for y in out if y is not None)
    assert all(x.grad.isfinite().all() for x in inputs if isinstance(x, torch.Tensor) and x.grad is not None)


def test_attention_is_zero_at_padding_and_sums_to_one():
    inputs = make_inputs("gru", 3, 4, 5, 6, 7, 2, torch.float32)
    attn = recurrence.attention_recurrence(*inputs).attn
    assert attn[:, inputs[3]].eq(0).all()
    torch.testing.assert_close(attn.sum(dim=2), torch.ones(3, 4))


def test_a_second_derivative_is_refused():
    inputs = make_inputs("tanh", 2, 2, 3, 4, 5, 6, torch.float64)
    (grad,) = torch.autograd.grad(
        recurrence.attention_recurrence(*inputs).hidden.square().sum(), inputs[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


def test_unknown_cell_is_refused():
    inputs = make_inputs("tanh", 2, 2, 3, 4, 5, 6, torch.float64)
    with pytest.raises(ValueError, match="choose from tanh, gru, lstm"):
        recurrence.attention_recurrence(*inputs[:-1], "elman")


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_bfloat16_is_no_worse_than_torchs(cell_type):
    """Under autocast, the error to float64 is at most twice that of the specification under autocast."""
    torch.manual_seed(8)
    exact = make_inputs(cell_type, 6, 5, 7, 16, 16, 16, torch.float64)
    for x in exact[6:-1]:
        x.data.mul_(0.3)
    results = []
    for function, dtype in (
        (reference.attention_recurrence, torch.float64),
        (reference.attention_recurrence, torch.float32),
        (recurrence.attention_recurrence, torch.float32),
    ):
        copies = [
            x.detach().to(dtype).requires_grad_() if x is not None and x.is_floating_point() else x for x in exact[:-1]
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):
            out = function(*copies, cell_type)
        torch.manual_seed(9)
        weights = [torch.randn(y.shape, dtype=torch.float64) for y in out if y is not None]
        sum((y.double() * w).sum() for y, w in zip((y for y in out if y is not None), weights, strict=True)).backward()
        named = {n: y for n, y in zip(out._fields, out, strict=True) if y is not None}
        named |= {f"d {n}": x.grad for n, x in zip(NAMES, copies, strict=True) if x is not None and x.grad is not None}
        results.append({n: x.detach().double() for n, x in named.items()})
    truth, plain, fast = results
    for name, value in truth.items():
        error, plain_error = ((r[name] - value).norm() / value.norm() for r in (fast, plain))
        assert error <= 2 * plain_error + 1e-6, f"{name}: {error:.2e} against {plain_error:.2e}"
    assert recurrence.attention_recurrence(*copies, cell_type).attn.dtype == torch.float32
