import torch

from s2s_plugin.ops.permute import permute_time


def test_reads_by_index_and_returns_gradients_by_the_inverse():
    torch.manual_seed(9)
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    index = torch.stack([torch.randperm(4) for _ in range(3)])
    inverse = index.argsort(dim=1)
    y = permute_time(x, index, inverse)
    for b in range(3):
        for s in range(4):
            assert y[b, s].equal(x[b, index[b, s]])
    assert permute_time(y, inverse, index).equal(x)
    assert torch.autograd.gradcheck(lambda x: permute_time(x, index, inverse), (x,))
