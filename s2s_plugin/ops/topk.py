"""The largest of each row, where a row is long and few are wanted."""

import torch
from torch import Tensor

_WIDTH = 8
_MANY = 32


def topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `torch.topk` over the last dimension, in any order; which of equal values are taken is not said.

    The columns are put in groups. The k largest lie in the k groups of the largest maxima, since any other group has k
    that are no smaller; so maxima are found for all, which is one fast pass, and order is looked for among few.

    Args:
        x: (R, V).
        k: from 1 to V.

    Returns:
        values (R, k) and columns (R, k) int64.
    """
    columns = x.size(1)
    if columns < _MANY * k:
        return torch.topk(x, k, dim=1, sorted=False)
    groups = columns // _WIDTH
    in_groups = groups * _WIDTH
    maxima = x[:, :in_groups].unflatten(1, (_WIDTH, groups)).amax(dim=1)
    found = torch.topk(maxima, k, dim=1, sorted=False).indices
    members = torch.arange(0, in_groups, groups, device=x.device).unsqueeze(1)
    candidates = (found.unsqueeze(1) + members).flatten(1)
    if in_groups < columns:
        rest = torch.arange(in_groups, columns, device=x.device).expand(x.size(0), -1)
        candidates = torch.cat([candidates, rest], dim=1)
    values, places = torch.topk(x.gather(1, candidates), k, dim=1, sorted=False)
    return values, candidates.gather(1, places)


def first_and_best(x: Tensor, first: int, count: int) -> tuple[Tensor, Tensor]:
    """The first columns and the largest others.

    Args:
        x: (R, V).
        first: columns at the beginning that are taken in any case.   count: of the others.

    Returns:
        values (R, first + count) and columns (R, first + count) int64; the others in any order.
    """
    values, columns = topk(x[:, first:], count)
    special = torch.arange(first, device=x.device).expand(x.size(0), -1)
    return torch.cat([x[:, :first], values], dim=1), torch.cat([special, columns + first], dim=1)
