"""From the decoder's state to the features of the output projection."""

import torch
from torch import Tensor, nn

from ..ops.devices import cast
from .cells import check_sizes, init_uniform
from .linear import Linear


class Readout(nn.Module):
    """tanh(W [hidden; context; embedding] + b), after the deep output of Bahdanau, Cho and Bengio (2015, A.2.2).

    Args:
        input_size: width of the three together.
        output_size: width of the features.
    """

    def __init__(self, *, input_size: int, output_size: int):
        super().__init__()
        check_sizes(input_size=input_size, output_size=output_size)
        self.proj = init_uniform(Linear(input_size, output_size))

    def forward(self, *parts: Tensor) -> Tensor:
        """Args: tensors (..., width). Returns features (..., output_size)."""
        return torch.tanh(self.proj(torch.cat([cast(part) for part in parts], dim=-1)))
