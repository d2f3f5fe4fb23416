"""The one question that the kernels here ask of a device."""

from torch import Tensor


def on_cpu(x: Tensor) -> bool:
    """Whether `x` lies on a CPU, where other ways are the fast ones than on a GPU, and nothing has to be waited for."""
    return x.device.type == "cpu"
