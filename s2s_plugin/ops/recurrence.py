"""`reference.attention_recurrence` as one differentiable function with a hand-written backward.

The forward loop leaves no autograd records and the backward loop forms no weight gradient: every one is a single matrix
product over all time steps after it. The derivation is in README.md.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cells
from .additive_attention import AdditiveRead, cast_for_reading
from .devices import cast
from .products import linear, matmul, pack
from .reference import RecurrenceOutput, check_cell


class StepWeights(NamedTuple):
    """The weights of a step, put together and laid out for many steps.

    Attributes:
        state: (A + G*H, H), [W_q; W_h]: the query and the hidden side of the cell read the same state, so one matrix
            product serves both. In the layout of `products.pack`.
        b_state: (A + G*H,), [0; b_h].
        context: (G*H, M), in the layout of `products.pack`.
        v: (A,).
    """

    state: Tensor
    b_state: Tensor
    context: Tensor
    v: Tensor


def prepare_weights(w_query: Tensor, v: Tensor, w_context: Tensor, w_hidden: Tensor, b_hidden: Tensor) -> StepWeights:
    """`StepWeights` for `attention_steps`, from the arguments of the same names of `attention_recurrence`.

    Under torch's autocast they are in its dtype, as there.
    """
    w_query, w_context, w_hidden, b_hidden = map(cast, (w_query, w_context, w_hidden, b_hidden))
    (v,) = cast_for_reading(v)
    b_state = torch.cat([b_hidden.new_zeros(w_query.size(0)), b_hidden])
    return StepWeights(pack(torch.cat([w_query, w_hidden])), b_state, pack(w_context), v)


class _Kept(NamedTuple):
    """What the backward pass needs.

    Attributes:
        hiddens: (T+1, B, H).   queries: (T, B, A).
        gates: T tensors, as the cell saves them.   cells: T+1 of (B, H), or of None.
    """

    hiddens: Tensor
    queries: Tensor
    gates: list
    cells: list


def _run(x_preact, memory, keys, padding_mask, hidden, cell, weights: StepWeights, cell_type: str, keep: bool):
    """The forward loop. Returns a RecurrenceOutput, and `_Kept` if `keep`."""
    steps, batch, _ = x_preact.shape
    width = weights.v.size(0)
    read = AdditiveRead(keys, memory, weights.v, padding_mask)
    step_cell = cells.FORWARD[cell_type]

    # The products run in the dtype of the weights; the state and the softmax stay in float32 or better.
    state_dtype = read.softmax_dtype
    hidden = hidden.to(state_dtype)
    cell = None if cell is None else cell.to(state_dtype)
    hiddens = x_preact.new_empty(steps + 1, batch, hidden.size(1))
    contexts = x_preact.new_empty(steps, batch, memory.size(2))
    attns = x_preact.new_empty(steps, batch, memory.size(1), dtype=state_dtype)
    kept = _Kept(hiddens, x_preact.new_empty(steps, batch, width), [], [cell]) if keep else None
    hiddens[0] = hidden
    for t in range(steps):
        state = linear(hiddens[t], weights.state, weights.b_state)
        query, h_preact = state[:, :width], state[:, width:]
        contexts[t], attns[t] = read.forward(query)
        x_t = x_preact[t]
        if cell_type in cells.ADDITIVE:
            preact, h_preact = linear(contexts[t], weights.context, add=x_t.add(h_preact)), None
        else:
            preact, h_preact = linear(contexts[t], weights.context, add=x_t), h_preact.to(state_dtype)
        hidden, cell, gates = step_cell(preact.to(state_dtype), h_preact, hidden, cell)
        hiddens[t + 1] = hidden
        if keep:
            kept.queries[t] = query
            kept.gates.append(gates)
            kept.cells.append(cell)
    return RecurrenceOutput(hiddens[1:], contexts, attns, hidden, cell), kept


class _AttentionRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x_preact, memory, keys, padding_mask, hidden, cell, w_query, v, w_context, w_hidden, b_hidden, cell_type,
    ):  # fmt: skip
        weights = prepare_weights(w_query, v, w_context, w_hidden, b_hidden)
        out, kept = _run(x_preact, memory, keys, padding_mask, hidden, cell, weights, cell_type, keep=True)
        ctx.cell_type = cell_type
        ctx.dtypes = hidden.dtype, None if cell is None else cell.dtype
        ctx.save_for_backward(
            memory, keys, padding_mask, w_query, v, w_context, w_hidden,
            kept.hiddens, out.context, kept.queries, out.attn, *kept.gates, *(kept.cells if cell is not None else []),
        )  # fmt: skip
        return tuple(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_hiddens, d_contexts, d_attns, d_hidden, d_cell):
        memory, keys, padding_mask, w_query, v, w_context, w_hidden, hiddens, contexts, queries, attns, *rest = (
            ctx.saved_tensors
        )
        steps, batch, _ = queries.shape
        gates, cell_states = rest[:steps], rest[steps:] or [None] * (steps + 1)
        read = AdditiveRead(keys, memory, v, padding_mask)
        read.start_backward()
        step_cell = cells.BACKWARD[ctx.cell_type]
        w_query_t, w_hidden_t, w_context_t = pack(w_query.t()), pack(w_hidden.t()), pack(w_context.t())

        d_x_preact = hiddens.new_empty(steps, batch, w_context.size(0))
        d_h_preact = d_x_preact if ctx.cell_type in cells.ADDITIVE else torch.empty_like(d_x_preact)
        d_queries = torch.empty_like(queries)
        d_context_all = torch.empty_like(contexts)
        for t in reversed(range(steps)):
            d_hidden = d_hidden + d_hiddens[t]
            grad = step_cell(d_hidden, d_cell, gates[t], hiddens[t], cell_states[t], cell_states[t + 1])
            d_cell = grad.d_cell
            d_x_preact[t] = grad.d_x_preact
            if d_h_preact is not d_x_preact:
                d_h_preact[t] = grad.d_h_preact
            d_context_all[t] = linear(d_x_preact[t], w_context_t, add=d_contexts[t])
            d_queries[t] = read.backward(queries[t], attns[t], d_context_all[t], d_attns[t])
            d_hidden = linear(d_h_preact[t], w_hidden_t, add=linear(d_queries[t], w_query_t)).to(read.softmax_dtype)
            if grad.d_hidden is not None:
                d_hidden += grad.d_hidden

        d_keys, d_memory, d_v = read.finish(attns, d_context_all)
        states_before = hiddens[:-1].flatten(0, 1)
        d_w_query = matmul(d_queries.flatten(0, 1).t(), states_before)
        d_w_hidden = matmul(d_h_preact.flatten(0, 1).t(), states_before)
        d_w_context = matmul(d_x_preact.flatten(0, 1).t(), contexts.flatten(0, 1))
        d_b_hidden = d_h_preact.sum(dim=(0, 1))
        hidden_dtype, cell_dtype = ctx.dtypes
        return (
            d_x_preact, d_memory.to(memory.dtype), d_keys.to(keys.dtype), None,
            d_hidden.to(hidden_dtype), None if d_cell is None else d_cell.to(cell_dtype),
            d_w_query, d_v.to(v.dtype), d_w_context, d_w_hidden, d_b_hidden, None,
        )  # fmt: skip


def attention_steps(
    x_preact: Tensor,
    memory: Tensor,
    keys: Tensor,
    padding_mask: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    weights: StepWeights,
    cell_type: str,
) -> RecurrenceOutput:
    """`attention_recurrence` without gradients, with weights that `prepare_weights` has laid out once for all steps.

    Args:
        weights: of `prepare_weights`, under the same autocast. The others as in `attention_recurrence`.

    Raises:
        ValueError: unknown `cell_type`.
    """
    check_cell(cell_type)
    x_preact, (memory, keys) = cast(x_preact), cast_for_reading(memory, keys)
    with torch.no_grad(), torch.autocast(x_preact.device.type, enabled=False):
        return _run(x_preact, memory, keys, padding_mask, hidden, cell, weights, cell_type, keep=False)[0]


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
    differentiated once. Under torch's autocast the matrix products run in its dtype, off the CPU also the energies; the
    state, the softmax and what is summed over time stay in float32.
    """
    check_cell(cell_type)
    if not torch.is_grad_enabled():
        weights = prepare_weights(w_query, v, w_context, w_hidden, b_hidden)
        return attention_steps(x_preact, memory, keys, padding_mask, hidden, cell, weights, cell_type)
    x_preact, w_query, w_context, w_hidden, b_hidden = map(cast, (x_preact, w_query, w_context, w_hidden, b_hidden))
    memory, keys, v = cast_for_reading(memory, keys, v)
    with torch.autocast(x_preact.device.type, enabled=False):
        return RecurrenceOutput(
            *_AttentionRecurrence.apply(
                x_preact, memory, keys, padding_mask, hidden, cell, w_query, v, w_context, w_hidden, b_hidden, cell_type
            )
        )
