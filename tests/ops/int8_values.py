"""Products in eight bits on the CPU that `ONEDNN_MAX_CPU_ISA` plays: prints what is chosen and right, as JSON.

oneDNN reads the variable once, so a test runs this file in a process of its own, with `ops` in its path.
"""

import json
import time

import torch


def exact(x, weight, rows, bias=None, add=None):
    """x weight^T + bias + add in eight bits from its definition, in whole numbers and float64."""
    s_x = x.double().abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / rows.largest
    s_w = weight.double().abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    sums = (x / s_x).round().long() @ (weight / s_w).round().long().t()
    y = s_x * s_w.t() * sums
    for term in (bias, add):
        y = y if term is None else y + term
    return y


def largest_error(rows) -> float:
    """Of products of odd sizes with the largest sums that there are, relative to the largest value."""
    from ops import arithmetic, int8

    worst = 0.0
    for count, inner, columns in ((1, 3, 5), (3, 67, 19), (10, 130, 64), (33, 1000, 131)):
        for draw in (torch.randn, lambda *size: arithmetic.extremes(*size, 127)):
            torch.manual_seed(inner)
            x, weight = draw(count, inner), draw(columns, inner)
            packed = int8.pack(weight, rows)
            found, expected = int8.linear(x, packed), exact(x, weight, rows)
            worst = max(worst, ((found - expected).abs().max() / expected.abs().max()).item())
            alone = torch.cat([int8.linear(row[None], packed) for row in x])
            assert torch.equal(alone, found)
    return worst


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    from ops import arithmetic, int8

    chosen = arithmetic.int8_rows()
    x, weight = torch.randn(40, 512), torch.randn(1536, 512)
    packed, wide = int8.pack(weight, int8.SEVEN_BITS), weight.double()
    calls = lambda: int8.linear(x, packed), lambda: x.double() @ wide.t()  # noqa: E731
    took, took_float64 = (min(seconds(call) for _ in range(5)) for call in calls)
    report = {
        "chosen": None if chosen is None else chosen.largest,
        "errors": {rows.largest: largest_error(rows) for rows in (int8.EIGHT_BITS, int8.SEVEN_BITS)},
        "of float64": took / took_float64,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    with torch.no_grad():
        main()
