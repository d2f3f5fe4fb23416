"""Dropout that spends little on random numbers; of single units, of units of a whole sentence, of words."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.devices import on_cpu
from .cells import check_probabilities

LEVELS = 2**16


def draw_keep(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
    """Factors that drop with probability p and keep the mean: 0, or 1 / P(kept).

    On a CPU, drawing a number for every unit costs more than the layers around it. Here one random 64-bit integer
    decides on four units by 16 bits each, so p is rounded to a multiple of 2^-16; the mean stays exact.

    Args:
        p: 0 < p < 1.   like: gives the device, and the dtype where it is floating-point.
    """
    dtype = like.dtype if like.is_floating_point() else torch.float32
    if not on_cpu(like):
        return F.dropout(torch.ones(shape, dtype=dtype, device=like.device), p)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    count = torch.Size(shape).numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[:count].view(shape)
    return (draws >= dropped - LEVELS // 2).to(dtype).mul_(LEVELS / (LEVELS - dropped))


class Dropout(nn.Module):
    """Dropout with inverse scaling (Srivastava et al. 2014): y = x m / P(m = 1), m = 0 with probability p.

    Args:
        p: probability of dropping a unit, 0 <= p < 1.
        shared_dim: None, or the dimension along which all positions share their mask: with that of time it is the
            variational dropout of Gal and Ghahramani (2016), with that of the units whole words are dropped.
    """

    def __init__(self, p: float, shared_dim: int | None = None):
        super().__init__()
        check_probabilities(dropout=p)
        self.p, self.shared_dim = p, shared_dim

    def forward(self, x: Tensor) -> Tensor:
        """Args: x of any shape. Returns y of that shape; x itself in evaluation."""
        if not self.training or self.p == 0.0:
            return x
        if self.shared_dim is None and not on_cpu(x):
            return F.dropout(x, self.p)
        shape = list(x.shape)
        if self.shared_dim is not None:
            shape[self.shared_dim] = 1
        return x * draw_keep(tuple(shape), self.p, x)

    def extra_repr(self) -> str:
        return f"p={self.p}, shared_dim={self.shared_dim}"
