"""The fast recurrence against the specification, and its hand-written backward against finite differences."""

import itertools
from statistics import median

import pytest
import torch

from s2s_plugin.ops import additive_attention, recurrence, reference, steps
from tests.ops.recurrences import CASES, KINDS, make_recurrence, outputs_and_gradients

SIZES = list(itertools.product((1, 7), (0, 1, 5), (1, 6)))


@pytest.mark.parametrize("cell_type, kind", CASES)
def test_gradcheck(cell_type, kind, ways):
    torch.manual_seed(4)
    inputs = make_recurrence(cell_type, 3, 4, 5, 6, 9, 2, torch.float64, **KINDS[kind])

    def outputs(*leaves):
        return [out for out in inputs.call(recurrence.recurrence) if out is not None]

    assert torch.autograd.gradcheck(outputs, tuple(inputs.named.values()))


@pytest.mark.parametrize(
    "cell_type, kind, count, batch, source",
    [
        *((cell_type, "previous state asks", *sizes) for cell_type in reference.GATES for sizes in SIZES),
        *((*case, *sizes) for case in CASES for sizes in ((7, 5, 6), (1, 1, 1), (2, 0, 3))),
    ],
)
def test_equals_reference(cell_type, kind, count, batch, source, ways):
    """Outputs and every gradient, through every output, in float32."""
    torch.manual_seed(5)
    inputs = make_recurrence(cell_type, count, batch, source, 9, 15, 13, torch.float32, **KINDS[kind])
    expected, got = (
        outputs_and_gradients(function, inputs, torch.float32)
        for function in (reference.recurrence, recurrence.recurrence)
    )
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        rtol, atol = (2e-3, 1e-3) if name.startswith("d ") else (1e-4, 2e-5)
        torch.testing.assert_close(got[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("cell_type, kind", CASES)
def test_every_entry_of_its_buffers_is_written(cell_type, kind, monkeypatch, ways):
    """Buffers start as NaN instead of whatever the memory held."""
    torch.manual_seed(7)
    inputs = make_recurrence(cell_type, 3, 4, 5, 6, 9, 2, torch.float32, **KINDS[kind])

    def full_of_nan(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch, "empty_like", full_of_nan(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", full_of_nan(torch.Tensor.new_empty))
    out = inputs.call(recurrence.recurrence)
    sum(y.sum() for y in out if y is not None).backward()
    assert all(y.isfinite().all() for y in out if y is not None)
    assert all(x.grad.isfinite().all() for x in inputs.named.values())


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("kind", ["previous state asks", "heads and dropout"])
def test_blocks_of_sentences_change_nothing(size, kind, monkeypatch):
    """One sentence a block; two."""
    torch.manual_seed(8)
    inputs = make_recurrence("lstm", 3, 5, 6, 9, 15, 4, torch.float32, **KINDS[kind])
    expected = outputs_and_gradients(recurrence.recurrence, inputs, torch.float32)
    monkeypatch.setattr(additive_attention, "CPU_BLOCK", size)
    got = outputs_and_gradients(recurrence.recurrence, inputs, torch.float32)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("cell_type, kind", [case for case in CASES if "has_dropout" not in KINDS[case[1]]])
def test_prepared_weights_give_the_same_steps(cell_type, kind):
    torch.manual_seed(9)
    inputs = make_recurrence(cell_type, 4, 5, 6, 9, 15, 8, torch.float32, **KINDS[kind])
    expected = inputs.call(recurrence.recurrence)
    x_preact, hidden, cell, cells, _, read, source = inputs.args
    read_at = KINDS[kind].get("read_at", 0)
    weights = steps.prepare_weights(cells, read, read_at)
    options = {name: value for name, value in inputs.options.items() if name in ("heads", "coverage", "attn_prev")}
    got = steps.recurrence_steps(x_preact, hidden, cell, weights, cell_type, source, read_at=read_at, **options)
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert not a.requires_grad
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ["previous state asks", "heads and dropout"])
def test_attention_is_zero_at_padding_and_sums_to_one(kind):
    inputs = make_recurrence("gru", 3, 4, 5, 6, 9, 2, torch.float32, **KINDS[kind])
    attn, mask = inputs.call(recurrence.recurrence).attn, inputs.args[-1].padding_mask
    real_rows = ~mask.all(dim=1)
    assert attn[:, real_rows][:, mask[real_rows]].eq(0).all()
    torch.testing.assert_close(attn.sum(dim=2), torch.ones(3, 4))


def test_what_a_gru_carries_over_is_not_dropped():
    """With the update gate at 1 the state stays, whatever is dropped before the matrices."""
    inputs = make_recurrence("gru", 3, 4, 5, 6, 9, 2, torch.float32, reads=False, has_dropout=True)
    with torch.no_grad():
        inputs.args[0][:, :, 2:4] = 100.0
    torch.testing.assert_close(inputs.call(recurrence.recurrence).last_hidden, inputs.args[1])


def test_a_second_derivative_is_refused():
    inputs = make_recurrence("tanh", 2, 2, 3, 4, 5, 6, torch.float64)
    loss = inputs.call(recurrence.recurrence).hidden.square().sum()
    (grad,) = torch.autograd.grad(loss, inputs.args[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


@pytest.mark.parametrize("function", [reference.recurrence, recurrence.recurrence])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"cell_type": "elman"}, "choose from tanh, gru, lstm"),
        ({"read_at": 1}, "read_at is 1, but a step has 1 cells"),
        ({"heads": 2}, "attn_dim 5 cannot be shared out between 2 heads"),
        ({"heads": 5}, "memory_size 4 cannot be shared out between 5 heads"),
    ],
)
def test_what_does_not_fit_is_refused(function, change, message):
    inputs = make_recurrence("tanh", 2, 2, 3, 4, 5, 6, torch.float64)
    args, change = list(inputs.args), dict(change)
    args[4] = change.pop("cell_type", args[4])
    with pytest.raises(ValueError, match=message):
        function(*args, **{**inputs.options, **change})


@pytest.mark.parametrize("function", [reference.recurrence, recurrence.recurrence])
@pytest.mark.parametrize("name, weights", [("coverage", "w_coverage"), ("attn_prev", "filters")])
def test_a_past_without_its_weights_is_refused(function, name, weights):
    inputs = make_recurrence("gru", 2, 2, 3, 4, 5, 6, torch.float64, has_coverage=True, has_location=True)
    inputs.options[name] = None
    with pytest.raises(ValueError, match=f"{name} and {weights} go together"):
        inputs.call(function)


def test_filters_see_the_weights_around_each_position():
    """By hand: filters at the sentence's ends see 0 outside of it."""
    torch.manual_seed(12)
    query, keys, memory, v = torch.randn(1, 5), torch.randn(1, 4, 5), torch.randn(1, 4, 3), torch.randn(5)
    filters, w_location, attn_prev = torch.randn(2, 3), torch.randn(5, 2), torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    mask = torch.zeros(1, 4, dtype=torch.bool)
    location = {"filters": filters, "w_location": w_location, "attn_prev": attn_prev}
    _, attn = reference.additive_attention(query, keys, memory, v, mask, **location)
    energy = []
    for s in range(4):
        seen = [float(attn_prev[0, s + j]) if 0 <= s + j < 4 else 0.0 for j in (-1, 0, 1)]
        energy.append(v @ torch.tanh(query[0] + keys[0, s] + w_location @ (filters @ torch.tensor(seen))))
    torch.testing.assert_close(attn[0], torch.stack(energy).softmax(dim=0))


def test_the_past_of_a_later_part_is_what_an_earlier_one_left():
    inputs = make_recurrence("gru", 5, 4, 5, 6, 9, 2, torch.float32, has_coverage=True, has_location=True)
    whole = inputs.call(recurrence.recurrence)
    x_preact, hidden, *rest = inputs.args
    first = recurrence.recurrence(x_preact[:2], hidden, *rest, **inputs.options)
    later = {**inputs.options, "coverage": first.coverage, "attn_prev": first.attn[-1]}
    second = recurrence.recurrence(x_preact[2:], first.last_hidden, *rest, **later)
    torch.testing.assert_close(second.attn, whole.attn[2:])
    torch.testing.assert_close(second.hidden, whole.hidden[2:])


@pytest.mark.parametrize("kind", ["coverage", "coverage, heads, dropout, two cells"])
def test_coverage_is_what_was_read_before(kind):
    inputs = make_recurrence("gru", 3, 4, 5, 6, 9, 2, torch.float32, **KINDS[kind])
    out = inputs.call(recurrence.recurrence)
    torch.testing.assert_close(out.coverage, inputs.options["coverage"] + out.attn.sum(dim=0))


@pytest.mark.parametrize("function", [reference.recurrence, recurrence.recurrence])
def test_a_norm_of_a_cell_state_that_is_not_there_is_refused(function):
    inputs = make_recurrence("gru", 2, 2, 3, 4, 5, 6, torch.float64, reads=False)
    inputs.args[3][0] = inputs.args[3][0]._replace(gain_cell=torch.ones(6), b_cell=torch.zeros(6))
    with pytest.raises(ValueError, match="gain_cell is for lstm: a gru has no cell state"):
        inputs.call(function)


@pytest.mark.parametrize("cell_type, kind", CASES)
def test_bfloat16_is_no_worse_than_torchs(cell_type, kind, ways):
    """Under autocast, the error to float64 is at most twice that of the specification under autocast, and the rounding
    of results that are bfloat16 here and may be float32 there; medians of five seeds, since one can be chaotic."""
    errors = {}
    for seed in range(5):
        torch.manual_seed(seed)
        exact = make_recurrence(cell_type, 6, 5, 7, 18, 15, 16, torch.float64, **KINDS[kind])
        truth = outputs_and_gradients(reference.recurrence, exact, torch.float64)
        for function in (reference.recurrence, recurrence.recurrence):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                got = outputs_and_gradients(function, exact, torch.float32)
            for name, value in truth.items():
                error = (got[name].double() - value).norm() / value.norm()
                errors.setdefault(name, {}).setdefault(function, []).append(error.item())
    for name, (plain, fast) in ((name, both.values()) for name, both in errors.items()):
        assert median(fast) <= 2 * median(plain) + 2**-9, f"{name}: {fast} against {plain}"
    assert got["hidden"].dtype == torch.bfloat16 and got["last_hidden"].dtype == torch.float32
    if "attn" in got:
        assert got["attn"].dtype == torch.float32
