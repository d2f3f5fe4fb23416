"""The fast recurrence against the specification, and its hand-written backward against finite differences."""

import itertools

import pytest
import torch

from s2s_plugin.ops import additive_attention, recurrence, reference

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
    if batch > 3:
        mask[3] = True
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
def test_gradcheck(cell_type, ways):
    torch.manual_seed(4)
    inputs = make_inputs(cell_type, 3, 4, 5, 6, 7, 2, torch.float64)

    def outputs(*args):
        return [out for out in recurrence.attention_recurrence(*args) if out is not None]

    assert torch.autograd.gradcheck(outputs, inputs)


@pytest.mark.parametrize("cell_type", reference.GATES)
@pytest.mark.parametrize("steps, batch, source", list(itertools.product((1, 7), (0, 1, 5), (1, 6))))
def test_equals_reference(cell_type, steps, batch, source, ways):
    """Outputs and every gradient, through every output, in float32."""
    torch.manual_seed(5)
    inputs = make_inputs(cell_type, steps, batch, source, 9, 11, 13, torch.float32)
    expected, got = (
        outputs_and_gradients(function, inputs, torch.float32)
        for function in (reference.attention_recurrence, recurrence.attention_recurrence)
    )
    for name, value in expected.items():
        rtol, atol = (1e-3, 2e-4) if name.startswith("d ") else (1e-4, 1e-5)
        torch.testing.assert_close(got[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_every_entry_of_its_buffers_is_written(cell_type, monkeypatch, ways):
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


@pytest.mark.parametrize("size", [1, 100])
def test_blocks_of_sentences_change_nothing(size, monkeypatch):
    """One sentence a block; two."""
    torch.manual_seed(8)
    inputs = make_inputs("lstm", 3, 5, 6, 7, 8, 9, torch.float32)
    function = recurrence.attention_recurrence
    expected = outputs_and_gradients(function, inputs, torch.float32)
    monkeypatch.setattr(additive_attention, "CPU_BLOCK", size)
    got = outputs_and_gradients(function, inputs, torch.float32)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_prepared_weights_give_the_same_steps(cell_type):
    torch.manual_seed(9)
    inputs = make_inputs(cell_type, 4, 5, 6, 7, 8, 9, torch.float32)
    expected = recurrence.attention_recurrence(*inputs)
    weights = recurrence.prepare_weights(*inputs[6:11])
    got = recurrence.attention_steps(*inputs[:6], weights, cell_type)
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert not a.requires_grad
            torch.testing.assert_close(a, b)


def test_attention_is_zero_at_padding_and_sums_to_one():
    inputs = make_inputs("gru", 3, 4, 5, 6, 7, 2, torch.float32)
    attn = recurrence.attention_recurrence(*inputs).attn
    real_rows = ~inputs[3].all(dim=1)
    assert attn[:, real_rows][:, inputs[3][real_rows]].eq(0).all()
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
def test_bfloat16_is_no_worse_than_torchs(cell_type, ways):
    """Under autocast, the error to float64 is at most twice that of the specification under autocast."""
    errors = {}
    for seed in range(5):
        torch.manual_seed(seed)
        exact = make_inputs(cell_type, 6, 5, 7, 16, 16, 16, torch.float64)
        for x in exact[6:-1]:
            x.data.mul_(0.3)
        truth = outputs_and_gradients(reference.attention_recurrence, exact, torch.float64)
        for function in (reference.attention_recurrence, recurrence.attention_recurrence):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                got = outputs_and_gradients(function, exact, torch.float32)
            for name, value in truth.items():
                error = (got[name].double() - value).norm() / value.norm()
                errors.setdefault(name, {}).setdefault(function, []).append(error.item())
    for name, (plain, fast) in ((name, both.values()) for name, both in errors.items()):
        assert sum(fast) <= 2 * sum(plain) + 1e-6, f"{name}: {fast} against {plain}"
    assert (got["hidden"].dtype, got["attn"].dtype) == (torch.bfloat16, torch.float32)
    assert got["last_hidden"].dtype == torch.float32


def outputs_and_gradients(function, inputs, dtype) -> dict:
    """All outputs by name, and as `d name` the gradients of a random sum of them, from copies in `dtype`."""
    copies = [x.detach().to(dtype).requires_grad_() if x is not None and x.is_floating_point() else x
              for x in inputs[:-1]]  # fmt: skip
    out = function(*copies, inputs[-1])
    generator = torch.Generator().manual_seed(6)
    parts = [y.to(dtype) for y in out if y is not None]
    sum((y * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(dtype)).sum() for y in parts).backward()
    named = {name: y.detach() for name, y in zip(out._fields, out, strict=True) if y is not None}
    grads = {name: x.grad for name, x in zip(NAMES, copies, strict=True) if x is not None}
    return named | {f"d {name}": grad for name, grad in grads.items() if grad is not None}
