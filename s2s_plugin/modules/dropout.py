"""Dropout that spends little on random numbers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.devices import on_cpu
from .cells import check_probabilities

LEVELS = 2**16


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with inverse scaling: y = x m / P(m = 1), m = 0 with probability p.

    On a CPU, drawing a number for every unit costs more than the layers around it. Here one random 64-bit integer
    decides on four units by 16 bits each, so p is rounded to a multiple of 2^-16; the mean stays exact. Elsewhere it is
    torch's.

    Args:
        p: probability of dropping a unit, 0 <= p < 1.
    """

    def __init__(self, p: float):
        super().__init__()
        check_probabilities(dropout=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Args: x of any shape. Returns y of that shape; x itself in evaluation."""
        if not self.training or self.p == 0.0:
            return x
        if not on_cpu(x):
            return F.dropout(x, self.p)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (draws >= dropped - LEVELS // 2).to(x.dtype)
        return x * kept.mul_(LEVELS / (LEVELS - dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
