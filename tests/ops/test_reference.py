"""The specification against torch's own cells and against loops over single numbers."""

import math

import pytest
import torch
from torch import nn

from s2s_plugin.ops import reference

CELL_CLASSES = {"tanh": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_cell_step_equals_torch(cell_type):
    torch.manual_seed(1)
    batch, size, width = 3, 5, 4
    twin = CELL_CLASSES[cell_type](width, size).double()
    x = torch.randn(batch, width, dtype=torch.float64)
    hidden, cell = torch.randn(2, batch, size, dtype=torch.float64)
    x_preact = x @ twin.weight_ih.t() + twin.bias_ih
    h_preact = hidden @ twin.weight_hh.t() + twin.bias_hh
    if cell_type == "lstm":
        expected, expected_cell = twin(x, (hidden, cell))
    else:
        expected, expected_cell, cell = twin(x, hidden), None, None
    got, got_cell = reference.cell_step(cell_type, x_preact, h_preact, hidden, cell)
    torch.testing.assert_close(got, expected)
    assert (got_cell is None) == (expected_cell is None)
    if got_cell is not None:
        torch.testing.assert_close(got_cell, expected_cell)


@pytest.mark.parametrize("cell_type", reference.GATES)
def test_without_attention_the_recurrence_is_a_loop_of_the_torch_cell(cell_type):
    """With W_c = 0 the context changes nothing."""
    torch.manual_seed(2)
    steps, batch, width, size, source, memory_size, attn_dim = 4, 3, 6, 5, 7, 2, 8
    twin = CELL_CLASSES[cell_type](width, size).double()
    x = torch.randn(steps, batch, width, dtype=torch.float64)
    hidden, cell = torch.randn(2, batch, size, dtype=torch.float64)
    x_preact, cells = x @ twin.weight_ih.t() + twin.bias_ih, [reference.Cell(twin.weight_hh, twin.bias_hh)]
    read = reference.Read(
        torch.randn(attn_dim, size, dtype=torch.float64),
        torch.randn(attn_dim, dtype=torch.float64),
        torch.zeros(twin.weight_ih.size(0), memory_size, dtype=torch.float64),
    )
    memory = reference.Source(
        torch.randn(batch, source, memory_size, dtype=torch.float64),
        torch.randn(batch, source, attn_dim, dtype=torch.float64),
        torch.zeros(batch, source, dtype=torch.bool),
    )
    start = x_preact, hidden, cell if cell_type == "lstm" else None, cells, cell_type
    out, plain = reference.recurrence(*start, read, memory), reference.recurrence(*start)
    torch.testing.assert_close(plain.hidden, out.hidden)
    assert plain.context is None and plain.attn is None
    state = (hidden, cell) if cell_type == "lstm" else hidden
    for t in range(steps):
        state = twin(x[t], state)
        torch.testing.assert_close(out.hidden[t], state[0] if cell_type == "lstm" else state)
    if cell_type == "lstm":
        torch.testing.assert_close(out.cell, state[1])
    else:
        assert out.cell is None


def test_a_conditional_gru_is_two_torch_cells_around_the_attention():
    """Nematus (Sennrich et al. 2017), eq. 2 to 4, on nn.GRUCell; the second cell reads the context, no word."""
    torch.manual_seed(4)
    batch, width, size, source, memory_size, attn_dim = 3, 6, 5, 7, 2, 8
    lower, upper = nn.GRUCell(width, size).double(), nn.GRUCell(memory_size, size).double()
    x, hidden = torch.randn(2, batch, width, dtype=torch.float64), torch.randn(batch, size, dtype=torch.float64)
    w_query, v = torch.randn(attn_dim, size, dtype=torch.float64), torch.randn(attn_dim, dtype=torch.float64)
    memory = torch.randn(batch, source, memory_size, dtype=torch.float64)
    keys, mask = torch.randn(batch, source, attn_dim, dtype=torch.float64), torch.zeros(batch, source, dtype=torch.bool)
    cells = [
        reference.Cell(lower.weight_hh, lower.bias_hh),
        reference.Cell(upper.weight_hh, upper.bias_hh, b_input=upper.bias_ih),
    ]
    read, read_source = reference.Read(w_query, v, upper.weight_ih), reference.Source(memory, keys, mask)
    x_preact = x @ lower.weight_ih.t() + lower.bias_ih
    out = reference.recurrence(x_preact, hidden, None, cells, "gru", read, read_source, read_at=1)
    for t in range(2):
        between = lower(x[t], hidden)
        context, _ = reference.additive_attention(between @ w_query.t(), keys, memory, v, mask)
        hidden = upper(context, between)
        torch.testing.assert_close(out.context[t], context)
        torch.testing.assert_close(out.hidden[t], hidden)


def test_layer_norm_equals_torch_gate_by_gate():
    torch.manual_seed(5)
    x, gain, bias = torch.randn(3, 8, dtype=torch.float64), *torch.randn(2, 8, dtype=torch.float64)
    got = reference.layer_norm(x, gain, bias, 4)
    for block in (slice(0, 4), slice(4, 8)):
        expected = nn.functional.layer_norm(x[:, block], (4,), gain[block], bias[block])
        torch.testing.assert_close(got[:, block], expected)


def test_heads_are_attentions_of_their_own():
    torch.manual_seed(6)
    query, keys = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    memory, v = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    mask = torch.arange(5) >= torch.tensor([[5], [3], [1]])
    context, attn = reference.additive_attention(query, keys, memory, v, mask, heads=2)
    heads = [
        reference.additive_attention(query[:, a], keys[:, :, a], memory[:, :, m], v[a], mask)
        for a, m in ((slice(0, 3), slice(0, 2)), (slice(3, 6), slice(2, 4)))
    ]
    torch.testing.assert_close(context, torch.cat([head_context for head_context, _ in heads], dim=1))
    torch.testing.assert_close(attn, sum(head_attn for _, head_attn in heads) / 2)


def test_what_is_kept_scales_the_context_and_not_the_weights():
    torch.manual_seed(7)
    query, keys, memory = torch.randn(1, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 2)
    v, mask = torch.randn(4), torch.zeros(1, 3, dtype=torch.bool)
    _, attn = reference.additive_attention(query, keys, memory, v, mask)
    context, kept_attn = reference.additive_attention(
        query, keys, memory, v, mask, keep=torch.tensor([[[2.0, 0.0, 2.0]]])
    )
    torch.testing.assert_close(kept_attn, attn)
    torch.testing.assert_close(context, 2 * (attn[:, :1] * memory[:, 0] + attn[:, 2:] * memory[:, 2]))


def test_attention_equals_loops_over_numbers():
    torch.manual_seed(3)
    batch, source, attn_dim, memory_size = 3, 5, 4, 2
    query = torch.randn(batch, attn_dim, dtype=torch.float64)
    keys = torch.randn(batch, source, attn_dim, dtype=torch.float64)
    memory = torch.randn(batch, source, memory_size, dtype=torch.float64)
    v = torch.randn(attn_dim, dtype=torch.float64)
    lengths = [5, 3, 1]
    mask = torch.arange(source) >= torch.tensor(lengths).unsqueeze(1)
    context, attn = reference.additive_attention(query, keys, memory, v, mask)
    for b, length in enumerate(lengths):
        weight = []
        for s in range(length):
            energy = sum(v[a].item() * math.tanh(query[b, a].item() + keys[b, s, a].item()) for a in range(attn_dim))
            weight.append(math.exp(energy))
        for s in range(source):
            expected = weight[s] / sum(weight) if s < length else 0.0
            assert attn[b, s].item() == pytest.approx(expected, abs=1e-12)
        for m in range(memory_size):
            expected = sum(weight[s] * memory[b, s, m].item() for s in range(length)) / sum(weight)
            assert context[b, m].item() == pytest.approx(expected, abs=1e-12)


def test_a_row_of_padding_alone_gives_numbers():
    context, attn = reference.additive_attention(
        torch.randn(1, 4),
        torch.randn(1, 3, 4),
        torch.zeros(1, 3, 2),
        torch.randn(4),
        torch.ones(1, 3, dtype=torch.bool),
    )
    assert context.isfinite().all() and attn.isfinite().all()


def test_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="unknown cell 'elman': choose from tanh, gru, lstm"):
        reference.check_cell("elman")
