"""Reordering the time steps of each row by a permutation, whose gradient is the inverse reordering.

Autograd's own gradient of an indexed read is a scatter with accumulation, which is slow and, on a GPU, not
deterministic; a permutation needs neither.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .traced import is_exporting


def _read(x: Tensor, index: Tensor) -> Tensor:
    batch, steps = index.shape
    flat = index + torch.arange(batch, device=index.device).unsqueeze(1) * steps
    return x.reshape(batch * steps, -1).index_select(0, flat.view(-1)).view(batch, steps, -1)


class _PermuteTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, index, inverse):
        ctx.save_for_backward(inverse)
        return _read(x, index)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        (inverse,) = ctx.saved_tensors
        return _read(d_y, inverse), None, None


def permute_time(x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """y[b, s] = x[b, index[b, s]].

    Args:
        x: (B, S, D).
        index: (B, S) int64, each row a permutation of 0 to S-1.
        inverse: (B, S) int64, the inverse permutations.

    Returns:
        (B, S, D).
    """
    return _read(x, index) if is_exporting() else _PermuteTime.apply(x, index, inverse)
