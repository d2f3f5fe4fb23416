"""The schedule of Zhu and Gupta, and a pruner on a model of its own."""

import pytest
import torch
from torch import nn

from s2s_plugin.compress.pruning import Pruner, Schedule, check_schedule, matrices


def model() -> nn.ModuleDict:
    torch.manual_seed(1)
    parts = nn.ModuleDict({"first": nn.Linear(7, 20), "second": nn.Linear(20, 10), "v": nn.Linear(10, 1, bias=False)})
    with torch.no_grad():
        parts["second"].weight.mul_(5)
    return parts


def zeros(weights) -> float:
    return sum(int((w == 0).sum()) for w in weights.values()) / sum(w.numel() for w in weights.values())


def test_the_schedule_is_the_papers():
    schedule = Schedule(target=0.8, start=100, end=500, every=50)
    assert schedule.share(0) == schedule.share(100) == 0.0
    assert schedule.share(300) == pytest.approx(0.8 - 0.8 * (1 - 200 / 400) ** 3)
    assert schedule.share(500) == schedule.share(9999) == 0.8
    assert [t for t in range(1000) if schedule.is_due(t)] == list(range(150, 501, 50))
    assert [t for t in range(1000) if Schedule(0.8, 0, 130, 50).is_due(t)] == [50, 100, 130]


def test_vectors_are_left_alone_and_what_is_named():
    parts = model()
    assert set(matrices(parts, [])) == {"first.weight", "second.weight"}  # no biases, no v
    assert set(matrices(parts, ["second"])) == {"first.weight"}
    with pytest.raises(ValueError, match="--prune-except third: stands in no name of a matrix, which are: first.weig"):
        matrices(parts, ["third"])
    with pytest.raises(ValueError, match="--prune-except first,sec: leaves nothing to prune"):
        matrices(parts, ["first", "sec"])


@pytest.mark.parametrize("scope", ["all", "each"])
def test_the_smallest_weights_become_zero(scope):
    weights = matrices(model(), [])
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    pruner = Pruner(weights, Schedule(0.75, 0, 10, 10), scope)
    for update in range(1, 11):
        pruner.after_update(update)
        assert (pruner.sparsity > 0) == (update == 10)
    assert pruner.sparsity == pytest.approx(0.75, abs=0.01) == zeros(weights)
    shares = {name: float((weight == 0).float().mean()) for name, weight in weights.items()}
    if scope == "each":
        assert all(share == pytest.approx(0.75, abs=0.02) for share in shares.values())
    else:
        assert shares["first.weight"] > 0.9 > shares["second.weight"]
    groups = [list(weights)] if scope == "all" else [[name] for name in weights]
    for names in groups:
        gone = torch.cat([before[name][weights[name] == 0].abs() for name in names])
        left = torch.cat([before[name][weights[name] != 0].abs() for name in names])
        assert gone.max() < left.min()
        assert all(torch.equal(weights[name][weights[name] != 0], before[name][weights[name] != 0]) for name in names)


def test_zeros_stay_whatever_the_optimiser_does():
    parts = model()
    weights = matrices(parts, [])
    optimizer = torch.optim.Adam(parts.parameters(), lr=0.1)
    pruner, gone = Pruner(weights, Schedule(0.5, 0, 3, 1), "all"), {}
    for update in range(1, 20):
        optimizer.zero_grad()
        parts["v"](torch.tanh(parts["second"](parts["first"](torch.randn(4, 7))))).sum().backward()
        pruner.mask_gradients()
        assert all((weights[name].grad[places] == 0).all() for name, places in gone.items())
        optimizer.step()
        pruner.after_update(update)
        assert all((weights[name][places] == 0).all() for name, places in gone.items())
        gone = {name: weight == 0 for name, weight in weights.items()}
    assert zeros(weights) == pytest.approx(0.5, abs=0.01)


def test_another_pruner_goes_on_where_one_ended():
    weights = matrices(model(), [])
    schedule = Schedule(0.6, 0, 10, 5)
    Pruner(weights, schedule, "all").after_update(5)
    first = {name: weight == 0 for name, weight in weights.items()}
    again = Pruner(weights, schedule, "all")
    assert again.sparsity == pytest.approx(zeros(weights)) and again.sparsity > 0.4
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(1.0)
    again.after_update(6)
    assert all((weights[name][places] == 0).all() for name, places in first.items())
    again.after_update(10)
    assert zeros(weights) == pytest.approx(0.6, abs=0.01)


def test_a_matrix_that_became_zeros_alone_stays_so():
    parts = model()
    with torch.no_grad():
        parts["first"].weight.mul_(1e-3)
    weights, schedule = matrices(parts, []), Schedule(0.42, 0, 10, 5)
    pruner = Pruner(weights, schedule, "all")
    for update in range(1, 11):
        pruner.after_update(update)
    assert (weights["first.weight"] == 0).all()
    again = Pruner(weights, schedule, "all", 10)
    assert again.sparsity == pruner.sparsity
    with torch.no_grad():
        weights["first.weight"].add_(1.0)
    again.after_update(11)
    assert (weights["first.weight"] == 0).all()


def test_a_share_of_less_than_one_weight_forgets_none():
    weights = {"w": nn.Parameter(torch.tensor([[0.0, 2.0], [3.0, 4.0]]))}
    pruner = Pruner(weights, Schedule(0.2, 0, 10, 5), "each")
    with torch.no_grad():
        weights["w"].add_(1.0)
    pruner.after_update(5)
    assert pruner.sparsity == 0.25 and weights["w"].tolist() == [[0.0, 3.0], [4.0, 5.0]]


def test_an_end_that_has_passed_is_said():
    weights, schedule = matrices(model(), []), Schedule(0.5, 0, 10, 5)
    with pytest.raises(ValueError, match="--prune-end 10 has passed after 10 updates, and 0.00 of the weights are"):
        Pruner(weights, schedule, "all", 10)
    pruner = Pruner(weights, schedule, "all", 9)
    pruner.after_update(10)
    Pruner(weights, schedule, "all", 500)


def test_a_layer_that_begins_with_zeros_can_learn():
    parts = nn.Linear(4, 5, bias=False)
    nn.init.zeros_(parts.weight)
    weights = matrices(parts, [])
    pruner = Pruner(weights, Schedule(0.5, 10, 20, 5), "all")
    with torch.no_grad():
        parts.weight.add_(1.0)
    pruner.after_update(1)
    assert zeros(weights) == 0


@pytest.mark.parametrize(
    "schedule, scope, message",
    [
        ((1.0, 0, 10, 1), "all", "--prune-target 1.0: must be at least 0 and below 1"),
        ((-0.1, 0, 10, 1), "all", "--prune-target -0.1"),
        ((0.5, 10, 10, 1), "all", "--prune-start 10 --prune-end 10: from 0 on, and the end after the start"),
        ((0.5, -1, 10, 1), "all", "--prune-start -1"),
        ((0.5, 0, 10, 0), "all", "--prune-every 0: must be at least 1"),
        ((0.5, 0, 10, 1), "some", "--prune-scope some: choose from all, each"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, scope, message):
    with pytest.raises(ValueError, match=message):
        check_schedule(Schedule(*schedule), scope)
