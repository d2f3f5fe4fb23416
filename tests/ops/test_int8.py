"""Products in eight bits: exact sums, rows that do not know each other, and what is stored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2s_plugin.ops import int8, products


def exact(x, weight, bias=None, add=None):
    """The same from its definition, one row and one column at a time, in float64."""
    y = torch.empty(len(x), len(weight), dtype=torch.float64)
    for r, row in enumerate(x.double()):
        s_x = max(row.abs().max().item() / 127, 1e-300)
        for n, column in enumerate(weight.double()):
            s_w = max(column.abs().max().item() / 127, 1e-300)
            y[r, n] = s_x * s_w * ((row / s_x).round() @ (column / s_w).round())
    for term in (bias, add):
        y = y if term is None else y + term
    return y


@pytest.fixture(params=["kernel", "float64"])
def kernel(request):
    if request.param == "kernel" and not int8.has_kernel():
        pytest.skip("this build of torch has no kernel for eight bits")
    with torch.backends.mkldnn.flags(enabled=request.param == "kernel"):
        assert int8.has_kernel() == (request.param == "kernel")
        yield


def draw(rows, columns, size, seed=82):
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(rows, size, generator=generator), torch.randn(columns, size, generator=generator)
    return x * torch.logspace(-2, 2, rows)[:, None], weight


@pytest.mark.parametrize("rows", [1, 2, 7, 37])
def test_it_is_the_product_of_whole_numbers(kernel, rows):
    x, weight = draw(rows, 5, 11)
    bias, add = torch.randn(5), torch.randn(rows, 5)
    packed = int8.pack(weight)
    for terms in ((None, None), (bias, None), (None, add), (bias, add)):
        found = int8.linear(x, packed, *terms)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact(x, weight, *terms), atol=1e-5, rtol=1e-5)


def test_there_are_few_numbers_of_rows_and_little_more_than_asked_for():
    rounded = [int8.rounded_up(rows) for rows in range(1, 2000)]
    assert all(rows <= more <= max(2, 9 / 8 * rows) for rows, more in enumerate(rounded, start=1))
    assert rounded == sorted(rounded) and len(set(rounded)) < 80


def test_it_is_near_the_product(kernel):
    x, weight = draw(40, 30, 256)
    error = int8.linear(x, int8.pack(weight)) - x @ weight.t()
    assert (error.norm(dim=1) < 0.02 * (x @ weight.t()).norm(dim=1)).all()


@pytest.mark.parametrize("columns", [30, 3000])
def test_no_row_changes_another(kernel, columns):
    x, weight = draw(9, columns, 64)
    packed = int8.pack(weight)
    together = int8.linear(x, packed)
    for row in range(9):
        assert torch.equal(int8.linear(x[row : row + 1], packed), together[row : row + 1])


def test_zeros_are_zeros(kernel):
    x, weight = draw(3, 4, 6)
    x[1], weight[2] = 0, 0
    y = int8.linear(x, int8.pack(weight))
    assert (y[1] == 0).all() and (y[:, 2] == 0).all() and y.isfinite().all()


def test_rows_are_rounded_to_half_a_step():
    x, _ = draw(5, 1, 50)
    rows, scale = int8.quantize_rows(x)
    assert rows.dtype == torch.int8 and rows.abs().amax(dim=1).tolist() == [127] * 5
    assert ((x - rows * scale).abs() <= scale * 0.5001).all()


def test_only_the_context_packs_in_eight_bits():
    weight = torch.randn(6, 8)
    with torch.no_grad():
        with int8.products_in_int8():
            packed = products.pack(weight)
        assert isinstance(packed, int8.Int8Weight) and not isinstance(products.pack(weight), int8.Int8Weight)
        x = torch.randn(2, 3, 8)
        y = products.differentiable_linear(x, packed, None)
        torch.testing.assert_close(y.flatten(0, 1).double(), exact(x.flatten(0, 1), weight), atol=1e-5, rtol=1e-5)


def test_what_is_stored_comes_back():
    tied = torch.randn(6, 4)
    state = {"a.weight": tied, "b.weight": tied, "bias": torch.randn(6), "filters": torch.randn(2, 3, 3)}
    stored = int8.quantize_state(state)
    assert stored["a.weight"].dtype == torch.int8 and stored["a.weight"] is stored["b.weight"]
    assert stored["bias"] is state["bias"] and stored["filters"] is state["filters"]
    back = int8.dequantize_state(stored)
    assert back.keys() == state.keys()
    assert ((back["a.weight"] - tied).abs() <= stored["a.weight.int8_scale"] * 0.5001).all()
    again = int8.quantize_state(back)
    assert torch.equal(again["a.weight"], stored["a.weight"])
    torch.testing.assert_close(again["a.weight.int8_scale"], stored["a.weight.int8_scale"])
    plain = {"bias": torch.ones(2), "weight": torch.ones(2, 2)}
    assert all(torch.equal(value, plain[name]) for name, value in int8.dequantize_state(plain).items())


def test_packing_looks_at_values_and_not_at_strides(kernel):
    x, weight = draw(3, 33, 64)
    packed = int8.pack(weight.t().contiguous().t())
    assert torch.equal(int8.linear(x, packed), int8.linear(x, int8.pack(weight)))


def test_a_cpu_whose_products_are_cut_off_is_known():
    """oneDNN held to instructions without VNNI, in a process of its own."""
    code = "from ops import int8; print(int8.has_kernel())"
    env = dict(os.environ, ONEDNN_MAX_CPU_ISA="AVX2", PYTHONPATH=str(Path(int8.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", timeout=60)
    assert done.stdout == "False\n", done.stderr
