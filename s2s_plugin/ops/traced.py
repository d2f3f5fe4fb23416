"""The recurrence as torch.export sees it: the specification's step in a scan where the length is open.

A graph for another runtime can hold neither Python's loops over a length that is not known yet nor the kernels that the
fast functions choose from.
"""

import torch
from torch import Tensor

from . import reference
from .reference import Cell, Read, RecurrenceOutput, Source


def is_exporting() -> bool:
    """Whether torch.export traces now."""
    known = getattr(torch.compiler, "is_exporting", None)  # not before torch 2.7
    return known is not None and known()


def recurrence(
    x_preact: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    cells: list[Cell],
    cell_type: str,
    read: Read | None = None,
    source: Source | None = None,
    **options,
) -> RecurrenceOutput:
    """`reference.recurrence`: same arguments, shapes and result.

    A scan where the number of steps is left open; where it is known, or a read is part of them, they are written out.
    """
    if read is not None or isinstance(x_preact.size(0), int):
        return reference.recurrence(x_preact, hidden, cell, cells, cell_type, read, source, **options)

    from torch._higher_order_ops.scan import scan  # not in every torch, nor needed but here

    def step(state: tuple[Tensor, ...], x: Tensor):
        last_cell = state[1] if len(state) == 2 else None
        out = reference.recurrence(x.unsqueeze(0), state[0], last_cell, cells, cell_type)
        ends = (out.last_hidden,) if last_cell is None else (out.last_hidden, out.cell)
        return tuple(end.clone() for end in ends), out.last_hidden.clone()

    start = (hidden,) if cell is None else (hidden, cell)
    ends, outputs = scan(step, start, x_preact)
    return RecurrenceOutput(outputs, None, None, ends[0], None if cell is None else ends[1], None)
