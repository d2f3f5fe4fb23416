"""tanh where it is slow, and gradients of tanh and sigmoid into a buffer.

On CPUs torch's tanh takes up to ten times as long as its sigmoid, whose vector code is its own. tanh(x) =
2 sigmoid(2x) - 1 costs an absolute error of three float32 roundings of 1.
"""

import torch
from torch import Tensor

from . import devices

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input
"""Gradients in terms of the function's value, (d_y, y, grad_input=buffer)."""


def tanh_(x: Tensor) -> Tensor:
    """tanh(x) in place of x."""
    if not devices.on_cpu(x):
        return x.tanh_()
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def tanh(x: Tensor) -> Tensor:
    """tanh(x); not differentiable by autograd."""
    if not devices.on_cpu(x):
        return torch.tanh(x)
    return torch.mul(x, 2).sigmoid_().mul_(2).sub_(1)
