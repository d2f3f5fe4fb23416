"""Recurrent layers without attention: torch.nn's where it has them, else a layer of our own on `ops.recurrence`."""

import torch
from torch import Tensor, nn

from ..ops.devices import cast, on_cpu
from ..ops.products import differentiable_linear
from ..ops.recurrence import recurrence
from ..ops.reference import Cell
from ..ops.steps import prepare_weights, recurrence_steps
from ..ops.traced import is_exporting
from .cells import CellKind, InputProjection, RecurrentCell, check_kind, init_hidden_side, init_uniform
from .dropout import draw_keep
from .linear import WeightCache


class RecurrentLayer(nn.Module):
    """One direction of a layer whose cells are normalised, have dropout on their state, or are several a step.

    Args:
        kind: what cells they are.   input_size: E.   hidden_size: H.
    """

    def __init__(self, kind: CellKind, input_size: int, hidden_size: int):
        super().__init__()
        check_kind(kind)
        self.kind, self.hidden_size = kind, hidden_size
        self.input_proj = InputProjection(kind=kind, input_size=input_size, hidden_size=hidden_size)
        self.cells = build_cells(kind, hidden_size, kind.transitions)
        self.cache = WeightCache()

    def weights(self) -> list[Cell]:
        """Of the cells of a step, as the functions of `ops` take them."""
        return [cell.weights() for cell in self.cells]

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor | None):
        """Args: x (T, B, E), hidden and cell (B, H). Returns the outputs (T, B, H), and the last hidden and cell."""
        x_preact = self.input_proj(x)
        if self.cache.keeps():
            weights = self.cache(lambda: prepare_weights(self.weights()), *self.cells.parameters())
            out = recurrence_steps(x_preact, hidden, cell, weights, self.kind.name)
        else:
            keep = draw_hidden_keep(self, self.kind, len(self.cells), hidden)
            out = recurrence(x_preact, hidden, cell, self.weights(), self.kind.name, hidden_keep=keep)
        return out.hidden, (out.last_hidden, out.cell)


def build_cells(kind: CellKind, hidden_size: int, count: int) -> nn.ModuleList:
    """The cells of a step, of which the first reads the words."""
    return nn.ModuleList(
        RecurrentCell(kind=kind, hidden_size=hidden_size, has_input=index == 0) for index in range(count)
    )


def draw_hidden_keep(module: nn.Module, kind: CellKind, cells: int, hidden: Tensor) -> Tensor | None:
    """Factors (K, B, H) for a sentence's states, or None in evaluation. Args: hidden (B, H)."""
    if not module.training or kind.dropout == 0.0:
        return None
    return draw_keep((cells, *hidden.shape), kind.dropout, hidden)


def build_rnn(kind: CellKind, input_size: int, hidden_size: int) -> nn.Module:
    """One unidirectional layer, time first, for `run_rnn`.

    Raises:
        ValueError: what `check_kind` refuses.
    """
    check_kind(kind)
    if not kind.is_torchs:
        return RecurrentLayer(kind, input_size, hidden_size)
    if kind.name == "tanh":
        rnn = nn.RNN(input_size, hidden_size, nonlinearity="tanh")
    elif kind.name == "gru":
        rnn = nn.GRU(input_size, hidden_size)
    else:
        rnn = nn.LSTM(input_size, hidden_size)
    init_uniform(rnn)
    init_hidden_side(kind, rnn.weight_hh_l0, rnn.bias_hh_l0)
    return rnn


def run_rnn(layer: nn.Module, x: Tensor, hidden: Tensor, cell: Tensor | None):
    """Runs a layer of `build_rnn` from a state.

    Args:
        x: (T, B, E).   hidden: (B, H).   cell: (B, H) for an LSTM, else None.

    Returns:
        The outputs (T, B, H), and the pair of the last `hidden` and `cell`.
    """
    if isinstance(layer, RecurrentLayer):
        return layer(x, hidden, cell)
    if is_exporting():
        return _as_recurrence(layer, x, hidden, cell)
    if not isinstance(layer, nn.LSTM) and on_cpu(x) and torch.is_grad_enabled():
        # torch has a fused kernel for the LSTM alone, and its loop over the others is the slower one.
        return _as_recurrence(layer, x, hidden, cell)
    hidden = hidden.to(x.dtype).unsqueeze(0).contiguous()
    if cell is None:
        y, last = layer(x, hidden)
        return y, (last.squeeze(0), None)
    y, (last, last_cell) = layer(x, (hidden, cell.to(x.dtype).unsqueeze(0).contiguous()))
    return y, (last.squeeze(0), last_cell.squeeze(0))


def _as_recurrence(layer: nn.RNNBase, x: Tensor, hidden: Tensor, cell: Tensor | None):
    """As `run_rnn`, for a layer of torch.nn, whose cells those of `ops` are."""
    x, weight, bias = cast(x), cast(layer.weight_ih_l0), cast(layer.bias_ih_l0)
    cells = [Cell(layer.weight_hh_l0, layer.bias_hh_l0)]
    name = {"GRU": "gru", "LSTM": "lstm", "RNN_TANH": "tanh"}[layer.mode]
    out = recurrence(differentiable_linear(x, weight, bias), hidden, cell, cells, name)
    return out.hidden, (out.last_hidden, out.cell)


def zero_state(kind: CellKind, x: Tensor, hidden_size: int):
    """The state before a sequence x (T, B, E): hidden (B, H), and cell (B, H) or None."""
    hidden = torch.zeros(x.size(1), hidden_size, device=x.device)
    return hidden, torch.zeros_like(hidden) if kind.has_cell else None
