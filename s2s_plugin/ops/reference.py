"""The specification: what every fast function in this folder must equal, written to be read.

Plain loops over time that autograd differentiates. Time comes first, `padding_mask` is True at padding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GATES = {"tanh": 1, "gru": 3, "lstm": 4}
"""Gate blocks G of each cell; the blocks are stacked in torch.nn's order."""


class RecurrenceOutput(NamedTuple):
    """What the recurrence gives for T steps.

    Attributes:
        hidden: (T, B, H), h[0] to h[T-1].
        context: (T, B, M), what was read from memory at each step.
        attn: (T, B, S) float, rows sum to 1, exactly 0 at padding.
        last_hidden: (B, H), h[T-1] for the next step, not rounded where `hidden` is in a lower precision.
        cell: (B, H), the LSTM's cell state after the last step; None for the other cells.
    """

    hidden: Tensor
    context: Tensor
    attn: Tensor
    last_hidden: Tensor
    cell: Tensor | None


def check_cell(cell_type: str) -> None:
    """Raises ValueError unless `cell_type` is one of `GATES`."""
    if cell_type not in GATES:
        raise ValueError(f"unknown cell {cell_type!r}: choose from {', '.join(GATES)}")


def cell_step(cell_type: str, x_preact: Tensor, h_preact: Tensor, hidden: Tensor, cell: Tensor | None):
    """One step of a tanh (Elman), GRU or LSTM cell, as `torch.nn.RNNCell`, `GRUCell` and `LSTMCell` define them.

    Args:
        cell_type: `tanh`, `gru` or `lstm`.
        x_preact: (B, G*H), W_ih x + b_ih.
        h_preact: (B, G*H), W_hh hidden + b_hh.
        hidden: (B, H), the previous state.
        cell: (B, H), the previous cell state of an LSTM, else None.

    Returns:
        The new `hidden` (B, H) and `cell` (B, H) or None.
    """
    check_cell(cell_type)
    if cell_type == "tanh":
        return torch.tanh(x_preact + h_preact), None
    if cell_type == "gru":
        x_r, x_z, x_n = x_preact.chunk(3, dim=1)
        h_r, h_z, h_n = h_preact.chunk(3, dim=1)
        reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        candidate = torch.tanh(x_n + reset * h_n)
        return (1 - update) * candidate + update * hidden, None
    i, f, g, o = (x_preact + h_preact).chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def additive_attention(query: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
    """Additive attention of one query a sentence (Bahdanau, Cho and Bengio 2015, eq. 5 and 6).

    energy[s] = v . tanh(query + keys[s]);  attn = softmax over the real positions;  context = sum_s attn[s] memory[s].
    The softmax is taken in float32 or better.

    Args:
        query: (B, A), W_q h[t-1].
        keys: (B, S, A), W_k memory + b.
        memory: (B, S, M).
        v: (A,).
        padding_mask: (B, S) bool, True at padding. Where a whole row is padding the weights are uniform.

    Returns:
        `context` (B, M) and `attn` (B, S).
    """
    energy = torch.tanh(query.unsqueeze(1) + keys) @ v
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32))
    attn = torch.softmax(energy.masked_fill(padding_mask, torch.finfo(energy.dtype).min), dim=1)
    context = torch.bmm(attn.to(memory.dtype).unsqueeze(1), memory).squeeze(1)
    return context, attn


def parallel_attention(queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
    """`additive_attention` of T queries that are all known.

    Args:
        queries: (T, B, A).
        keys, memory, v, padding_mask: as in `additive_attention`.

    Returns:
        `context` (T, B, M) and `attn` (T, B, S).
    """
    steps = [additive_attention(query, keys, memory, v, padding_mask) for query in queries]
    return torch.stack([context for context, _ in steps]), torch.stack([attn for _, attn in steps])


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
    """An RNN that reads `memory` by additive attention before each step (Bahdanau, Cho and Bengio 2015, A.1.2).

    energy[t, s] = v . tanh(W_q h[t-1] + keys[s]);  attn[t] = softmax_s(energy[t]);
    context[t] = sum_s attn[t, s] memory[s];  h[t] = cell(x_preact[t] + W_c context[t], W_h h[t-1] + b_h, h[t-1]).

    Args:
        x_preact: (T, B, G*H), the part of the pre-activations that needs no recurrence: W_x y[t-1] + b_x.
        memory: (B, S, M), the encoder's output.
        keys: (B, S, A), W_k memory + b, projected once a sentence.
        padding_mask: (B, S) bool, True at padding.
        hidden: (B, H), the state before the first step.
        cell: (B, H), the LSTM's cell state before the first step; None for the other cells.
        w_query: (A, H).   v: (A,).   w_context: (G*H, M).   w_hidden: (G*H, H).   b_hidden: (G*H,).
        cell_type: `tanh`, `gru` or `lstm`; gate blocks in torch.nn's order.

    Returns:
        RecurrenceOutput: `hidden` (T, B, H), `context` (T, B, M), `attn` (T, B, S), `last_hidden` and the last `cell`.

    Raises:
        ValueError: unknown `cell_type`.
    """
    check_cell(cell_type)
    hiddens, contexts, attns = [], [], []
    for x_t in x_preact:
        context, attn = additive_attention(F.linear(hidden, w_query), keys, memory, v, padding_mask)
        h_preact = F.linear(hidden, w_hidden, b_hidden)
        hidden, cell = cell_step(cell_type, x_t + F.linear(context, w_context), h_preact, hidden, cell)
        hiddens.append(hidden)
        contexts.append(context)
        attns.append(attn)
    return RecurrenceOutput(torch.stack(hiddens), torch.stack(contexts), torch.stack(attns), hidden, cell)


def label_smoothed_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    epsilon: float,
    ignore_index: int,
):
    """Output projection and label-smoothed cross-entropy (Szegedy et al. 2016, sec. 7), summed over the real tokens.

    loss = (1 - epsilon - e) nll + e sum_v -lprobs[v],  e = epsilon / (V - 1): the smoothing that fairseq uses.

    Args:
        features: (N, D), the readout.
        weight: (V, D).   bias: (V,) or None.
        target: (N,) int64; rows equal to `ignore_index` count nothing.
        epsilon: share of the probability given to the other V - 1 words, 0 <= epsilon < 1.

    Returns:
        `loss` and `nll_loss`, scalars in nats.
    """
    lprobs = torch.log_softmax(F.linear(features, weight, bias), dim=1)
    real = target.ne(ignore_index)
    nll_loss = -lprobs.gather(1, target.unsqueeze(1)).squeeze(1)[real].sum()
    smooth_loss = -lprobs[real].sum()
    share = epsilon / (weight.size(0) - 1)
    return (1.0 - epsilon - share) * nll_loss + share * smooth_loss, nll_loss
