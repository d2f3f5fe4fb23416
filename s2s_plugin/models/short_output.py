"""The output projection over a shortlist, some sentences at a time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .encoder import Shortlist

_TOGETHER = 32
"""Sentences whose words are put together: fewer have fewer words, and more make fewer products."""
_WIDTH = 256
"""Numbers of words are multiples of it: oneDNN spends a millisecond on the first product of each shape."""


class Part(NamedTuple):
    """Rows that lie together, and the words that they may have; None for all words.

    Attributes:
        rows: a slice of the batch.
        columns: (W,) int64, ascending places in the shortlist.
        projection: to the logits of these words.
        forbidden: (R, W) bool, where a row's sentence has not the word.
    """

    rows: slice
    columns: Tensor | None = None
    projection: tuple | None = None
    forbidden: Tensor | None = None

    def split(self, rows: int) -> Iterator["Part"]:
        """The same in parts of so many rows, and a last one of fewer."""
        first, end = self.rows.start, self.rows.stop
        for start in range(first, end, rows):
            stop = min(start + rows, end)
            forbidden = None if self.forbidden is None else self.forbidden[start - first : stop - first]
            yield self._replace(rows=slice(start, stop), forbidden=forbidden)


class ShortOutput:
    """Finds for the rows of a step the words that they may have: those of a few sentences are far fewer than a batch's.

    Args:
        project: from columns (W,) to a projection to their logits.
        shortlist: of the batch.
        rows: (B,) int64, the sentence of each row.
        first: columns that every part has, whether or not they are allowed.
    """

    def __init__(self, project: Callable[[Tensor], tuple], shortlist: Shortlist, rows: Tensor, first: int):
        self.rows, self.parts, self.groups = None, [], []
        sentences, of_row = rows.unique(return_inverse=True)
        first_row = torch.zeros_like(sentences).scatter_(0, of_row, torch.arange(len(rows), device=rows.device))
        allowed = shortlist.allowed[first_row]
        self.place = rows.new_zeros(int(sentences.max()) + 1)
        self.place[sentences] = torch.arange(len(sentences), device=rows.device)
        for start in range(0, len(sentences), _TOGETHER):
            part = allowed[start : start + _TOGETHER]
            wanted = part.any(dim=0)
            wanted[:first] = True
            others = (~wanted).nonzero().flatten()[: -int(wanted.sum()) % _WIDTH]
            wanted[others] = True
            columns = wanted.nonzero().flatten()
            self.groups.append((columns, project(columns), ~part[:, columns]))

    def of_rows(self, rows: Tensor) -> list[Part]:
        """The parts of a step, in the order of its rows. Args: rows, as above, fewer or in another order."""
        if rows is not self.rows:
            self.rows, self.parts = rows, list(self._parts(self.place[rows]))
        return self.parts

    def _parts(self, places: Tensor) -> Iterator[Part]:
        groups, counts = (places // _TOGETHER).unique_consecutive(return_counts=True)
        start = 0
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            columns, projection, forbidden = self.groups[group]
            of_rows = forbidden.index_select(0, places[start : start + count] % _TOGETHER)
            yield Part(slice(start, start + count), columns, projection, of_rows)
            start += count
