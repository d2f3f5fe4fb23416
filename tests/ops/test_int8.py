"""Products in eight bits: exact sums, rows that do not know each other, and what is stored."""

import pytest
import torch

from s2s_plugin.ops import arithmetic, int8, products

from .int8_values import exact


@pytest.fixture(params=[int8.EIGHT_BITS, int8.SEVEN_BITS], ids=["eight bits", "seven bits"])
def rows(request):
    if not arithmetic.is_exact(request.param):
        pytest.skip("this CPU or this build of torch has no such product")
    return request.param


def draw(count, columns, size, seed=82):
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(count, size, generator=generator), torch.randn(columns, size, generator=generator)
    return x * torch.logspace(-2, 2, count)[:, None], weight


@pytest.mark.parametrize("count", [1, 2, 7, 37])
def test_it_is_the_product_of_whole_numbers(rows, count):
    x, weight = draw(count, 5, 11)
    bias, add = torch.randn(5), torch.randn(count, 5)
    packed = int8.pack(weight, rows)
    for terms in ((None, None), (bias, None), (None, add), (bias, add)):
        found = int8.linear(x, packed, *terms)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact(x, weight, rows, *terms), atol=1e-5, rtol=1e-5)


def test_there_are_few_numbers_of_rows_and_little_more_than_asked_for():
    rounded = [int8.rounded_up(count) for count in range(1, 2000)]
    assert all(count <= more <= max(2, 9 / 8 * count) for count, more in enumerate(rounded, start=1))
    assert rounded == sorted(rounded) and len(set(rounded)) < 80


def test_it_is_near_the_product(rows):
    x, weight = draw(40, 30, 256)
    error = int8.linear(x, int8.pack(weight, rows)) - x @ weight.t()
    assert (error.norm(dim=1) < 2.54 / rows.largest * (x @ weight.t()).norm(dim=1)).all()


@pytest.mark.parametrize("columns", [30, 3000])
def test_no_row_changes_another(rows, columns):
    x, weight = draw(9, columns, 64)
    packed = int8.pack(weight, rows)
    together = int8.linear(x, packed)
    for row in range(9):
        assert torch.equal(int8.linear(x[row : row + 1], packed), together[row : row + 1])


def test_zeros_are_zeros(rows):
    x, weight = draw(3, 4, 6)
    x[1], weight[2] = 0, 0
    y = int8.linear(x, int8.pack(weight, rows))
    assert (y[1] == 0).all() and (y[:, 2] == 0).all() and y.isfinite().all()


def test_very_small_and_very_large_rows(rows):
    x, weight = draw(4, 5, 33)
    x *= torch.tensor([1e-25, 1e-36, 1e30, 1.0])[:, None]
    y = int8.linear(x, int8.pack(weight, rows))
    assert y.isfinite().all()
    torch.testing.assert_close(y[[0, 2, 3]].double(), exact(x, weight, rows)[[0, 2, 3]], atol=0, rtol=1e-4)
    assert y[1].abs().max() < 1e-29


def test_rows_are_rounded_to_half_a_step(rows):
    x, _ = draw(5, 1, 50)
    weight = int8.pack(torch.randn(3, 50), rows)
    written, largest = int8.unsigned_rows(x, weight.offset, rows)
    q = written.int() - rows.zero_point
    assert written.dtype == torch.uint8 and q.abs().amax(dim=1).tolist() == [rows.largest] * 5
    step = largest / rows.largest
    assert ((x - q * step).abs() <= step * 0.5001).all()


def test_weights_are_rounded_to_half_a_step():
    weight, _ = draw(5, 1, 50)
    q, scale = int8.quantize_rows(weight)
    assert q.dtype == torch.int8 and q.abs().amax(dim=1).tolist() == [127] * 5
    assert ((weight - q * scale).abs() <= scale * 0.5001).all()


def test_only_the_context_packs_in_eight_bits(rows):
    weight = torch.randn(6, 8)
    with torch.no_grad():
        with int8.products_in_int8(rows):
            packed = products.pack(weight)
        with int8.products_in_int8(None):
            assert not isinstance(products.pack(weight), int8.Int8Weight)
        assert isinstance(packed, int8.Int8Weight) and not isinstance(products.pack(weight), int8.Int8Weight)
        x = torch.randn(2, 3, 8)
        y = products.differentiable_linear(x, packed, None)
        torch.testing.assert_close(y.flatten(0, 1).double(), exact(x.flatten(0, 1), weight, rows), atol=1e-5, rtol=1e-5)


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


def test_packing_and_multiplying_look_at_values_and_not_at_strides(rows):
    x, weight = draw(3, 33, 64)
    packed = int8.pack(weight.t().contiguous().t(), rows)
    expected = int8.linear(x, int8.pack(weight, rows))
    wide = torch.cat([x, x], dim=1)
    for same in (x, x.t().contiguous().t(), wide[:, 64:]):
        assert torch.equal(int8.linear(same, packed), expected)
