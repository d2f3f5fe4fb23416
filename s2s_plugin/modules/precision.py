"""The arithmetic of the model: float32; bfloat16 with float32 parameters; int8 to translate with a finished model."""

import warnings
from contextlib import nullcontext

import torch

from ..ops.int8 import has_kernel, products_in_int8
from ..ops.products import cpu_has_bfloat16

COMPUTE_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "int8": torch.int8}


def check_compute_dtype(name: str) -> None:
    """Raises ValueError unless `name` is one of `COMPUTE_DTYPES`; warns where the CPU lacks its instructions."""
    if name not in COMPUTE_DTYPES:
        raise ValueError(f"unknown compute dtype {name!r}: choose from {', '.join(COMPUTE_DTYPES)}")
    if name == "bfloat16" and not torch.cuda.is_available() and not cpu_has_bfloat16():
        warnings.warn(
            "--compute-dtype bfloat16: this CPU has no bfloat16 instructions (AVX-512 BF16 or AMX); "
            "float32 is faster here",
            stacklevel=2,
        )
    if name == "int8" and not has_kernel():
        warnings.warn(
            "--compute-dtype int8: this CPU or this build of PyTorch has no exact product of eight bits; float32 is "
            "faster here",
            stacklevel=2,
        )


def compute_in(name: str, device: torch.device):
    """Context in which matrix products run in the named dtype; nested in an autocast of the caller, that one rules, but
    over `int8`.

    Args:
        name: of `COMPUTE_DTYPES`.
        device: of the tensors.

    Raises:
        ValueError: `int8` where gradients are wanted, or off the CPU.
    """
    dtype = COMPUTE_DTYPES[name]
    if dtype is torch.int8:
        if torch.compiler.is_compiling():
            raise ValueError("--compute-dtype int8 cannot be exported: take float32 or bfloat16")
        if torch.is_grad_enabled():
            raise ValueError("--compute-dtype int8 is for translating: train in float32 or bfloat16")
        if device.type != "cpu":
            raise ValueError(f"--compute-dtype int8 is for CPUs, not {device.type}: take float32 or bfloat16")
        return products_in_int8()
    if dtype is None or torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
