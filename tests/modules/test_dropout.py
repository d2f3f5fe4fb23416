import pytest
import torch

from s2s_plugin.modules.dropout import Dropout, draw_keep


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
def test_share_scale_and_gradient(p):
    torch.manual_seed(51)
    x = torch.ones(401, 499, requires_grad=True)
    y = Dropout(p)(x)
    dropped = y.eq(0)
    # Every one of the four 16-bit parts of a random word drops its share.
    for part in range(4):
        share = dropped.flatten()[part::4].float().mean().item()
        assert share == pytest.approx(p, abs=5 * (p * (1 - p) / (x.numel() / 4)) ** 0.5)
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 1 / (1 - p)), rtol=1e-3, atol=0)
    y.sum().backward()
    assert x.grad.equal(y.detach())


def test_neighbours_are_dropped_independently():
    torch.manual_seed(52)
    dropped = Dropout(0.5)(torch.ones(400_000)).eq(0)
    for distance in (1, 2, 3, 4):
        assert (dropped[distance:] & dropped[:-distance]).float().mean().item() == pytest.approx(0.25, abs=0.005)


def test_a_seed_repeats_it():
    masks = []
    for _ in range(2):
        torch.manual_seed(53)
        masks.append(Dropout(0.3)(torch.ones(7, 5)))
    assert masks[0].equal(masks[1])


def test_off_in_evaluation_and_at_zero():
    x = torch.ones(3, 2)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_a_shared_mask_is_the_same_along_its_dimension(dim):
    torch.manual_seed(54)
    y = Dropout(0.5, shared_dim=dim)(torch.ones(7, 8, 9))
    first = y.narrow(dim, 0, 1)
    assert y.equal(first.expand_as(y)) and first.unique().tolist() == [0.0, 2.0]


def test_factors_keep_the_mean():
    torch.manual_seed(55)
    keep = draw_keep((300, 301), 0.3, torch.zeros(1))
    assert keep.unique().numel() == 2 and keep.mean().item() == pytest.approx(1.0, abs=0.01)
    assert draw_keep((2, 3), 0.3, torch.zeros(1, dtype=torch.bool)).dtype == torch.float32


def test_dtype_stays():
    assert Dropout(0.5)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1, not 1.5"):
        Dropout(1.5)
