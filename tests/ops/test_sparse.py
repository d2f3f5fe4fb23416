"""Packed matrices: every value back, in less space."""

import pytest
import torch

from s2s_plugin.ops import sparse


def with_zeros(rows: int, columns: int, share: float, dtype=torch.float32) -> torch.Tensor:
    matrix = torch.randn(rows, columns) * 10
    matrix[torch.rand(rows, columns) < share] = 0
    return matrix.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (13, 7)])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_every_value_comes_back(shape, share, dtype):
    torch.manual_seed(1)
    state = {"w": with_zeros(*shape, share, dtype), "b": torch.zeros(5)}
    found = sparse.unpack_state(sparse.pack_state(state))
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_the_size_is_that_of_the_values_and_a_bit_a_place():
    torch.manual_seed(2)
    matrix = with_zeros(300, 200, 0.8)
    packed = sparse.pack_state({"w": matrix})
    assert set(packed) == {"w", "w" + sparse.KEPT, "w" + sparse.SHAPE}
    assert packed["w"].numel() == (matrix != 0).sum()
    size = sum(x.numel() * x.element_size() for x in packed.values())
    assert size / (4 * matrix.numel()) == pytest.approx(0.2 + 1 / 32, abs=0.01)


def test_a_dense_matrix_is_left_alone_and_a_tied_one_stays_one():
    torch.manual_seed(3)
    dense, tied = torch.randn(4, 6), with_zeros(10, 6, 0.7)
    packed = sparse.pack_state({"dense": dense, "a": tied, "b": tied})
    assert packed["dense"] is dense
    assert packed["a"] is packed["b"] and packed["a" + sparse.KEPT] is packed["b" + sparse.KEPT]
    assert sparse.is_packed(packed) and not sparse.is_packed({"dense": dense})
    assert all(torch.equal(value, tied) for name, value in sparse.unpack_state(packed).items() if name in "ab")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 65])
def test_bits(size):
    torch.manual_seed(size)
    kept = torch.rand(size) < 0.5
    bits = sparse.pack_bits(kept)
    assert bits.numel() == (size + 7) // 8
    assert torch.equal(sparse.unpack_bits(bits, size), kept)
    assert [int(bits[k // 8]) >> (k % 8) & 1 for k in range(size)] == kept.int().tolist()
