"""A linear layer whose weights are cast and laid out once a search, not at every step of it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..ops.products import differentiable_linear, pack


def cast(x: Tensor | None) -> Tensor | None:
    """`x` in the dtype of the active autocast, or as it is where none is active."""
    if x is None or not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))


class WeightCache(nn.Module):
    """Keeps what was made of parameters, casts and layouts, while they cannot change: in evaluation without gradients.

    It is dropped whenever the module that holds it changes between training and evaluation, so that no value outlives
    an update. It has no parameters, and leaves no trace in checkpoints and copies.
    """

    def __init__(self):
        super().__init__()
        self.entry = None, None

    def train(self, mode: bool = True):
        self.entry = None, None
        return super().train(mode)

    def __getstate__(self) -> dict:
        return dict(vars(self), entry=(None, None))

    @property
    def active(self) -> bool:
        """Whether anything is kept now."""
        return not self.training and not torch.is_grad_enabled()

    def forward(self, make: Callable[[], object], *parameters: Tensor):
        """What `make` gives for the parameters' present values."""
        if not self.active:
            return make()
        device = parameters[0].device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        values = [(parameter.data_ptr(), parameter._version, parameter.dtype) for parameter in parameters], dtype
        known, made = self.entry
        if known != values:
            made = make()
            self.entry = values, made
        return made

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x weight^T + bias in the dtype of the active autocast.

        Args:
            x: (..., K).
            weight: (N, K), the parameter that this cache is for.   bias: (N,) or None.

        Returns:
            (..., N).
        """
        ready = self(lambda: pack(cast(weight)), weight) if self.active else cast(weight)
        return differentiable_linear(x.to(ready.dtype), ready, cast(bias))


class Linear(nn.Linear):
    """`torch.nn.Linear` in the fastest exact product at hand, with a `WeightCache`."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        self.cache = WeightCache()

    def forward(self, x: Tensor) -> Tensor:
        return self.cache.linear(x, self.weight, self.bias)
