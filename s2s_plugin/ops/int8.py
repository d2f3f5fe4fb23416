"""Matrix products in eight bits, for translating with a finished model on a CPU.

A row of a weight, and a row of what it is multiplied with, are whole numbers times a factor of the row's own:
w = s_w q_w with s_w = max |w| / 127, so that the product is s_x s_w sum_k q_x q_w, whose sum is exact. The factor of an
input row is found as it comes (dynamic quantisation); since it is the row's own, no other row of a batch changes a
result. oneDNN's kernel, the one that torch's compiler and torchao call, multiplies.

Input rows go there as unsigned bytes, q_x + zero point: for signed ones oneDNN has a kernel on CPUs with AMX alone. On
CPUs with VNNI instructions q_x is from -127 to 127. On others the kernel adds pairs of products in 16 bits, where
2 * 255 * 127 is cut off: q_x is from -63 to 63, and 2 * 127 * 127 fits. `arithmetic.py` tries which is right here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 127
SCALE = ".int8_scale"
"""After the name of a stored matrix, the name of its factors."""
_PACKED_FOR_ROWS = 64


class Rows(NamedTuple):
    """How an input row is written.

    Attributes:
        largest: of |q_x|.
        zero_point: what is added to q_x.
    """

    largest: int
    zero_point: int


EIGHT_BITS, SEVEN_BITS = Rows(127, 128), Rows(63, 64)
_ACTIVE: ContextVar[Rows | None] = ContextVar("int8", default=None)


class Int8Weight(NamedTuple):
    """A matrix (N, K) in eight bits.

    Attributes:
        packed: q_w, as the kernel wants them.
        scale: (N,), s_w / rows.largest.
        zero_point: (N,) of zeros, which the kernel asks for.
        offset: (K,), what rounds input rows: see `unsigned_rows`.
        rows: how what it is multiplied with is written.
    """

    packed: Tensor
    scale: Tensor
    zero_point: Tensor
    offset: Tensor
    rows: Rows


@contextmanager
def products_in_int8(rows: Rows | None) -> Iterator[None]:
    """Context in which `products.pack` makes weights of eight bits, and no autocast of the caller's reaches.

    Args:
        rows: how input rows are written; None: the products stay in float32.
    """
    token = _ACTIVE.set(rows)
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        _ACTIVE.reset(token)


def active() -> Rows | None:
    """How input rows are written where `products_in_int8` holds, else None."""
    return _ACTIVE.get()


def rounded_up(rows: int) -> int:
    """A number of rows, two or at most an eighth more than given, of which there are few different ones.

    oneDNN spends about a millisecond on the first product of each shape, and a search has fewer and fewer rows; in
    float32, where a product takes longer, the added rows cost as much. One becomes two: with one row the kernel of
    eight bits lays a large weight out anew at every call.
    """
    step = 1 if rows <= 16 else 1 << (rows.bit_length() - 4)
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


def unsigned_rows(x: Tensor, offset: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """x (R, K) as unsigned bytes.

    Args:
        x: (R, K) float32.
        offset: (K,) of 1.5 * 2^23 + rows.zero_point. Numbers of this size are 1 apart in float32: adding it rounds,
            ties to even, and the lowest byte of the result is q_x + rows.zero_point. That takes half the passes of
            rounding, casting and adding.

    Returns:
        q_x + rows.zero_point (R, K) uint8, and max |x| (R, 1), so that x = q_x max |x| / rows.largest to rounding.
    """
    largest = x.abs().amax(dim=1, keepdim=True)
    # Of a row of zeros the bytes are any, and their sum is multiplied with 0.
    shifted = torch.addcmul(offset, x, largest.reciprocal(), value=rows.largest)
    return shifted.view(torch.int32).to(torch.uint8), largest


def pack(weight: Tensor, rows: Rows) -> Int8Weight:
    """Args: weight (N, K); rows, how what it will be multiplied with is written."""
    q, scale = quantize_rows(weight.detach().float().contiguous())
    packed = torch.ops.onednn.qlinear_prepack(q, [_PACKED_FOR_ROWS, weight.size(1)])
    zero_point = torch.zeros(len(scale), dtype=torch.int32)
    offset = torch.full((weight.size(1),), 1.5 * 2**23 + rows.zero_point)
    return Int8Weight(packed, scale.squeeze(1) / rows.largest, zero_point, offset, rows)


def linear(x: Tensor, weight: Int8Weight, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """x weight^T + bias + add.

    Args:
        x: (R, K).   bias: (N,).   add: (R, N).

    Returns:
        (R, N) float32.
    """
    q, largest = unsigned_rows(x.float(), weight.offset, weight.rows)
    y = torch.ops.onednn.qlinear_pointwise(
        with_rows_rounded_up(q), 1.0, weight.rows.zero_point, weight.packed, weight.scale, weight.zero_point, None,
        1.0, 0, torch.float32, "none", [], "",
    )[: len(x)]  # fmt: skip
    terms = [term.to(y.dtype) for term in (add, bias) if term is not None]
    if not terms:
        return y.mul_(largest)
    torch.addcmul(terms[0], y, largest, out=y)  # one pass
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
