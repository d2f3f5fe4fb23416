"""Recurrent cells by the name of their kind: their parameters, and the initialisation that all layers share."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.reference import GATES, Cell, check_cell, layer_norm
from .linear import Linear

INIT_RANGE = 0.1
"""Weights and biases start uniform in [-0.1, 0.1], as in fairseq's `lstm`."""

HIDDEN_INITS = ("uniform", "orthogonal")


class CellKind(NamedTuple):
    """What the cells of a layer are; checked by `check_kind`.

    Attributes:
        name: `tanh`, `gru` or `lstm`.
        layer_norm: every product that enters a cell is normalised gate by gate, and an LSTM's cell state before its
            tanh (Ba, Kiros and Hinton 2016, eq. 20 to 22).
        dropout: probability of dropping a unit of the state before the cell's matrix, the same units at every step of a
            sentence (Gal and Ghahramani 2016, eq. 7).
        transitions: cells of a step; those after the first read no word (Miceli Barone et al. 2017, sec. 2.3).
        hidden_init: `uniform`, or `orthogonal` for each gate's block of W_h (Saxe, McClelland and Ganguli 2014).
        forget_bias: added to the bias of an LSTM's forget gate at the start (Jozefowicz, Zaremba and Sutskever 2015).
    """

    name: str
    layer_norm: bool = False
    dropout: float = 0.0
    transitions: int = 1
    hidden_init: str = "uniform"
    forget_bias: float = 0.0

    @property
    def has_cell(self) -> bool:
        """Whether there is a cell state beside the hidden one."""
        return self.name == "lstm"

    @property
    def is_torchs(self) -> bool:
        """Whether torch.nn has such a layer."""
        return not self.layer_norm and self.dropout == 0.0 and self.transitions == 1


def check_kind(kind: CellKind) -> None:
    """Raises ValueError for an unknown name, a dropout outside [0, 1), transitions below 1, or a forget gate's bias for
    a cell that has no such gate."""
    check_cell(kind.name)
    check_probabilities(dropout=kind.dropout)
    check_sizes(transitions=kind.transitions)
    if kind.hidden_init not in HIDDEN_INITS:
        raise ValueError(f"unknown initialisation {kind.hidden_init!r}: choose from {', '.join(HIDDEN_INITS)}")
    if kind.forget_bias and not kind.has_cell:
        raise ValueError(f"forget_bias {kind.forget_bias} is for lstm: a {kind.name} has no forget gate")


def init_uniform(module: nn.Module) -> nn.Module:
    """Draws every parameter of `module` from [-INIT_RANGE, INIT_RANGE]; returns the module."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -INIT_RANGE, INIT_RANGE)
    return module


@torch.no_grad()
def init_hidden_side(kind: CellKind, weight: Tensor, bias: Tensor) -> None:
    """Initialises what a cell does with its state, after `init_uniform`. Args: weight (G*H, H), bias (G*H,)."""
    if kind.hidden_init == "orthogonal":
        for block in weight.chunk(GATES[kind.name]):
            nn.init.orthogonal_(block)
    if kind.forget_bias:
        bias.chunk(GATES[kind.name])[1].add_(kind.forget_bias)


def gate_width(kind: CellKind, hidden_size: int) -> int:
    """G*H, the width of the pre-activations. Raises ValueError for an unknown cell."""
    check_cell(kind.name)
    return GATES[kind.name] * hidden_size


class RecurrentCell(nn.Module):
    """Parameters of one cell of a step, for `ops.recurrence`.

    Args:
        kind: what cell it is.   hidden_size: H.
        has_input: whether the step's words enter here; else a bias stands for them.
    """

    def __init__(self, *, kind: CellKind, hidden_size: int, has_input: bool):
        super().__init__()
        check_kind(kind)
        width = gate_width(kind, hidden_size)
        self.hidden_proj = init_uniform(Linear(hidden_size, width))
        init_hidden_side(kind, self.hidden_proj.weight, self.hidden_proj.bias)
        self.input_bias = None if has_input else nn.Parameter(torch.zeros(width))
        self.hidden_gain = nn.Parameter(torch.ones(width)) if kind.layer_norm else None
        normalises_cell = kind.layer_norm and kind.has_cell
        self.cell_gain = nn.Parameter(torch.ones(hidden_size)) if normalises_cell else None
        self.cell_bias = nn.Parameter(torch.zeros(hidden_size)) if normalises_cell else None

    def weights(self) -> Cell:
        """As the functions of `ops` take them."""
        return Cell(
            self.hidden_proj.weight, self.hidden_proj.bias, self.input_bias, self.hidden_gain, self.cell_gain,
            self.cell_bias,
        )  # fmt: skip


class InputProjection(Linear):
    """The part of a cell's pre-activations that needs no recurrence: W_x x + b, or LN(W_x x) + b.

    Args:
        kind: what cell it is.   input_size: E.   hidden_size: H.
    """

    def __init__(self, *, kind: CellKind, input_size: int, hidden_size: int):
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        width = gate_width(kind, hidden_size)
        super().__init__(input_size, width)
        init_uniform(self)
        self.gain = nn.Parameter(torch.ones(width)) if kind.layer_norm else None
        self.hidden_size = hidden_size

    def forward(self, x: Tensor) -> Tensor:
        """Args: x (T, B, E). Returns (T, B, G*H)."""
        if self.gain is None:
            return super().forward(x)
        product = self.cache.linear(x, self.weight)
        return layer_norm(product, self.gain, self.bias, self.hidden_size).to(product.dtype)


def check_sizes(**sizes: int) -> None:
    """Raises ValueError naming the first size that is not a positive whole number."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a positive whole number, not {size!r}")


def check_probabilities(**probabilities: float) -> None:
    """Raises ValueError naming the first dropout outside [0, 1)."""
    for name, p in probabilities.items():
        if not 0.0 <= p < 1.0:
            raise ValueError(f"{name} must be at least 0 and below 1, not {p!r}")
