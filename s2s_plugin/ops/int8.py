"""Matrix products in eight bits, for translating with a finished model on a CPU.

A row of a weight, and a row of what it is multiplied with, are whole numbers from -127 to 127 times a factor of the
row's own: w = s_w q_w with s_w = max |w| / 127, so that the product is s_x s_w sum_k q_x q_w, whose sum is exact. The
factor of an input row is found as it comes (dynamic quantisation); since it is the row's own, no other row of a batch
changes a result. oneDNN's kernel, the one that torch's compiler and torchao call, multiplies; where a build of torch
lacks it, float64 does, slower and with the same sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 127
SCALE = ".int8_scale"
"""After the name of a stored matrix, the name of its factors."""
_ACTIVE = ContextVar("int8", default=False)
_PACKED_FOR_ROWS = 64


class Int8Weight(NamedTuple):
    """A matrix (N, K) in eight bits.

    Attributes:
        rows: q_w, as the kernel wants them; (N, K) int8 where there is no kernel.
        scale: (N,), s_w.
        zero_point: (N,) of zeros, which the kernel asks for.
        has_kernel: whether `rows` is for the kernel.
    """

    rows: Tensor
    scale: Tensor
    zero_point: Tensor
    has_kernel: bool


@contextmanager
def products_in_int8() -> Iterator[None]:
    """Context in which `products.pack` makes weights of eight bits, and no autocast of the caller's reaches."""
    token = _ACTIVE.set(True)
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        _ACTIVE.reset(token)


def active() -> bool:
    """Whether `products_in_int8` holds here."""
    return _ACTIVE.get()


def rounded_up(rows: int) -> int:
    """A number of rows, two or at most an eighth more than given, of which there are few different ones.

    oneDNN spends about a millisecond on the first product of each shape, and a search has fewer and fewer rows; in
    float32, where a product takes longer, the added rows cost as much. One becomes two: with one row the kernel of
    eight bits lays a large weight out anew at every call.
    """
    step = 1 if rows <= 8 else 1 << (rows.bit_length() - 3)
    return max(2, -(-rows // step) * step)


def with_rows_rounded_up(x: Tensor) -> Tensor:
    """x (R, K), with rows of zeros after its own; see `rounded_up`."""
    missing = rounded_up(len(x)) - len(x)
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (R, K) in eight bits: q (R, K) int8 and s (R, 1), x = s q to rounding. A row of zeros has q = 0."""
    largest = torch.maximum(x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True).neg_())
    scale = largest.clamp_(min=torch.finfo(x.dtype).tiny * LARGEST).div_(LARGEST)
    return (x / scale).round_().to(torch.int8), scale


@cache
def _kernel_is_right() -> bool:
    """Whether this build of torch has oneDNN's product of eight bits, for signed numbers, and its sums are exact here.

    Versions differ in the first, and CPUs without VNNI instructions in the second: there pairs of products are cut off
    at 16 bits.
    """
    try:
        x = torch.full((2, 64), LARGEST, dtype=torch.int8) * torch.tensor([[1], [-1]], dtype=torch.int8)
        weight = torch.full((3, 64), LARGEST, dtype=torch.int8)
        weight[1], weight[2, ::2] = -LARGEST, 1
        packed = torch.ops.onednn.qlinear_prepack(weight, [2, 64])
        found = _multiply(x, packed, torch.ones(3), torch.zeros(3, dtype=torch.int32))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, x.float() @ weight.float().t())


def _multiply(rows: Tensor, packed: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, 0, packed, scale, zero_point, None, 1.0, 0, torch.float32, "none", [], ""
    )


def has_kernel() -> bool:
    """Whether oneDNN's product of eight bits is there and may be used."""
    return torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled() and _kernel_is_right()


def pack(weight: Tensor) -> Int8Weight:
    """Args: weight (N, K)."""
    rows, scale = quantize_rows(weight.detach().float().contiguous())
    kernel = has_kernel()
    if kernel:
        rows = torch.ops.onednn.qlinear_prepack(rows, [_PACKED_FOR_ROWS, weight.size(1)])
    return Int8Weight(rows, scale.squeeze(1), torch.zeros(len(scale), dtype=torch.int32), kernel)


def linear(x: Tensor, weight: Int8Weight, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """x weight^T + bias + add.

    Args:
        x: (R, K).   bias: (N,).   add: (R, N).

    Returns:
        (R, N) float32.
    """
    rows, scale = quantize_rows(x.float())
    if not weight.has_kernel:
        y = (rows.double() @ weight.rows.double().t()).mul_(weight.scale).float()
    else:
        y = _multiply(with_rows_rounded_up(rows), weight.rows, weight.scale, weight.zero_point)[: len(x)]
    terms = [term.to(y.dtype) for term in (add, bias) if term is not None]
    if not terms:
        return y.mul_(scale)
    torch.addcmul(terms[0], y, scale, out=y)  # one pass
    return y if len(terms) == 1 else y.add_(terms[1])


def quantize_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's parameters with every matrix in eight bits: q (N, K) int8 under its name, s (N, 1) under name + SCALE.

    A parameter under two names stays one.
    """
    stored, done = {}, {}
    for name, tensor in state.items():
        if not (tensor.is_floating_point() and tensor.dim() == 2):
            stored[name] = tensor
            continue
        place = (tensor.data_ptr(), tensor.shape)
        if place not in done:
            done[place] = quantize_rows(tensor.float())
        stored[name], stored[name + SCALE] = done[place]
    return stored


def dequantize_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters in float32 again; others are left alone. Packing them in eight bits gives the same q and s.

    Raises ValueError for factors that are not one a row of a matrix.
    """
    scales = {name.removesuffix(SCALE): scale for name, scale in state.items() if name.endswith(SCALE)}
    for name, scale in scales.items():
        if name not in state or state[name].dim() != 2 or scale.shape != (len(state[name]), 1):
            raise ValueError(f"the factors of {name} are not one a row")
    return {
        name: tensor.float() * scales[name] if name in scales else tensor
        for name, tensor in state.items() if not name.endswith(SCALE)
    }  # fmt: skip
