"""What the kernels here ask of a device: whether it is a CPU, and in which dtype torch's autocast computes there."""

import torch
from torch import Tensor


def on_cpu(x: Tensor) -> bool:
    """Whether `x` lies on a CPU, where other ways are the fast ones than on a GPU, and nothing has to be waited for."""
    return x.device.type == "cpu"


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of the autocast that is active on the device of `x`, or None where none is."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def cast(x: Tensor) -> Tensor:
    """`x` in the dtype of the active autocast, or as it is where none is active."""
    dtype = autocast_dtype(x)
    return x if dtype is None else x.to(dtype)
