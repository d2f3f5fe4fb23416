"""The recurrence as torch.export sees it: the specification's step in a scan where the length is open.

A graph for another runtime can hold neither Python's loops over a length that is not known yet nor the kernels that the
fast functions choose from.
"""

import torch
from torch import Tensor

from . import reference
from .reference import Cell, RecurrenceOutput


def is_exporting() -> bool:
    """Whether torch.export traces now."""
    known = getattr(torch.compiler, "is_exporting", None)  # not before torch 2.7
    return known is not None and known()


def recurrence(
    x_preact: Tensor, hidden: Tensor, cell: Tensor | None, cells: list[Cell], cell_type: str
) -> RecurrenceOutput:
    """`reference.recurrence` of a length that is left open, without a read: a scan. Same arguments and result."""
    from torch._higher_order_ops.scan import scan  # not in every torch, nor needed but here

    def step(state: tuple[Tensor, ...], x: Tensor):
        last_cell = state[1] if len(state) == 2 else None
        out = reference.recurrence(x.unsqueeze(0), state[0], last_cell, cells, cell_type)
        ends = (out.last_hidden,) if last_cell is None else (out.last_hidden, out.cell)
        return tuple(end.clone() for end in ends), out.last_hidden.clone()

    start = (hidden,) if cell is None else (hidden, cell)
    ends, outputs = scan(step, start, x_preact)
    return RecurrenceOutput(outputs, None, None, ends[0], None if cell is None else ends[1], None)
