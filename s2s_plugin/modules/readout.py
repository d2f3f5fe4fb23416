"""From the decoder's state to the features of the output projection."""

import torch
from torch import Tensor, nn

from ..ops.devices import cast
from .cells import check_sizes, init_uniform
from .linear import Linear

READOUTS = ("linear", "tanh", "maxout")


def check_readout(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `READOUTS`."""
    if kind not in READOUTS:
        raise ValueError(f"unknown readout {kind!r}: choose from {', '.join(READOUTS)}")


class Readout(nn.Module):
    """f(W [hidden; context; embedding] + b), the deep output of Bahdanau, Cho and Bengio (2015, A.2.2).

    f is the identity (`linear`), `tanh` (Nematus, Sennrich et al. 2017, eq. 5), or the larger of two neighbours
    (`maxout`, that of the 2015 paper; Goodfellow et al. 2013), for which W has twice the rows.

    Args:
        kind: `linear`, `tanh` or `maxout`.
        input_size: width of the three together.
        output_size: width of the features.
    """

    def __init__(self, *, kind: str, input_size: int, output_size: int):
        super().__init__()
        check_readout(kind)
        check_sizes(input_size=input_size, output_size=output_size)
        self.kind = kind
        self.proj = init_uniform(Linear(input_size, output_size * (2 if kind == "maxout" else 1)))

    def forward(self, *parts: Tensor) -> Tensor:
        """Args: tensors (..., width). Returns features (..., output_size)."""
        y = self.proj(torch.cat([cast(part) for part in parts], dim=-1))
        if self.kind == "tanh":
            return torch.tanh(y)
        return y.unflatten(-1, (-1, 2)).amax(dim=-1) if self.kind == "maxout" else y
