"""Matrix products in the fastest exact kernel at hand, for functions that form their gradients themselves.

On CPUs torch multiplies float32 matrices by the BLAS that it was built with. In the usual builds that is MKL, the best
there is on Intel's processors, which leaves half the vector width of other makers' unused. There oneDNN, which torch
carries as well and runs its recurrent layers on, uses all of it, in float32 (as long as nobody lowers
`torch.set_float32_matmul_precision`). The operators are those that torch.compile calls; where a build of torch lacks
them, or under `torch.backends.mkldnn.flags(enabled=False)`, torch.mm does the work.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import devices, int8
from .int8 import Int8Weight, rounded_up, with_rows_rounded_up


def _operator(name: str):
    """An operator of oneDNN by its name, or None where this build of torch has none."""
    return getattr(torch.ops.mkldnn, name, None) if torch.backends.mkldnn.is_available() else None


_ONEDNN_LINEAR = _operator("_linear_pointwise")
_ONEDNN_PACK = _operator("_reorder_linear_weight")
_ONEDNN_BFLOAT16 = _operator("_is_mkldnn_bf16_supported")


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware, as far as torch can tell."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)


_PACKED_FOR_ROWS = 64
"""The layout for so many rows served 5 to 320 rows as well as their own, where it was tried (AVX-512, two cores)."""


def blas_is_at_home() -> bool:
    """Whether torch's BLAS is MKL and the processor Intel's. The two are not timed: one that is chosen by a noisy clock
    would make a training another when it is run again."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            vendor = next((line for line in lines if line.startswith("vendor_id")), "")
    except OSError:  # another system
        return False
    return torch.backends.mkl.is_available() and "GenuineIntel" in vendor


_ONEDNN_DTYPES = set() if blas_is_at_home() else {torch.float32}
if cpu_has_bfloat16() and _ONEDNN_BFLOAT16 is not None and _ONEDNN_BFLOAT16():
    _ONEDNN_DTYPES.add(torch.bfloat16)


def uses_onednn(x: Tensor) -> bool:
    """Whether products with `x`, a matrix, are oneDNN's here; what is traced holds torch's own operators."""
    return x.dtype in _ONEDNN_DTYPES and devices.on_cpu(x) and x.numel() > 0 and has_onednn()


def has_onednn() -> bool:
    """Whether it can be called here and now."""
    return _ONEDNN_LINEAR is not None and torch._C._get_mkldnn_enabled() and not torch.compiler.is_compiling()


def pack(weight: Tensor) -> Tensor | Int8Weight:
    """`weight` (N, K) in the layout that `linear` reads fastest; for a weight that several products share.

    Returns:
        For `linear` alone: under `int8.products_in_int8` the weight in eight bits, else a tensor; `weight` itself where
        there is no better layout.
    """
    rows = int8.active()
    if rows is not None:
        return int8.pack(weight, rows)
    if not uses_onednn(weight):
        by_columns = weight.dtype == torch.float32 and devices.on_cpu(weight) and not torch.compiler.is_compiling()
        return weight.detach().t().contiguous().t() if by_columns else weight
    if _ONEDNN_PACK is None:
        return weight
    return _ONEDNN_PACK(weight.detach(), _PACKED_FOR_ROWS)


def _as_given(x: Tensor, weight: Tensor):
    """Context in which torch's products of two matrices of one dtype have that dtype, as oneDNN's have, and not that of
    an autocast."""
    if x.dtype == weight.dtype and devices.on_cpu(x) and torch.is_autocast_enabled("cpu"):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def linear(x: Tensor, weight: Tensor | Int8Weight, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """x weight^T + bias + add, without a record for autograd.

    Args:
        x: (R, K).   weight: (N, K), or what `pack` made of it.   bias: (N,).   add: (R, N).

    Returns:
        (R, N).
    """
    if isinstance(weight, Int8Weight):
        return int8.linear(x, weight, bias, add)
    if weight.is_mkldnn and weight.dtype == torch.bfloat16 and rounded_up(len(x)) > len(x):
        y = linear(with_rows_rounded_up(x), weight, bias)[: len(x)]
        return y if add is None else y.add_(add)
    if weight.is_mkldnn or (x.dtype == weight.dtype and uses_onednn(x)):
        if add is not None:
            return _ONEDNN_LINEAR.binary(x, add, weight, bias, "add")
        return _ONEDNN_LINEAR(x, weight, bias, "none", [], "")
    with _as_given(x, weight):
        if add is None:
            return torch.nn.functional.linear(x, weight, bias)
        y = torch.addmm(add, x, weight.t())
        return y if bias is None else y.add_(bias)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (R, K) times b (K, N), either of which may be a transposed view, without a record for autograd."""
    if not a.dtype == b.dtype == torch.float32 or not uses_onednn(a):
        with _as_given(a, b):
            return torch.mm(a if devices.on_cpu(a) or a.numel() >= b.numel() else a.contiguous(), b)
    # oneDNN's left factor has to lie row by row and is copied where it does not: let that be the smaller one.
    if a.stride(1) != 1 and a.numel() > b.numel():
        return _ONEDNN_LINEAR(b.t(), a, None, "none", [], "").t().contiguous()
    return _ONEDNN_LINEAR(a, b.t(), None, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        x, weight = ctx.saved_tensors
        d_y = d_y.contiguous()
        want_x, want_weight, want_bias = ctx.needs_input_grad
        return (
            matmul(d_y, weight) if want_x else None,
            matmul(d_y.t(), x) if want_weight else None,
            d_y.sum(dim=0) if want_bias else None,
        )


def differentiable_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear`, which can be differentiated once; in float32 on CPUs whatever an autocast says.

    Args:
        x: (..., K).   weight: (N, K); without gradients also what `pack` made of it.   bias: (N,) or None.

    Returns:
        (..., N).
    """
    is_packed = isinstance(weight, Int8Weight) or weight.is_mkldnn
    if not is_packed and not (x.dtype == weight.dtype == torch.float32 and devices.on_cpu(x) and has_onednn()):
        return torch.nn.functional.linear(x, weight, bias)
    rows = x.reshape(-1, x.size(-1))
    y = _Linear.apply(rows, weight, bias) if torch.is_grad_enabled() else linear(rows, weight, bias)
    return y.view(*x.shape[:-1], y.size(-1))
