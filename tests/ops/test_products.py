"""Matrix products: every layout and dtype against float64, with oneDNN and without."""

import contextlib
import io

import pytest
import torch

from s2s_plugin.ops import products

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 0.02, torch.float64: 1e-12}


@pytest.fixture(params=["torch's", "oneDNN's", "oneDNN off"])
def onednn(request, monkeypatch):
    """Where float32 is multiplied, whatever the processor."""
    dtypes = products._ONEDNN_DTYPES - {torch.float32}
    monkeypatch.setattr(products, "_ONEDNN_DTYPES", dtypes | {torch.float32} if request.param == "oneDNN's" else dtypes)
    with torch.backends.mkldnn.flags(enabled=False) if "off" in request.param else contextlib.nullcontext():
        yield request.param


@pytest.mark.parametrize(
    "cpuinfo, mkl, at_home",
    [
        ("vendor_id\t: GenuineIntel\nflags\t: fpu", True, True),
        ("vendor_id\t: GenuineIntel\nflags\t: fpu", False, False),
        ("vendor_id\t: AuthenticAMD\nflags\t: fpu", True, False),
        (None, True, False),
    ],
)
def test_mkl_multiplies_on_intels_processors(cpuinfo, mkl, at_home, monkeypatch):
    def read(path, **options):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return io.StringIO(cpuinfo)

    monkeypatch.setattr(products, "open", read, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert products.blas_is_at_home() == at_home


def test_a_weight_is_packed_once(monkeypatch):
    """For MKL, whatever the processor: what lies as it should already is no copy."""
    monkeypatch.setattr(products, "_ONEDNN_DTYPES", set())
    weight = torch.randn(4, 3)
    assert products.pack(weight.t()).data_ptr() == weight.data_ptr()
    assert products.pack(weight).t().is_contiguous()


def close(got, expected):
    error = (got.double() - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[got.dtype], error


def factor(rows, columns, dtype, transposed):
    x = torch.randn(columns, rows).to(dtype).t() if transposed else torch.randn(rows, columns).to(dtype)
    return x


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("sizes", [(5, 7, 9), (1, 6, 3), (9, 4, 1), (3, 1, 30), (40, 3, 5)])
def test_matmul(onednn, dtype, transposed, sizes):
    torch.manual_seed(51)
    rows, inner, columns = sizes
    a, b = factor(rows, inner, dtype, transposed[0]), factor(inner, columns, dtype, transposed[1])
    got = products.matmul(a, b)
    assert got.dtype == dtype and got.is_contiguous()
    close(got, a.double() @ b.double())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("rows", [1, 6, 37])
def test_linear(onednn, dtype, packed, bias, add, rows):
    torch.manual_seed(52)
    x, weight = torch.randn(rows, 5).to(dtype), torch.randn(7, 5).to(dtype)
    b, more = torch.randn(7).to(dtype) if bias else None, torch.randn(rows, 7).to(dtype) if add else None
    kept = None if more is None else more.clone()
    got = products.linear(x, products.pack(weight) if packed else weight, b, add=more)
    expected = x.double() @ weight.double().t() + sum(y.double() for y in (b, more) if y is not None)
    assert got.dtype == dtype and got.shape == (rows, 7)
    close(got, expected)
    assert more is None or torch.equal(more, kept)


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (2, 3, 5), (2, 0, 5)])
def test_differentiable_linear_is_torchs(onednn, shape):
    torch.manual_seed(53)
    inputs = [torch.randn(*shape), torch.randn(4, 5), torch.randn(4)]
    results = []
    for function in (torch.nn.functional.linear, products.differentiable_linear):
        x, weight, bias = (y.clone().requires_grad_() for y in inputs)
        out = function(x, weight, bias)
        (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
        results.append((out, x.grad, weight.grad, bias.grad))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient():
    x, weight = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5)
    products.differentiable_linear(x, weight, None).sum().backward()
    assert x.grad is not None and weight.grad is None


@pytest.mark.skipif(not products.has_onednn(), reason="torch without oneDNN")
def test_a_second_derivative_is_refused():
    x, weight = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(products.differentiable_linear(x, weight, None).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
