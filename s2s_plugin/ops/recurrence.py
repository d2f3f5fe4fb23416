"""`reference.recurrence` as one differentiable function with a hand-written backward.

The forward loop (`steps.py`) leaves no autograd records and the backward loop forms no weight gradient: what the loop
collected becomes one matrix product over all time steps after it, in the `finish` of each part. The derivation is in
README.md.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cells as cell_functions
from . import reference, traced
from .additive_attention import AdditiveRead, cast_for_reading
from .devices import cast
from .history import Past, pasts
from .products import linear, matmul, pack
from .reference import Cell, Read, RecurrenceOutput, Source, check_recurrence
from .steps import Kept, Shape, build_norm, cast_source, prepare_weights, run_forward


class _CellBackward:
    """What the backward loop needs of one cell of a step, and collects for it.

    Args:
        weights: of the cell.   shape: of the recurrence.
        like: (T, B, G*H), for the buffers.   hidden: (B, H) in the dtype of the state.
    """

    def __init__(self, weights: Cell, shape: Shape, like: Tensor, hidden: Tensor):
        self.w_hidden_t = pack(weights.w_hidden.t())
        size = weights.w_hidden.size(1)
        self.norm_hidden = build_norm(weights.gain_hidden, weights.b_hidden, size)
        self.norm_cell = build_norm(weights.gain_cell, weights.b_cell, size)
        self.d_x = torch.empty_like(like)
        is_shared = shape.is_additive and self.norm_hidden is None
        self.d_h = self.d_x if is_shared else torch.empty_like(like)
        if self.norm_hidden is not None:
            self.norm_hidden.start_backward(like[0].to(hidden.dtype))
        if self.norm_cell is not None:
            self.norm_cell.start_backward(hidden)

    def finish(self, weights: Cell, states: Tensor) -> Cell:
        """The gradients of the cell's weights. Args: states (T*B, H), what its matrix was multiplied with."""
        d_gain = d_gain_cell = d_b_cell = None
        if self.norm_hidden is None:
            d_b_hidden = self.d_h.sum(dim=(0, 1))
        else:
            d_gain, d_b_hidden = self.norm_hidden.finish()
        if self.norm_cell is not None:
            d_gain_cell, d_b_cell = self.norm_cell.finish()
        grads = Cell(
            w_hidden=matmul(self.d_h.flatten(0, 1).t(), states),
            b_hidden=d_b_hidden,
            b_input=None if weights.b_input is None else self.d_x.sum(dim=(0, 1)),
            gain_hidden=d_gain,
            gain_cell=d_gain_cell,
            b_cell=d_b_cell,
        )
        return Cell(*(None if x is None else d_x.to(x.dtype) for d_x, x in zip(grads, weights, strict=True)))


class _ReadBackward:
    """The same for the read.

    Args:
        read: its weights.   source: what was read.   kept: what the forward loop left.   shape: of the recurrence.
        past: where was read before the first step.
        d_product: (T, B, G*H), the buffer in which the gradient of W_c context is, for all steps.
    """

    def __init__(
        self, read: Read, source: Source, past: Past, kept: Kept, shape: Shape, size: int,
        d_product: Tensor,
    ):  # fmt: skip
        self.weights, self.kept = read, kept
        self.read = AdditiveRead(*source, read.v, shape.heads, read.w_coverage, read.filters, read.w_location)
        self.pasts = pasts(past, kept.attns)
        self.read.start_backward()
        self.w_query_t, self.w_context_t = pack(read.w_query.t()), pack(read.w_context.t())
        self.d_queries, self.d_contexts = torch.empty_like(kept.queries), torch.empty_like(kept.contexts)
        self.norm = build_norm(read.gain_context, None, size)
        # Without a norm the gradient behind W_c is that of the cell's input, which the buffer holds.
        self.d_product = d_product if self.norm is None else torch.empty_like(d_product)
        if self.norm is not None:
            self.norm.start_backward(d_product[0].to(self.read.softmax_dtype))

    def backward(self, t: int, d_x: Tensor, norms: list, keep, d_context: Tensor, d_attn: Tensor):
        """Backward of step t.

        Args: d_x (B, G*H), of the cell's input; d_attn (B, S). Returns W_q^T d_query (B, H), and gradients of the past.
        """
        if self.norm is not None:
            self.d_product[t] = self.norm.backward(d_x, *_pop_pair(norms))
        self.d_contexts[t] = linear(self.d_product[t], self.w_context_t, add=d_context)
        self.d_queries[t], d_past = self.read.backward(
            self.kept.queries[t], self.kept.attns[t], keep, self.pasts[t], self.d_contexts[t], d_attn
        )
        return linear(self.d_queries[t], self.w_query_t), d_past

    def finish(self, states: Tensor, keep: Tensor | None) -> tuple[list, Read]:
        """Gradients of memory, keys and of the weights. Args: states (T*B, H), which W_q was multiplied with."""
        weights = self.kept.attns if keep is None else self.kept.attns * keep
        d_keys, d_memory, d_v, *d_history = self.read.finish(
            weights.permute(1, 2, 0, 3), self.d_contexts.transpose(0, 1)
        )
        d_gain = None if self.norm is None else self.norm.finish()[0].to(self.weights.gain_context.dtype)
        history = self.weights.w_coverage, self.weights.filters, self.weights.w_location
        d_history = [None if x is None else d_x.to(x.dtype) for d_x, x in zip(d_history, history, strict=True)]
        d_read = Read(
            w_query=matmul(self.d_queries.flatten(0, 1).t(), states),
            v=d_v.to(self.weights.v.dtype),
            w_context=matmul(self.d_product.flatten(0, 1).t(), self.kept.contexts.flatten(0, 1)),
            gain_context=d_gain,
            w_coverage=d_history[0],
            filters=d_history[1],
            w_location=d_history[2],
        )
        return [d_memory, d_keys], d_read


