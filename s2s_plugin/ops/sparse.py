"""Matrices that are mostly zeros, stored small: the values that are not zero, and one bit for every place.

At a share s of zeros a matrix of B-byte numbers takes 1 - s + 1 / (8 B) of its size: 0.23 at 80 % of float32, where the
places of compressed rows (CSR) would take as much as the values. It is for files: a model computes with whole matrices.
"""

import torch
from torch import Tensor

KEPT, SHAPE = ".kept_bits", ".shape"
"""After the name of a stored matrix, the names of its bits and of its rows and columns."""
LEAST_ZEROS = 0.25
"""Share of zeros from which a matrix is packed."""


def pack_bits(kept: Tensor) -> Tensor:
    """Args: kept (n,) bool. Returns (ceil(n / 8),) uint8, the first place in the lowest bit."""
    padded = torch.zeros(-(-kept.numel() // 8) * 8, dtype=torch.int64)
    padded[: kept.numel()] = kept
    return (padded.view(-1, 8) << torch.arange(8)).sum(dim=1).to(torch.uint8)


def unpack_bits(bits: Tensor, size: int) -> Tensor:
    """The inverse of `pack_bits`. Returns (size,) bool."""
    return ((bits.to(torch.int64).unsqueeze(1) >> torch.arange(8)) & 1).flatten()[:size].bool()


def is_packed(state: dict[str, Tensor]) -> bool:
    """Whether a model's parameters are as `pack_state` stores them."""
    return any(name.endswith(KEPT) for name in state)


def pack_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's parameters with the matrices packed that are zero in `LEAST_ZEROS` of their places or more.

    A packed one has its values (K,) under its name, its bits under name + KEPT, its shape under name + SHAPE. A
    parameter under two names stays one.
    """
    stored, done = {}, {}
    for name, tensor in state.items():
        if tensor.dim() != 2 or (tensor == 0).sum() < LEAST_ZEROS * tensor.numel():
            stored[name] = tensor
            continue
        place = (tensor.data_ptr(), tensor.shape, tensor.dtype)
        if place not in done:
            kept = (tensor != 0).flatten().cpu()
            done[place] = tensor.flatten()[kept], pack_bits(kept), torch.tensor(tensor.shape)
        stored[name], stored[name + KEPT], stored[name + SHAPE] = done[place]
    return stored


def packed_shape(state: dict[str, Tensor], name: str) -> tuple[int, int]:
    """Rows and columns of a packed matrix. Raises ValueError where its three tensors do not fit each other."""
    kept, shape = state[name + KEPT], state.get(name + SHAPE)
    if shape is None or shape.shape != (2,) or shape.dtype != torch.int64 or kept.dtype != torch.uint8:
        raise ValueError(f"the packed matrix {name} is broken")
    rows, columns = shape.tolist()
    if min(rows, columns) < 0 or kept.shape != (-(-rows * columns // 8),) or name not in state:
        raise ValueError(f"the packed matrix {name} is broken")
    return rows, columns


def whole_sizes(state: dict[str, Tensor]) -> dict[str, int]:
    """How many elements each parameter has when it is whole again. Raises ValueError: what `packed_shape` raises."""
    sizes = {name: tensor.numel() for name, tensor in state.items() if not name.endswith((KEPT, SHAPE))}
    for name in [name.removesuffix(KEPT) for name in state if name.endswith(KEPT)]:
        rows, columns = packed_shape(state, name)
        sizes[name] = rows * columns
    return sizes


def unpack_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters whole again, bit for bit; others are left alone. Raises ValueError for a broken one."""
    whole = {name: tensor for name, tensor in state.items() if not name.endswith((KEPT, SHAPE))}
    for name in [name.removesuffix(KEPT) for name in state if name.endswith(KEPT)]:
        shape = packed_shape(state, name)
        kept = unpack_bits(state[name + KEPT].cpu(), shape[0] * shape[1])
        if state[name].shape != (int(kept.sum()),):
            raise ValueError(f"the packed matrix {name} has not as many numbers as it says")
        matrix = torch.zeros(kept.numel(), dtype=state[name].dtype, device=state[name].device)
        matrix[kept.to(matrix.device)] = state[name]
        whole[name] = matrix.view(shape)
    return whole
