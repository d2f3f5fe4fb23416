"""Arguments of `recurrence` for its tests: every kind of cell, read, norm and dropout, at sizes that all differ."""

import torch

from s2s_plugin.ops.reference import GATES, Cell, Read, RecurrenceOutput, Source

KINDS = {
    "plain": {"reads": False},
    "previous state asks": {},
    "first cell asks": {"links": 2, "read_at": 1},
    "three cells, norms, dropout, heads": {
        "links": 3, "read_at": 1, "has_norms": True, "has_dropout": True, "heads": 3,
    },
    "norms": {"has_norms": True},
    "norms without a read": {"reads": False, "links": 2, "has_norms": True, "has_dropout": True},
    "heads and dropout": {"heads": 3, "has_dropout": True},
    "coverage": {"has_coverage": True},
    "coverage, heads, dropout, two cells": {
        "links": 2, "read_at": 1, "heads": 3, "has_dropout": True, "has_coverage": True,
    },
    "location": {"has_location": True},
    "location, coverage, heads, dropout, two cells": {
        "links": 2, "read_at": 1, "heads": 3, "has_dropout": True, "has_coverage": True, "has_location": True,
    },
}  # fmt: skip
"""Changes to the arguments of `make_recurrence`."""

CASES = [(cell_type, kind) for cell_type in GATES for kind in KINDS]


class Inputs:
    """Positional arguments, keyword arguments, and by name the tensors that have a gradient."""

    def __init__(self, args: tuple, options: dict):
        self.args, self.options = args, options
        x_preact, hidden, cell, cells, self.cell_type, read, source = args
        named = {"x_preact": x_preact, "hidden": hidden, "cell": cell}
        for index, weights in enumerate(cells):
            named |= {f"cells[{index}].{name}": value for name, value in weights._asdict().items()}
        named |= read._asdict() if read else {}
        named |= {"memory": source.memory, "keys": source.keys} if source else {}
        named |= {name: options.get(name) for name in ("coverage", "attn_prev")}
        self.named = {name: value for name, value in named.items() if value is not None}

    def call(self, function) -> RecurrenceOutput:
        return function(*self.args, **self.options)

    def to(self, dtype) -> "Inputs":
        """A copy with leaves of its own."""

        def copy(x):
            if isinstance(x, torch.Tensor):
                return x.detach().to(dtype).requires_grad_(x.requires_grad) if x.is_floating_point() else x
            if isinstance(x, list):
                return [copy(y) for y in x]
            return type(x)(*map(copy, x)) if isinstance(x, tuple) else x

        return Inputs(tuple(map(copy, self.args)), {name: copy(value) for name, value in self.options.items()})


def make_recurrence(
    cell_type, steps, batch, source_size, memory_size, attn_dim, size, dtype,
    *, reads=True, links=1, read_at=0, heads=1, has_norms=False, has_dropout=False, has_coverage=False,
    has_location=False,
) -> Inputs:  # fmt: skip
    """A state that is not zero, padding on both sides, one row of one word, one of padding alone."""
    gates = GATES[cell_type] * size

    def tensor(*shape):
        # Matrices that do not blow differences up from step to step.
        return (torch.randn(*shape, dtype=dtype) * (0.4 if len(shape) == 2 else 1.0)).requires_grad_()

    def keep(*shape):
        return torch.bernoulli(torch.full(shape, 0.5, dtype=dtype)) * 2 if has_dropout else None

    mask = torch.zeros(batch, source_size, dtype=torch.bool)
    if batch > 1:
        mask[1, 1:] = True
    if batch > 2:
        mask[2, : source_size // 2] = True
    if batch > 3:
        mask[3] = True
    norms_cell = has_norms and cell_type == "lstm"
    cells = [
        Cell(
            tensor(gates, size), tensor(gates), tensor(gates) if index else None, tensor(gates) if has_norms else None,
            *((tensor(size), tensor(size)) if norms_cell else (None, None)),
        )
        for index in range(links)
    ]  # fmt: skip
    args = (
        tensor(steps, batch, gates),
        tensor(batch, size),
        tensor(batch, size) if cell_type == "lstm" else None,
        cells,
    )
    options = {"hidden_keep": keep(links, batch, size)}
    if not reads:
        return Inputs((*args, cell_type, None, None), options)
    read = Read(
        tensor(attn_dim, size),
        tensor(attn_dim),
        tensor(gates, memory_size),
        tensor(gates) if has_norms else None,
        tensor(attn_dim) if has_coverage else None,
        *((tensor(2, 3), tensor(attn_dim, 2)) if has_location else (None, None)),
    )
    source = Source(tensor(batch, source_size, memory_size), tensor(batch, source_size, attn_dim), mask)
    options |= {"read_at": read_at, "heads": heads, "attn_keep": keep(steps, batch, heads, source_size)}
    for name, is_known in (("coverage", has_coverage), ("attn_prev", has_location)):
        options[name] = torch.rand(batch, source_size, dtype=dtype).requires_grad_() if is_known else None
    return Inputs((*args, cell_type, read, source), options)


def outputs_and_gradients(function, inputs: Inputs, dtype) -> dict:
    """All outputs by name, and as `d name` the gradients of a random sum of them, from copies in `dtype`."""
    inputs = inputs.to(dtype)
    out = inputs.call(function)
    generator = torch.Generator().manual_seed(6)
    parts = [y.to(dtype) for y in out if y is not None]
    sum((y * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(dtype)).sum() for y in parts).backward()
    named = {name: y.detach() for name, y in zip(out._fields, out, strict=True) if y is not None}
    return named | {f"d {name}": x.grad for name, x in inputs.named.items()}
