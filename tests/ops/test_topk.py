"""The largest of long rows against torch.topk."""

import pytest
import torch

from s2s_plugin.ops.topk import topk


@pytest.mark.parametrize(
    "rows, columns, k", [(1, 1, 1), (3, 7, 7), (2, 64, 2), (5, 645, 10), (4, 640, 20), (33, 1003, 1)]
)
@pytest.mark.parametrize("first", [0, 4])
def test_it_is_torchs(rows, columns, k, first):
    torch.manual_seed(columns)
    x = torch.randn(rows, first + columns)[:, first:]
    values, places = topk(x, k)
    torch.testing.assert_close(values, x.gather(1, places), rtol=0, atol=0)
    torch.testing.assert_close(values.sort(dim=1, descending=True).values, x.topk(k, dim=1).values, rtol=0, atol=0)
    assert all(len(set(row)) == k for row in places.tolist())


def test_large_ones_side_by_side_equal_ones_and_infinities():
    x = torch.full((4, 1001), -torch.inf)
    x[0, 500:510] = torch.arange(10.0)  # in neighbouring groups
    x[1, 3::125] = torch.arange(8.0)  # in one group
    x[2, -3:] = 1  # in none
    x[3] = 2
    values, places = topk(x, 8)
    assert sorted(places[0].tolist()) == [*range(502, 510)]
    assert sorted(values[1].tolist()) == [*range(8)]
    assert {998, 999, 1000} <= set(places[2].tolist())
    assert values[3].tolist() == [2] * 8 and len(set(places[3].tolist())) == 8