def _pop_pair(stack: list) -> list:
    """Takes the last two, in their order."""
    pair = stack[-2:]
    del stack[-2:]
    return pair


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x_preact, hidden, cell, memory, keys, padding_mask, coverage, attn_prev, hidden_keep, attn_keep, shape,
        *flat
    ):  # fmt: skip
        cells, read = _unflatten(flat, shape)
        source = Source(memory, keys, padding_mask) if shape.reads else None
        weights = prepare_weights(cells, read, shape.read_at)
        out, kept = run_forward(
            x_preact, hidden, cell, source, Past(coverage, attn_prev), weights, shape, hidden_keep, attn_keep, keep=True
        )
        ctx.shape, ctx.counts = shape, (len(kept.gates), len(kept.cells))
        ctx.dtypes = hidden.dtype, None if cell is None else cell.dtype
        ctx.save_for_backward(
            memory, keys, padding_mask, coverage, attn_prev, hidden_keep, attn_keep, *flat, *kept.tensors
        )
        return tuple(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_hiddens, d_contexts, d_attns, d_hidden, d_cell, d_coverage):
        shape = ctx.shape
        memory, keys, padding_mask, coverage, attn_prev, hidden_keep, attn_keep, *rest = ctx.saved_tensors
        count = len(Cell._fields) * shape.links + (len(Read._fields) if shape.reads else 0)
        cells, read = _unflatten(rest[:count], shape)
        kept = Kept.of(rest[count:], *ctx.counts)
        like = d_hiddens.new_empty(*d_hiddens.shape[:2], cells[0].w_hidden.size(0), dtype=kept.hiddens.dtype)
        links = [_CellBackward(weights, shape, like, d_hidden) for weights in cells]
        reading = None
        if shape.reads:
            size, source = kept.hiddens.size(2), Source(memory, keys, padding_mask)
            past = Past(coverage, attn_prev)
            reading = _ReadBackward(read, source, past, kept, shape, size, links[shape.read_at].d_x)
        step_cell = cell_functions.BACKWARD[shape.cell_type]
        d_past = Past(d_coverage, None)
        cell_states = kept.cells or [None] * (len(kept.gates) + 1)
        for index in reversed(range(len(kept.gates))):
            t, k = divmod(index, shape.links)
            link = links[k]
            if k == shape.links - 1:
                d_hidden = d_hidden + d_hiddens[t]
            states = kept.hiddens[index], cell_states[index], cell_states[index + 1]
            grad = step_cell(d_hidden, d_cell, kept.gates[index], *states, link.norm_cell)
            d_cell = grad.d_cell
            link.d_x[t] = grad.d_x_preact
            d_asking = None
            if shape.reads_at(k):
                keep = None if attn_keep is None else attn_keep[t]
                # A step's weights are part of all later coverages, and what the next step knows.
                d_attn = sum((d_of_past for d_of_past in d_past if d_of_past is not None), start=d_attns[t])
                d_asking, d_before = reading.backward(t, grad.d_x_preact, kept.norms, keep, d_contexts[t], d_attn)
                d_past = d_past.before(d_before)
            if link.norm_hidden is not None:
                link.d_h[t] = link.norm_hidden.backward(grad.d_h_preact, *_pop_pair(kept.norms))
            elif link.d_h is not link.d_x:
                link.d_h[t] = grad.d_h_preact
            d_hidden = linear(link.d_h[t], link.w_hidden_t, add=d_asking).to(d_hidden.dtype)
            if hidden_keep is not None:
                d_hidden *= hidden_keep[k]
            if grad.d_hidden is not None:
                d_hidden += grad.d_hidden

        grads, d_source, d_read = [], [None, None], ()
        for k, (link, weights) in enumerate(zip(links, cells, strict=True)):
            states = kept.hiddens[k : -1 : shape.links]
            states = (states if hidden_keep is None else states * hidden_keep[k]).flatten(0, 1)
            grads.extend(link.finish(weights, states))
            if shape.reads_at(k):
                d_source, d_read = reading.finish(states, attn_keep)
                d_source = [d_source[0].to(memory.dtype), d_source[1].to(keys.dtype)]
        hidden_dtype, cell_dtype = ctx.dtypes
        d_cell = None if d_cell is None else d_cell.to(cell_dtype)
        d_start = links[0].d_x, d_hidden.to(hidden_dtype), d_cell
        return *d_start, *d_source, None, *d_past, None, None, None, *grads, *d_read


