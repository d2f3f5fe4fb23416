"""Which arithmetic is right and fast on the machine at hand: tried once a process, in milliseconds.

What a CPU is called, and which instructions it has, says neither. oneDNN multiplies bytes by a kernel, by a kernel that
cuts sums off, or by loops that take a thousand times as long; products in bfloat16 take 0.2 to 0.5 times as long as in
float32 with AMX or on AMD's CPUs with AVX-512 BF16, twice as long with Intel's AVX-512 BF16, and five times without.
"""

import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from . import int8, products
from .int8 import EIGHT_BITS, SEVEN_BITS, Rows

Call = Callable[[], Tensor]
_LOCK = threading.Lock()
"""One trial at a time, since another thread's would take its time."""


class Sizes(NamedTuple):
    """Of a product: x (R, K) times weight (N, K) transposed."""

    rows: int
    inner: int
    columns: int


# The first is so small that loops take 2 ms, and no multiple of what kernels like; the second is a step of a search.
_SMALL, _LARGE = Sizes(5, 67, 129), Sizes(40, 512, 1536)
_HOPELESS = 10.0


def _seconds(call: Call) -> float:
    """Of this thread, to which other processes add less than to the clock's."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def _takes_at_most(times: float, call: Call, other: Call, rounds: int) -> bool:
    """Whether the call takes at most so many times as long as `other`: the fastest of runs that are made in turns.

    What else the machine does only makes a run slower, so more are made before the answer is no.
    """
    took = took_other = float("inf")
    for number in range(1, 4 * rounds + 1):
        took, took_other = min(took, _seconds(call)), min(took_other, _seconds(other))
        if number >= rounds and not times < took / took_other < 2 * times:
            break
    return took <= times * took_other


def pays(make: Callable[[Sizes], tuple[Call, Call] | None], at_most: float) -> bool:
    """Whether a way to multiply is right and takes at most `at_most` times as long as float32.

    Args:
        make: for the sizes of a product, a call that makes it this way and one in float32, or None where it is wrong.
    """
    with _LOCK, torch.no_grad(), torch.autocast("cpu", enabled=False):
        for sizes, trials in ((_SMALL, [(_HOPELESS, 2)]), (_LARGE, [(_HOPELESS, 1), (at_most, 8)])):
            calls = make(sizes)
            if calls is None or not all(_takes_at_most(times, *calls, rounds) for times, rounds in trials):
                return False
    return True


def extremes(rows: int, columns: int, largest: int) -> Tensor:
    """Whole numbers (rows, columns) that make the largest sums, in float32; each row has one of +-largest."""
    x = torch.randint(-largest, largest + 1, (7, columns), generator=torch.Generator().manual_seed(82)).float()
    x[:, -1] = largest
    x[0], x[1] = largest, -largest
    x[2, ::2], x[2, 1::2] = largest, -largest
    return x.repeat(-(-rows // len(x)), 1)[:rows]


def _in_int8(rows: Rows, sizes: Sizes) -> tuple[Call, Call] | None:
    q_x, q_weight = extremes(sizes[0], sizes[1], rows.largest), extremes(sizes[2], sizes[1], int8.LARGEST)
    bias = torch.ones(sizes.columns)
    x = q_x / rows.largest  # so that all factors are 1
    try:
        packed = int8.pack(q_weight * rows.largest, rows)
        found = int8.linear(x, packed, bias)
    except (AttributeError, RuntimeError, TypeError):  # versions of torch differ
        return None
    exact = products.pack(q_weight)
    if not torch.equal(found, products.linear(q_x, exact, bias)):  # whose sums are below 2^24
        return None
    return lambda: int8.linear(x, packed, bias), lambda: products.linear(x, exact, bias)


def is_exact(rows: Rows) -> bool:
    """Whether this build of torch has oneDNN's product of eight bits, and its sums are exact on this CPU."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return _in_int8(rows, _SMALL) is not None


@cache
def _fastest_rows() -> Rows | None:
    # A fifth for noise, so that a busy machine chooses as an idle one does: products are half of a search, which would
    # keep 0.9 times its speed were they so much slower.
    return next((rows for rows in (EIGHT_BITS, SEVEN_BITS) if pays(partial(_in_int8, rows), 1.2)), None)


def int8_rows() -> Rows | None:
    """How products of eight bits are made here; None where float32 is faster, or oneDNN is switched off."""
    enabled = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    return _fastest_rows() if enabled else None


def _in_bfloat16(sizes: Sizes) -> tuple[Call, Call]:
    x, weight = torch.ones(sizes.rows, sizes.inner), torch.ones(sizes.columns, sizes.inner)
    short, packed_short, packed = x.bfloat16(), products.pack(weight.bfloat16()), products.pack(weight)
    return lambda: products.linear(short, packed_short), lambda: products.linear(x, packed)


@cache
def bfloat16_is_faster() -> bool:
    """Whether products in bfloat16 are faster than in float32 here, on the CPU."""
    return pays(_in_bfloat16, 0.9)
