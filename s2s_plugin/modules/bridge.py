"""The decoder's first state, made from what the encoder read."""

import torch
from torch import Tensor, nn

from .cells import check_sizes, init_uniform
from .encoder import EncoderState
from .linear import Linear

BRIDGES = ("zero", "last", "mean")


def check_bridge(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `BRIDGES`."""
    if kind not in BRIDGES:
        raise ValueError(f"unknown bridge {kind!r}: choose from {', '.join(BRIDGES)}")


class Bridge(nn.Module):
    """Initial state of every decoder layer: h = tanh(W_h x + b_h); for an LSTM also cell = W_c x + b_c.

    x is the encoder's last states (`last`; Bahdanau, Cho and Bengio 2015, A.2.2, use the backward one), the mean of
    memory over the real positions (`mean`; Nematus, Sennrich et al. 2017, eq. 1), or nothing: `zero` starts from
    zeros and has no parameters.

    Args:
        kind: `zero`, `last` or `mean`.
        memory_size: M.   hidden_size: H.   num_layers: L of the decoder.
        has_cell: whether the decoder's cell is an LSTM.
    """

    def __init__(self, *, kind: str, memory_size: int, hidden_size: int, num_layers: int, has_cell: bool):
        super().__init__()
        check_bridge(kind)
        check_sizes(memory_size=memory_size, hidden_size=hidden_size, num_layers=num_layers)
        self.kind, self.shape, self.has_cell = kind, (num_layers, hidden_size), has_cell
        width = num_layers * hidden_size
        self.hidden_proj = None if kind == "zero" else init_uniform(Linear(memory_size, width))
        self.cell_proj = None if kind == "zero" or not has_cell else init_uniform(Linear(memory_size, width))

    def forward(self, state: EncoderState):
        """Returns hidden (L, B, H) and cell (L, B, H), the latter None without an LSTM."""
        layers, size = self.shape
        if self.kind == "zero":
            hidden = state.memory.new_zeros(layers, state.memory.size(0), size)
            return hidden, torch.zeros_like(hidden) if self.has_cell else None
        x = state.last
        if self.kind == "mean":
            lengths = (~state.padding_mask).sum(dim=1, keepdim=True).clamp_(min=1)
            x = state.memory.sum(dim=1) / lengths

        def split(y: Tensor) -> Tensor:
            return y.view(-1, layers, size).transpose(0, 1).contiguous()

        return split(torch.tanh(self.hidden_proj(x))), split(self.cell_proj(x)) if self.has_cell else None
