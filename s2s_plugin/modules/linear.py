"""A linear layer whose weights are cast to the dtype of torch's autocast once, not at every step of a search."""

import torch
from torch import Tensor, nn

from ..ops.products import differentiable_linear


class AutocastCache(nn.Module):
    """Gives parameters in the dtype of the active autocast; in evaluation without gradients each is cast only once.

    What it keeps is dropped whenever the module that holds it changes between training and evaluation, so that no
    value outlives an update. It has no parameters and leaves no trace in checkpoints.
    """

    def __init__(self):
        super().__init__()
        self.entries = {}

    def train(self, mode: bool = True):
        self.entries.clear()
        return super().train(mode)

    def forward(self, name: str, parameter: Tensor) -> Tensor:
        """`parameter` as autocast wants it, or as it is where none is active. `name` tells parameters apart."""
        device = parameter.device.type
        if not torch.is_autocast_enabled(device):
            return parameter
        dtype = torch.get_autocast_dtype(device)
        if self.training or torch.is_grad_enabled():
            return parameter.to(dtype)
        value = parameter.data_ptr(), parameter._version, dtype
        known, cast = self.entries.get(name, (None, None))
        if known != value:
            cast = parameter.detach().to(dtype)
            self.entries[name] = value, cast
        return cast


class Linear(nn.Linear):
    """`torch.nn.Linear` that keeps its cast weights; `cast_weight` and `cast_bias` are for functions that take them."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        self.cast = AutocastCache()

    @property
    def cast_weight(self) -> Tensor:
        """(out_features, in_features) in the dtype of the active autocast."""
        return self.cast("weight", self.weight)

    @property
    def cast_bias(self) -> Tensor | None:
        """(out_features,) in the dtype of the active autocast."""
        return None if self.bias is None else self.cast("bias", self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return differentiable_linear(x, self.cast_weight, self.cast_bias)
