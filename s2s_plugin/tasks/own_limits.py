"""With `max_len_a`, a translation may be so many times as long as its source, whatever stands beside it in the batch.

fairseq lets every translation of a batch become as long as that of its longest line may be, so that the lines around
one change its result. Here each ends where it would end alone.
"""

import copy

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor


def longest_translation(generator: SequenceGenerator, size: int) -> int:
    """In pieces without the end, of a source of so many with it."""
    return min(int(generator.max_len_a * size + generator.max_len_b), generator.max_len - 1)


class OwnLimits:
    """Takes part in fairseq's search of one batch: after `hold`, each line ends at its own limit.

    Args:
        limits: (B,) int64, the longest translations, in pieces without the end.
        min_len: the shortest; where a limit is shorter, that.
        eos: the end's place in the dictionary.
        free: steps of given words, in which no end is forbidden.
    """

    def __init__(self, limits: Tensor, min_len: int, eos: int, free: int):
        self.limits, self.min_len, self.eos, self.free = limits, min_len, eos, free
        self.lowest = int(limits.min())
        self.of_rows = limits  # of the lines that are not finished

    def hold(self, generator: SequenceGenerator) -> None:
        """Changes a generator that no one else uses."""
        generator.min_len = min(self.min_len, self.lowest)
        generator.search = copy.copy(generator.search)
        self.take, generator.search.step = generator.search.step, self.step
        self.has_beam, generator.is_finished = generator.is_finished, self.is_finished

    def step(self, step: int, lprobs: Tensor, scores: Tensor, tokens: Tensor, rows: Tensor):
        """As `Search.step`. Args: lprobs (rows, beam, V), changed in place; rows (rows,) int64, places in the batch."""
        self.of_rows = self.limits[rows]
        if self.free <= step < self.min_len:
            lprobs[step < self.of_rows, :, self.eos] = -torch.inf
        if step >= self.lowest:
            at_limit = (step >= self.of_rows).view(-1, 1, 1)
            ends = lprobs[:, :, self.eos].clone()
            lprobs.masked_fill_(at_limit, -torch.inf)
            lprobs[:, :, self.eos] = ends
        return self.take(step, lprobs, scores, tokens, rows)

    def is_finished(self, step: int, unfin_idx: int, *others) -> bool:
        """As `SequenceGenerator.is_finished`."""
        return step >= int(self.of_rows[unfin_idx]) or self.has_beam(step, unfin_idx, *others)


def own_limits(generator: SequenceGenerator, sample: dict, free: int = 0) -> OwnLimits | None:
    """Those of a batch, or None where fairseq's one limit is that of each line alone.

    Args:
        sample: of fairseq; its net_input has src_lengths (B,), pieces with the end.
        free: words of given beginnings, which no limit cuts.
    """
    if not generator.max_len_a or generator.match_source_len:
        return None
    sizes = sample["net_input"]["src_lengths"]
    limits = [max(longest_translation(generator, size), free) for size in sizes.tolist()]
    if min(limits) == max(limits) and generator.min_len <= min(limits):
        return None
    return OwnLimits(torch.tensor(limits, device=sizes.device), generator.min_len, generator.eos, free)
