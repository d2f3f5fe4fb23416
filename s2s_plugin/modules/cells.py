"""Recurrent layers by the name of their cell, and the initialisation that all of them share."""

from torch import Tensor, nn

from ..ops.reference import GATES, check_cell

INIT_RANGE = 0.1
"""Weights and biases start uniform in [-0.1, 0.1], as in fairseq's `lstm`."""


def init_uniform(module: nn.Module) -> nn.Module:
    """Draws every parameter of `module` from [-INIT_RANGE, INIT_RANGE]; returns the module."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -INIT_RANGE, INIT_RANGE)
    return module


def gate_width(cell: str, hidden_size: int) -> int:
    """G*H, the width of the pre-activations. Raises ValueError for an unknown cell."""
    check_cell(cell)
    return GATES[cell] * hidden_size


def build_rnn(cell: str, input_size: int, hidden_size: int) -> nn.RNNBase:
    """One unidirectional torch.nn layer of the named cell, time first, so that the fused kernels serve it.

    Raises:
        ValueError: unknown `cell`.
    """
    check_cell(cell)
    if cell == "tanh":
        rnn = nn.RNN(input_size, hidden_size, nonlinearity="tanh")
    elif cell == "gru":
        rnn = nn.GRU(input_size, hidden_size)
    else:
        rnn = nn.LSTM(input_size, hidden_size)
    return init_uniform(rnn)


def run_rnn(layer: nn.RNNBase, x: Tensor, hidden: Tensor, cell: Tensor | None):
    """Runs a layer of `build_rnn` from a state.

    Args:
        x: (T, B, E).   hidden: (B, H).   cell: (B, H) for an LSTM, else None.

    Returns:
        The outputs (T, B, H), and the pair of the last `hidden` and `cell`.
    """
    hidden = hidden.to(x.dtype).unsqueeze(0).contiguous()
    if cell is None:
        y, last = layer(x, hidden)
        return y, (last.squeeze(0), None)
    y, (last, last_cell) = layer(x, (hidden, cell.to(x.dtype).unsqueeze(0).contiguous()))
    return y, (last.squeeze(0), last_cell.squeeze(0))


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
