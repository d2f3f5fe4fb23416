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
TOLERANCE = 0.02
"""By how much a share may miss the target: of a small matrix it is a whole number of weights."""


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

    What is zero when it first sees the model stays zero: it goes on with a model that was pruned before. Before the
    start of the schedule a matrix of nothing but zeros is left alone, since that is how a layer can begin.

    Args:
        weights: of `matrices`.   schedule, scope: see above.
        update: how many the optimiser has made.

    Attributes:
        sparsity: the share of zeros among the weights.

    Raises:
        ValueError: what `check_schedule` refuses, or the end has passed and the target was not reached.
    """

    def __init__(self, weights: dict[str, nn.Parameter], schedule: Schedule, scope: str, update: int = 0):
        check_schedule(schedule, scope)
        self.weights, self.schedule, self.scope = weights, schedule, scope
        self.pruned = {name: weight == 0 for name, weight in weights.items()}
        if update <= schedule.start:
            self.pruned = {name: places for name, places in self.pruned.items() if not places.all()}
        self.sparsity = self._sparsity()
        if update >= schedule.end and self.sparsity < schedule.target - TOLERANCE:
            raise ValueError(
                f"--prune-end {schedule.end} has passed after {update} updates, and {self.sparsity:.2f} of the weights "
                f"are zero, not {schedule.target}: name a later end"
            )

    def mask_gradients(self) -> None:
        """Between the backward pass and the clipping of gradients: none for what is pruned."""
        for name, places in self.pruned.items():
            if self.weights[name].grad is not None:
                self.weights[name].grad.masked_fill_(places, 0)

    @torch.no_grad()
    def after_update(self, update: int) -> None:
        """Args: update, how many the optimiser has made."""
        if self.schedule.is_due(update):
            self._prune(self.schedule.share(update))
        for name, places in self.pruned.items():  # Adam's momentum moves what has no gradient, too
            self.weights[name].masked_fill_(places, 0)

    def _sparsity(self) -> float:
        zeros = sum(int(places.sum()) for places in self.pruned.values())
        return zeros / sum(weight.numel() for weight in self.weights.values())

    def _prune(self, share: float) -> None:
        sizes = {name: weight.abs() for name, weight in self.weights.items()}
        for name, places in self.pruned.items():
            sizes[name].masked_fill_(places, 0)
        if self.scope == "all":
            limit = smallest(torch.cat([size.flatten() for size in sizes.values()]), share)
        for name, size in sizes.items():
            if self.scope == "each":
                limit = smallest(size.flatten(), share)
            self.pruned[name] = (size <= limit) | self.pruned.get(name, False)
        self.sparsity = self._sparsity()


def smallest(values: Tensor, share: float) -> Tensor:
    """The number at or below which `share` of the values lie. Args: values (n,), none negative."""
    count = int(share * values.numel())
    return values.new_tensor(-1.0) if count == 0 else values.float().kthvalue(count).values.to(values.dtype)
