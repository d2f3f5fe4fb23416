"""Recurrent cells, one time step each, forward and backward, on buffers that the caller owns.

Each cell is a pair of functions. `forward` overwrites the pre-activations with the gates; side by side these are all
that `backward` needs besides the states. `backward` gives the gradients of the two pre-activations (of the input side
and of the hidden side; they are one tensor where the cell adds them) and what flows to the previous state past the
matrices.
The equations are those of `reference.cell_step`; the derivation is in README.md.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from . import activations, devices
from .activations import sigmoid_backward, tanh, tanh_
from .layer_norm import LayerNorm


class CellGrad(NamedTuple):
    """Gradients of one step; shapes as in `reference.cell_step`.

    `d_h_preact` is `d_x_preact` itself where the cell only ever uses their sum; `d_hidden` is None where the previous
    state enters through its matrix alone; `d_cell` is None for cells without one.
    """

    d_x_preact: Tensor
    d_h_preact: Tensor
    d_hidden: Tensor | None
    d_cell: Tensor | None


def tanh_forward(preact: Tensor, h_preact: None, hidden: Tensor, cell: Tensor | None, norm: None = None):
    """Elman cell: h = tanh(preact). Returns hidden, cell (None) and the gates to save, (B, H) in one part."""
    gates = tanh_(preact)
    return gates, None, (gates,)


def tanh_backward(
    d_hidden: Tensor, d_cell: Tensor | None, gates: Tensor, hidden_prev, cell_prev, cell, norm: None = None
) -> CellGrad:
    """d_preact = (1 - h^2) d_h."""
    d_preact = torch.ops.aten.tanh_backward(d_hidden, gates)
    return CellGrad(d_preact, d_preact, None, None)


def gru_forward(x_preact: Tensor, h_preact: Tensor, hidden: Tensor, cell: Tensor | None, norm: None = None):
    """GRU cell. Returns hidden, cell (None) and the gates to save, (B, 4H) in two parts: reset, update, candidate; and
    W_hn h + b_hn."""
    size = hidden.size(1)
    h_n = h_preact[:, 2 * size :]
    x_preact[:, : 2 * size].add_(h_preact[:, : 2 * size]).sigmoid_()
    reset, update, candidate = x_preact.split(size, dim=1)
    tanh_(candidate.addcmul_(reset, h_n))
    return torch.lerp(candidate, hidden, update), None, (x_preact, h_n)


def gru_backward(
    d_hidden: Tensor, d_cell: Tensor | None, gates: Tensor, hidden_prev, cell_prev, cell, norm: None = None
) -> CellGrad:
    """The two pre-activations differ in the candidate's block, which the reset gate scales on the hidden side."""
    size = d_hidden.size(1)
    reset, update, candidate, h_n = gates.split(size, dim=1)
    d_x = d_hidden.new_empty(d_hidden.size(0), 3 * size)
    d_reset, d_update, d_candidate = d_x.split(size, dim=1)
    activations.tanh_backward(d_hidden * (1 - update), candidate, grad_input=d_candidate)
    sigmoid_backward(d_hidden * (hidden_prev - candidate), update, grad_input=d_update)
    sigmoid_backward(d_candidate * h_n, reset, grad_input=d_reset)
    d_h = d_x.clone()
    d_h[:, 2 * size :].mul_(reset)
    return CellGrad(d_x, d_h, d_hidden * update, None)


def lstm_forward(preact: Tensor, h_preact: None, hidden: Tensor, cell: Tensor, norm: LayerNorm | None = None):
    """LSTM cell, whose cell state passes `norm` on its way to the tanh.

    Returns hidden, cell and the gates to save, (B, 4H) in one part: input, forget, candidate, output.
    """
    size = hidden.size(1)
    i, f, g, o = preact.split(size, dim=1)
    if devices.on_cpu(preact):
        # One pass of sigmoids over all blocks; the candidate's is 2 sigmoid(2x) - 1.
        g.mul_(2)
        preact.sigmoid_()
        g.mul_(2).sub_(1)
    else:
        preact[:, : 2 * size].sigmoid_()
        g.tanh_()
        o.sigmoid_()
    cell = (f * cell).addcmul_(i, g)
    inner = cell if norm is None else norm.forward(cell)[0]
    return tanh(inner).mul_(o), cell, (preact,)


def lstm_backward(
    d_hidden: Tensor, d_cell: Tensor, gates: Tensor, hidden_prev, cell_prev, cell, norm: LayerNorm | None = None
) -> CellGrad:
    """Both pre-activations are one sum, so they share their gradient."""
    size = d_hidden.size(1)
    i, f, g, o = gates.split(size, dim=1)
    inner, *normalised = (cell,) if norm is None else norm.forward(cell)
    tanh_cell = tanh(inner)
    d_inner = torch.ops.aten.tanh_backward(d_hidden * o, tanh_cell)
    d_cell = d_cell + (d_inner if norm is None else norm.backward(d_inner, *normalised))
    d_preact = torch.empty_like(gates)
    d_i, d_f, d_g, d_o = d_preact.split(size, dim=1)
    sigmoid_backward(d_cell * g, i, grad_input=d_i)
    sigmoid_backward(d_cell * cell_prev, f, grad_input=d_f)
    activations.tanh_backward(d_cell * i, g, grad_input=d_g)
    sigmoid_backward(tanh_cell.mul_(d_hidden), o, grad_input=d_o)
    return CellGrad(d_preact, d_preact, None, d_cell * f)


ADDITIVE = ("tanh", "lstm")
"""Cells that see the two pre-activations only as their sum, which the caller forms: `h_preact` is then None."""

FORWARD = {"tanh": tanh_forward, "gru": gru_forward, "lstm": lstm_forward}
BACKWARD = {"tanh": tanh_backward, "gru": gru_backward, "lstm": lstm_backward}
