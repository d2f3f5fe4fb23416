"""The arithmetic of the model: float32; bfloat16 with float32 parameters; int8 to translate with a finished model."""

import warnings
from contextlib import nullcontext
from functools import cache

import torch

from ..ops.arithmetic import bfloat16_is_faster, int8_rows
from ..ops.int8 import products_in_int8

COMPUTE_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "int8": torch.int8}


def check_compute_dtype(name: str) -> None:
    """Raises ValueError unless `name` is one of `COMPUTE_DTYPES`; warns where the CPU is slower in bfloat16."""
    if name not in COMPUTE_DTYPES:
        raise ValueError(f"unknown compute dtype {name!r}: choose from {', '.join(COMPUTE_DTYPES)}")
    if name == "bfloat16" and not torch.cuda.is_available() and not bfloat16_is_faster():
        warnings.warn("--compute-dtype bfloat16: products in float32 are faster on this CPU", stacklevel=2)


@cache
def _warn_of_float32() -> None:
    warnings.warn(
        "--compute-dtype int8: on this CPU, or in this build of PyTorch, no product of eight bits is exact and as fast "
        "as float32; the model computes in float32",
        stacklevel=3,
    )


def compute_in(name: str, device: torch.device):
    """Context in which matrix products run in the named dtype; nested in an autocast of the caller, that one rules, but
    over `int8`. Where products of eight bits are slower, `int8` means float32, and a warning says so once.

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
        rows = int8_rows()
        if rows is None:
            _warn_of_float32()
        return products_in_int8(rows)
    if dtype is None or torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
