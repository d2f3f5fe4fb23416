"""Whether the next word is generated or copied."""

import torch
from torch import Tensor, nn

from ..ops.devices import cast
from .cells import check_sizes, init_uniform
from .linear import Linear


class Pointer(nn.Module):
    """p_gen = sigmoid(w . [hidden; context; embedding] + b) (See, Liu and Manning 2017, eq. 8).

    Args:
        input_size: width of the three together.
    """

    def __init__(self, *, input_size: int):
        super().__init__()
        check_sizes(input_size=input_size)
        self.proj = init_uniform(Linear(input_size, 1))

    def forward(self, *parts: Tensor) -> Tensor:
        """Args: tensors (..., width). Returns the logit of p_gen, (...)."""
        return self.proj(torch.cat([cast(part) for part in parts], dim=-1)).squeeze(-1)
