"""The forward loop of `reference.recurrence`, without records for autograd, on weights laid out for many steps.

A step is a chain of cells, one of which may read; a cell, a read and a norm are each a pair of functions, forward and
backward, and the loops know nothing of their insides. `recurrence.py` has the way back.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from . import cells as cell_functions
from .additive_attention import AdditiveRead, cast_for_reading
from .devices import cast
from .history import Past
from .layer_norm import LayerNorm
from .products import linear, pack
from .reference import Cell, Read, RecurrenceOutput, Source


class Shape(NamedTuple):
    """What kind of recurrence it is; see the arguments of these names of `reference.recurrence`.

    Attributes:
        cell_type, read_at, heads: as there.
        links: K, cells of a step.
        reads: whether there is a read.
    """

    cell_type: str
    links: int
    reads: bool
    read_at: int
    heads: int

    def reads_at(self, k: int) -> bool:
        return self.reads and k == self.read_at

    @property
    def is_additive(self) -> bool:
        return self.cell_type in cell_functions.ADDITIVE


class CellStep(NamedTuple):
    """Weights of a cell, put together and laid out for many steps.

    Attributes:
        state: (A + G*H, H), [W_q; W_h] in the cell that reads: the query and the hidden side of the cell read the same
            state, so one matrix product serves both; elsewhere W_h. In the layout of `products.pack`.
        b_state: (A + G*H,), [0; b_h]; None where b_h comes after a norm.
        b_input: (G*H,) or None.
        norm_hidden, norm_cell: or None.
    """

    state: Tensor
    b_state: Tensor | None
    b_input: Tensor | None
    norm_hidden: LayerNorm | None
    norm_cell: LayerNorm | None


class StepWeights(NamedTuple):
    """All weights of a step, laid out for many.

    Attributes:
        cells: of the step, in their order.
        context: (G*H, M), in the layout of `products.pack`.   v: (A,).   norm_context: or None. None without a read.
        history: w_coverage (A,), filters (K, W), w_location (A, K), or None for each.
    """

    cells: list[CellStep]
    context: Tensor | None
    v: Tensor | None
    norm_context: LayerNorm | None
    history: tuple[Tensor | None, ...]


def build_norm(gain: Tensor | None, bias: Tensor | None, size: int) -> LayerNorm | None:
    """A norm in float32 or better, or None without a gain. Args as in `LayerNorm`."""
    if gain is None:
        return None
    dtype = torch.promote_types(gain.dtype, torch.float32)
    return LayerNorm(gain.to(dtype), None if bias is None else bias.to(dtype), size)


def _prepare_cell(weights: Cell, read: Read | None) -> CellStep:
    size = weights.w_hidden.size(1)
    state, b_state = cast(weights.w_hidden), cast(weights.b_hidden)
    if read is not None:
        state = torch.cat([cast(read.w_query), state])
        b_state = torch.cat([b_state.new_zeros(read.w_query.size(0)), b_state])
    return CellStep(
        pack(state),
        b_state if weights.gain_hidden is None else None,
        None if weights.b_input is None else cast(weights.b_input),
        build_norm(weights.gain_hidden, weights.b_hidden, size),
        build_norm(weights.gain_cell, weights.b_cell, size),
    )


def prepare_weights(cells: list[Cell], read: Read | None = None, read_at: int = 0) -> StepWeights:
    """`StepWeights` for `recurrence_steps`, from the arguments of the same names of `recurrence`.

    Under torch's autocast the matrices are in its dtype, as there.
    """
    steps = [_prepare_cell(weights, read if k == read_at else None) for k, weights in enumerate(cells)]
    if read is None:
        return StepWeights(steps, None, None, None, ())
    v, *history = cast_for_reading(read.v, read.w_coverage, read.filters, read.w_location)
    size = cells[0].w_hidden.size(1)
    return StepWeights(steps, pack(cast(read.w_context)), v, build_norm(read.gain_context, None, size), tuple(history))


class Kept(NamedTuple):
    """What the forward loop leaves behind; i = t K + k counts the cells that were run.

    Attributes:
        hiddens: (T*K+1, B, H), the state before each of them, and the last.
        contexts: (T, B, M).   attns: (T, B, N, S).   queries: (T, B, A), for the backward pass. None without a read.
        gates: T*K tensors, as the cell saves them.   cells: T*K+1 of (B, H), or none.
        norms: what the norms saved, pair by pair in the order of the run.
    """

    hiddens: Tensor
    contexts: Tensor | None
    attns: Tensor | None
    queries: Tensor | None
    gates: list
    cells: list
    norms: list

    @property
    def tensors(self) -> list:
        """All in one row, as autograd wants to keep them."""
        return [*self[:4], *self.gates, *self.cells, *self.norms]

    @classmethod
    def of(cls, tensors: list, gates: int, cells: int) -> "Kept":
        """The inverse of `tensors`, given how many gates and cells there are."""
        fixed, rest = tensors[:4], tensors[4:]
        return cls(*fixed, rest[:gates], rest[gates : gates + cells], rest[gates + cells :])


def run_forward(
    x_preact, hidden, cell, source, past: Past, weights: StepWeights, shape: Shape, hidden_keep, attn_keep, keep: bool
):
    """The forward loop. Returns a RecurrenceOutput, and `Kept`, without what only the backward pass needs if not
    `keep`."""
    steps, batch, _ = x_preact.shape
    dtype = x_preact.dtype
    # The products run in the dtype of the weights; the state and the softmax stay in float32 or better.
    state_dtype = torch.promote_types(dtype, torch.float32)
    hidden = hidden.to(state_dtype)
    cell = None if cell is None else cell.to(state_dtype)
    past = Past(*(None if x is None else x.to(state_dtype) for x in past))
    kept = Kept(
        x_preact.new_empty(steps * shape.links + 1, batch, hidden.size(1)),
        *_read_buffers(x_preact, source, weights, shape, state_dtype, keep),
        [], [] if cell is None else [cell], [],
    )  # fmt: skip
    read = AdditiveRead(*source, weights.v, shape.heads, *weights.history) if shape.reads else None
    step_cell = cell_functions.FORWARD[shape.cell_type]
    constant = [None if step.b_input is None else step.b_input.expand_as(x_preact[0]) for step in weights.cells]
    kept.hiddens[0] = hidden
    for index in range(steps * shape.links):
        t, k = divmod(index, shape.links)
        step = weights.cells[k]
        asking = kept.hiddens[index] if hidden_keep is None else kept.hiddens[index] * hidden_keep[k]
        x, h_preact = x_preact[t] if k == 0 else constant[k], linear(asking, step.state, step.b_state)
        if shape.reads_at(k):
            query, h_preact = h_preact[:, : weights.v.size(0)], h_preact[:, weights.v.size(0) :]
            kept.contexts[t], kept.attns[t] = read.forward(query, None if attn_keep is None else attn_keep[t], past)
            past = past.after(kept.attns[t].mean(dim=1))
            if keep:
                kept.queries[t] = query
        if step.norm_hidden is not None:
            h_preact, *saved = step.norm_hidden.forward(h_preact.to(state_dtype))
            kept.norms.extend(saved if keep else ())
        if shape.is_additive:
            x, h_preact = x + h_preact, None
        if not shape.reads_at(k):
            preact = x.to(state_dtype, copy=not shape.is_additive)  # the cells write into it
        elif weights.norm_context is None:
            preact = linear(kept.contexts[t], weights.context, add=x.to(dtype)).to(state_dtype)
        else:
            preact = linear(kept.contexts[t], weights.context).to(state_dtype)
            preact, *saved = weights.norm_context.forward(preact)
            preact += x
            kept.norms.extend(saved if keep else ())
        h_preact = None if h_preact is None else h_preact.to(state_dtype)
        hidden, cell, gates = step_cell(preact, h_preact, hidden, cell, step.norm_cell)
        kept.hiddens[index + 1] = hidden
        if keep:
            kept.gates.append(gates[0] if len(gates) == 1 else torch.cat(gates, dim=1))
            kept.cells.extend(() if cell is None else [cell])
    attn = None if read is None else kept.attns.squeeze(2) if shape.heads == 1 else kept.attns.mean(dim=2)
    return RecurrenceOutput(
        kept.hiddens[shape.links :: shape.links], kept.contexts, attn, hidden, cell, past.coverage
    ), kept


def _read_buffers(x_preact, source, weights: StepWeights, shape: Shape, state_dtype, keep: bool):
    """`contexts`, `attns` and `queries` of `Kept`."""
    if not shape.reads:
        return None, None, None
    steps, batch, _ = x_preact.shape
    return (
        x_preact.new_empty(steps, batch, source.memory.size(2)),
        x_preact.new_empty(steps, batch, shape.heads, source.memory.size(1), dtype=state_dtype),
        x_preact.new_empty(steps, batch, weights.v.size(0)) if keep else None,
    )


def cast_source(source: Source | None) -> Source | None:
    """As it is read under the active autocast."""
    return None if source is None else Source(*cast_for_reading(source.memory, source.keys), source.padding_mask)


def recurrence_steps(
    x_preact: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    weights: StepWeights,
    cell_type: str,
    source: Source | None = None,
    *,
    read_at: int = 0,
    heads: int = 1,
    coverage: Tensor | None = None,
    attn_prev: Tensor | None = None,
) -> RecurrenceOutput:
    """`reference.recurrence` without gradients and dropout, on weights that `prepare_weights` has laid out once.

    Args:
        weights: of `prepare_weights`, under the same autocast. The others as in `reference.recurrence`.
    """
    x_preact, shape = cast(x_preact), Shape(cell_type, len(weights.cells), source is not None, read_at, heads)
    source = cast_source(source)
    with torch.no_grad(), torch.autocast(x_preact.device.type, enabled=False):
        past = Past(coverage, attn_prev)
        return run_forward(x_preact, hidden, cell, source, past, weights, shape, None, None, keep=False)[0]