def _unflatten(flat, shape: Shape) -> tuple[list[Cell], Read | None]:
    """The weights from one row of tensors, as autograd wants them."""
    width = len(Cell._fields)
    cells = [Cell(*flat[k * width : (k + 1) * width]) for k in range(shape.links)]
    return cells, Read(*flat[shape.links * width :]) if shape.reads else None


def recurrence(
    x_preact: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    cells: list[Cell],
    cell_type: str,
    read: Read | None = None,
    source: Source | None = None,
    *,
    read_at: int = 0,
    heads: int = 1,
    coverage: Tensor | None = None,
    attn_prev: Tensor | None = None,
    hidden_keep: Tensor | None = None,
    attn_keep: Tensor | None = None,
) -> RecurrenceOutput:
    """The fast twin of `reference.recurrence`: same arguments, shapes, result and errors.

    Gradients flow into every tensor but the masks and the factors `hidden_keep` and `attn_keep`, from every output, the
    attention weights included. It can be differentiated once. Under torch's autocast the matrix products run in its
    dtype, off the CPU also the energies; the state, norms, the softmax and what is summed over time stay in float32.
    """
    check_recurrence(cell_type, cells, read, read_at, coverage, attn_prev)
    if traced.is_exporting():
        if read is None and not isinstance(x_preact.size(0), int):
            return traced.recurrence(x_preact, hidden, cell, cells, cell_type)
        return reference.recurrence(
            x_preact, hidden, cell, cells, cell_type, read, source, read_at=read_at, heads=heads, coverage=coverage,
            attn_prev=attn_prev, hidden_keep=hidden_keep, attn_keep=attn_keep,
        )  # fmt: skip
    shape = Shape(cell_type, len(cells), read is not None, read_at, heads)
    x_preact, source = cast(x_preact), cast_source(source)
    # The matrices and what is added to their products; gains and the cell state's norm stay in float32.
    cells = [Cell(cast(w.w_hidden), cast(w.b_hidden), w.b_input, w.gain_hidden, w.gain_cell, w.b_cell) for w in cells]
    if read is not None:
        v, *history = cast_for_reading(read.v, read.w_coverage, read.filters, read.w_location)
        read = Read(cast(read.w_query), v, cast(read.w_context), read.gain_context, *history)
    if hidden_keep is not None:
        hidden_keep = hidden_keep.to(x_preact.dtype)
    flat = [tensor for weights in cells for tensor in weights] + list(read or ())
    with torch.autocast(x_preact.device.type, enabled=False):
        if not torch.is_grad_enabled():
            weights = prepare_weights(cells, read, read_at)
            return run_forward(
                x_preact,
                hidden,
                cell,
                source,
                Past(coverage, attn_prev),
                weights,
                shape,
                hidden_keep,
                attn_keep,
                keep=False,
            )[0]
        read_from = source or (None,) * 3
        return RecurrenceOutput(
            *_Recurrence.apply(
                x_preact, hidden, cell, *read_from, coverage, attn_prev, hidden_keep, attn_keep, shape, *flat
            )
        )
