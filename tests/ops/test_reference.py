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
    out = reference.attention_recurrence(
        x @ twin.weight_ih.t() + twin.bias_ih,
        torch.randn(batch, source, memory_size, dtype=torch.float64),
        torch.randn(batch, source, attn_dim, dtype=torch.float64),
        torch.zeros(batch, source, dtype=torch.bool),
        hidden,
        cell if cell_type == "lstm" else None,
        torch.randn(attn_dim, size, dtype=torch.float64),
        torch.randn(attn_dim, dtype=torch.float64),
        torch.zeros(twin.weight_ih.size(0), memory_size, dtype=torch.float64),
        twin.weight_hh,
        twin.bias_hh,
        cell_type,
    )
    state = (hidden, cell) if cell_type == "lstm" else hidden
    for t in range(steps):
        state = twin(x[t], state)
        torch.testing.assert_close(out.hidden[t], state[0] if cell_type == "lstm" else state)
    if cell_type == "lstm":
        torch.testing.assert_close(out.cell, state[1])
    else:
        assert out.cell is None


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
