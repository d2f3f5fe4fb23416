"""A linear layer whose weights are cast and laid out once a search, not at every step of it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..ops import int8
from ..ops.devices import autocast_dtype, cast
from ..ops.int8 import Int8Weight
from ..ops.products import differentiable_linear, pack


class WeightCache(nn.Module):
    """Keeps what was made of parameters, casts and layouts, from step to step of a search: a second copy of them.

    It keeps nothing in training and forgets at every call with gradients and every change between training and
    evaluation, so that an optimiser's update is seen; only values written past torch's own count (`p.data.mul_()`),
    between two calls without gradients, are not. It has no parameters, and leaves no trace in checkpoints and copies.
    """

    def __init__(self):
        super().__init__()
        self.entry = None

    def train(self, mode: bool = True):
        if mode or self.training:  # fairseq's search says eval() at every batch
            self.entry = None
        return super().train(mode)

    def __getstate__(self) -> dict:
        return dict(vars(self), entry=None)

    def keeps(self) -> bool:
        """Whether a call now would keep what it makes; if gradients are wanted, it forgets what it has."""
        if torch.compiler.is_compiling():
            return False
        if self.training or torch.is_grad_enabled():
            self.entry = None
            return False
        return True

    def forward(self, make: Callable[[], object], *parameters: Tensor):
        """What `make` gives for the parameters' present values; to be called where it `keeps`."""
        if any(parameter.is_inference() for parameter in parameters):
            return make()  # torch does not count their changes
        values = [(parameter.data_ptr(), parameter._version, parameter.dtype) for parameter in parameters]
        values.append(int8.active() or autocast_dtype(parameters[0]))
        if self.entry is None or self.entry[0] != values:
            # The aliases hold the memory, so that no other tensor can come to lie at the address.
            self.entry = values, make(), [parameter.detach() for parameter in parameters]
        return self.entry[1]

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x weight^T + bias in the dtype of the active autocast, or in the weight's where that has 16 bits.

        Args:
            x: (..., K).
            weight: (N, K), the parameter that this cache is for.   bias: (N,) or None.

        Returns:
            (..., N).
        """
        ready = self(lambda: pack(cast(weight)), weight) if self.keeps() else cast(weight)
        return ready_linear(x, ready, None if bias is None else cast(bias))


def ready_linear(x: Tensor, ready: Tensor | Int8Weight, bias: Tensor | None) -> Tensor:
    """x weight^T + bias (..., N) with a weight that is cast, and perhaps packed. Args: x (..., K), bias (N,), cast."""
    if isinstance(ready, Tensor) and ready.dtype.itemsize == 2:
        x = x.to(ready.dtype)
    return differentiable_linear(x, ready, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` in the fastest exact product at hand, with a `WeightCache`."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        self.cache = WeightCache()

    def forward(self, x: Tensor) -> Tensor:
        return self.cache.linear(x, self.weight, self.bias)
