"""Gradual magnitude pruning (Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878), while a model trains.

At update t the share of zeros is

    s(t) = target (1 - (1 - (t - start) / (end - start))^3),   start <= t <= end                    (their eq. 1)

and every so many updates the smallest weights up to that share become zero: of each matrix, or of all matrices as if
they were one (the class-blind pruning that See, Luong and Manning 2016 found best for recurrent translation,
https://aclanthology.org/K16-1029). A pruned weight has no gradient and stays zero, so that the zeros themselves are the
mask: they go into checkpoints and come back with them, and the fast recurrence computes with them as with any numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

SCOPES = ("all", "each")


class Schedule(NamedTuple):
    """How much is zero when.

    Attributes:
        target: share of the weights, at least 0 and below 1.
        start, end: updates before and after which nothing is pruned.
        every: updates between two prunings.
    """

    target: float
    start: int
    end: int
    every: int

    def share(self, update: int) -> float:
        """s(t), 0 before the start and `target` from the end on."""
        left = 1 - (update - self.start) / (self.end - self.start)
        return self.target * (1 - min(max(left, 0.0), 1.0) ** 3)

    def is_due(self, update: int) -> bool:
        """Whether to prune after so many updates; always at the end."""
        return self.start < update <= self.end and ((update - self.start) % self.every == 0 or update == self.end)


def check_schedule(schedule: Schedule, scope: str) -> None:
    """Raises ValueError, in the words of the task's options, for numbers that make no schedule or an unknown scope."""
    target, start, end, every = schedule
    if not 0.0 <= target < 1.0:
        raise ValueError(f"--prune-target {target}: must be at least 0 and below 1")
    if start < 0 or end <= start:
        raise ValueError(f"--prune-start {start} --prune-end {end}: from 0 on, and the end after the start")
    if every < 1:
        raise ValueError(f"--prune-every {every}: must be at least 1")
    if scope not in SCOPES:
        raise ValueError(f"--prune-scope {scope}: choose from {', '.join(SCOPES)}")


def matrices(model: nn.Module, spared: list[str]) -> dict[str, nn.Parameter]:
    """The weights that can be pruned, by name: all with more than one row and column, tied ones once.

    Args:
        spared: words of which none may stand in a name.

    Raises:
        ValueError: a word that stands in no name, or no matrix is left.
    """
    found = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.dim() == 2 and min(weight.shape) > 1 and weight.requires_grad
    }
    for word in spared:
        if not any(word in name for name in found):
            raise ValueError(f"--prune-except {word}: stands in no name of a matrix, which are: {', '.join(found)}")
    found = {name: weight for name, weight in found.items() if not any(word in name for word in spared)}
    if not found:
        raise ValueError(f"--prune-except {','.join(spared)}: leaves nothing to prune")
    return found


class Pruner:
    """Prunes the matrices of a model by a schedule and keeps the zeros zero.

    What is zero when it first sees the model stays zero: it goes on with a model that was pruned before. A matrix of
    nothing but zeros is left alone then, since that is how a layer can begin.

    Args:
        weights: of `matrices`.   schedule, scope: see above.

    Attributes:
        sparsity: the share of zeros among the weights.
    """

    def __init__(self, weights: dict[str, nn.Parameter], schedule: Schedule, scope: str):
        check_schedule(schedule, scope)
        self.weights, self.schedule, self.scope = weights, schedule, scope
        self.kept = {name: weight != 0 for name, weight in weights.items() if 0 < (weight == 0).sum() < weight.numel()}
        self.sparsity = self._sparsity()

    def mask_gradients(self) -> None:
        """Between the backward pass and the clipping of gradients: none for what is pruned."""
        for name, kept in self.kept.items():
            if self.weights[name].grad is not None:
                self.weights[name].grad.mul_(kept)

    @torch.no_grad()
    def after_update(self, update: int) -> None:
        """Args: update, how many the optimiser has made."""
        self._apply()  # Adam's momentum moves what has no gradient, too
        if self.schedule.is_due(update):
            self._prune(self.schedule.share(update))
            self._apply()

    def _sparsity(self) -> float:
        zeros = sum(int((~kept).sum()) for kept in self.kept.values())
        return zeros / sum(weight.numel() for weight in self.weights.values())

    def _apply(self) -> None:
        for name, kept in self.kept.items():
            self.weights[name].mul_(kept)

    def _prune(self, share: float) -> None:
        if self.scope == "all":
            limit = smallest(torch.cat([weight.abs().flatten() for weight in self.weights.values()]), share)
        for name, weight in self.weights.items():
            if self.scope == "each":
                limit = smallest(weight.abs().flatten(), share)
            self.kept[name] = (weight.abs() > limit) & self.kept.get(name, True)
        self.sparsity = self._sparsity()


def smallest(values: Tensor, share: float) -> Tensor:
    """The number at or below which `share` of the values lie. Args: values (n,), none negative."""
    count = int(share * values.numel())
    return values.new_tensor(-1.0) if count == 0 else values.float().kthvalue(count).values.to(values.dtype)
