"""`reference.attention_recurrence` as one differentiable function with a hand-written backward.

The forward loop leaves no autograd records and the backward loop forms no weight gradient: every one is a single matrix
product over all time steps after it. The derivation is in README.md.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cells
from .additive_attention import AdditiveRead
from .reference import RecurrenceOutput, check_cell


class _AttentionRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x_preact, memory, keys, padding_mask, hidden, cell, w_query, v, w_context, w_hidden, b_hidden, cell_type,
        differentiate,
    ):  # fmt: skip
        steps, batch, _ = x_preact.shape
        width, size = w_query.shape
        ctx.dtypes = hidden.dtype, None if cell is None else cell.dtype
        if steps > 1:
            # The query and the hidden side of the cell read the same state: one matrix product serves both. For a
            # single step of a search, to put the weights together would cost more than that saves.
            w_state = torch.cat([w_query, w_hidden]).t()
            b_state = torch.cat([b_hidden.new_zeros(width), b_hidden])
        w_context_t = w_context.t()
        read = AdditiveRead(keys, memory, v, padding_mask)
        step_cell = cells.FORWARD[cell_type]

        # The products run in the dtype of the weights; the state and the softmax stay in float32 or better.
        state_dtype = read.softmax_dtype
        hidden = hidden.to(state_dtype)
        cell = None if cell is None else cell.to(state_dtype)
        hiddens = x_preact.new_empty(steps + 1, batch, size)
        contexts = x_preact.new_empty(steps, batch, memory.size(2))
        queries = x_preact.new_empty(steps, batch, width)
        attns = x_preact.new_empty(steps, batch, memory.size(1), dtype=state_dtype)
        keep = differentiate and any(ctx.needs_input_grad)
        gates, cell_states = [], [cell]
        hiddens[0] = hidden
        for t in range(steps):
            if steps > 1:
                state = torch.addmm(b_state, hiddens[t], w_state)
                queries[t], h_preact = state[:, :width], state[:, width:].to(state_dtype)
            else:
                queries[t] = torch.mm(hiddens[t], w_query.t())
                h_preact = torch.addmm(b_hidden, hiddens[t], w_hidden.t()).to(state_dtype)
            contexts[t], attns[t] = read.forward(queries[t])
            preact = torch.addmm(x_preact[t], contexts[t], w_context_t).to(state_dtype)
            hidden, cell, saved = step_cell(preact, h_preact, hidden, cell)
            hiddens[t + 1] = hidden
            if keep:
                gates.append(saved)
                cell_states.append(cell)
        if keep:
            ctx.cell_type, ctx.has_cell = cell_type, cell is not None
            ctx.save_for_backward(
                memory, keys, padding_mask, w_query, v, w_context, w_hidden, hiddens, contexts, queries, attns,
                *gates, *(cell_states if cell is not None else []),
            )  # fmt: skip
        return hiddens[1:], contexts, attns, hidden, cell

    @staticmethod
    @once_differentiable
    def backward(ctx, d_hiddens, d_contexts, d_attns, d_hidden, d_cell):
        memory, keys, padding_mask, w_query, v, w_context, w_hidden, hiddens, contexts, queries, attns, *rest = (
            ctx.saved_tensors
        )
        steps, batch, width = queries.shape
        gates, cell_states = rest[:steps], rest[steps:] if ctx.has_cell else [None] * (steps + 1)
        read = AdditiveRead(keys, memory, v, padding_mask)
        read.start_backward()
        step_cell = cells.BACKWARD[ctx.cell_type]
        w_state = torch.cat([w_query, w_hidden])

        d_x_preact = hiddens.new_empty(steps, batch, w_context.size(0))
        # What flows into the state's product: the query's gradient, then the hidden side's.
        d_state = hiddens.new_empty(steps, batch, w_state.size(0))
        d_context_all = torch.empty_like(contexts)
        for t in reversed(range(steps)):
            d_hidden = d_hidden + d_hiddens[t]
            grad = step_cell(d_hidden, d_cell, gates[t], hiddens[t], cell_states[t], cell_states[t + 1])
            d_cell = grad.d_cell
            d_x_preact[t] = grad.d_x_preact
            d_context = torch.addmm(d_contexts[t], d_x_preact[t], w_context, out=d_context_all[t])
            d_state[t, :, :width] = read.backward(queries[t], attns[t], d_context, d_attns[t])
            d_state[t, :, width:] = grad.d_h_preact
            d_hidden = torch.mm(d_state[t], w_state).to(read.softmax_dtype)
            if grad.d_hidden is not None:
                d_hidden += grad.d_hidden

        d_keys, d_memory, d_v = read.finish(attns, d_context_all)
        d_w_state = d_state.flatten(0, 1).t() @ hiddens[:-1].flatten(0, 1)
        d_w_context = d_x_preact.flatten(0, 1).t() @ contexts.flatten(0, 1)
        d_b_hidden = d_state[:, :, width:].sum(dim=(0, 1))
        hidden_dtype, cell_dtype = ctx.dtypes
        return (
            d_x_preact, d_memory, d_keys, None,
            d_hidden.to(hidden_dtype), None if d_cell is None else d_cell.to(cell_dtype),
            d_w_state[:width], d_v, d_w_context, d_w_state[width:], d_b_hidden, None, None,
        )  # fmt: skip


def attention_recurrence(
    x_preact: Tensor,
    memory: Tensor,
    keys: Tensor,
    padding_mask: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    w_query: Tensor,
    v: Tensor,
    w_context: Tensor,
    w_hidden: Tensor,
    b_hidden: Tensor,
    cell_type: str,
) -> RecurrenceOutput:
    """The fast twin of `reference.attention_recurrence`: same arguments, shapes, result and errors.

    Gradients flow into every tensor argument, from every output, the attention weights included. It can be
    differentiated once. Under torch's autocast the matrix products and the tanh of the energies run in its dtype; the
    state, the softmax and what is summed over time stay in float32.
    """
    check_cell(cell_type)
    device = x_preact.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x_preact, memory, keys = x_preact.to(dtype), memory.to(dtype), keys.to(dtype)
        w_query, v, w_context, w_hidden, b_hidden = (w.to(dtype) for w in (w_query, v, w_context, w_hidden, b_hidden))
    with torch.autocast(device, enabled=False):
        return RecurrenceOutput(
            *_AttentionRecurrence.apply(
                x_preact, memory, keys, padding_mask, hidden, cell, w_query, v, w_context, w_hidden, b_hidden,
                cell_type, torch.is_grad_enabled(),
            )
        )  # fmt: skip
