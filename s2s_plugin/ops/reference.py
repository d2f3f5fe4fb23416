"""The specification: what every fast function in this folder must equal, written to be read.

Plain loops over time that autograd differentiates. Time comes first, `padding_mask` is True at padding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GATES = {"tanh": 1, "gru": 3, "lstm": 4}
"""Gate blocks G of each cell; the blocks are stacked in torch.nn's order."""


class Cell(NamedTuple):
    """Weights of one cell of a step; gate blocks in torch.nn's order.

    Attributes:
        w_hidden: (G*H, H).   b_hidden: (G*H,).
        b_input: (G*H,), what stands for W_x x + b_x in a cell that reads no words: every one of a step but the first.
        gain_hidden: (G*H,), or None: W_h h is normalised gate by gate and scaled by it (Ba, Kiros and Hinton 2016).
        gain_cell, b_cell: (H,), or None: an LSTM's cell state is normalised before its tanh (the same paper, eq. 22).
    """

    w_hidden: Tensor
    b_hidden: Tensor
    b_input: Tensor | None = None
    gain_hidden: Tensor | None = None
    gain_cell: Tensor | None = None
    b_cell: Tensor | None = None


class Read(NamedTuple):
    """Weights of a read by additive attention.

    Attributes:
        w_query: (A, H).   v: (A,); of several heads each has its own share of both.
        w_context: (G*H, M), how the context enters the cell.
        gain_context: (G*H,), or None: W_c context is normalised gate by gate and scaled by it.
        w_coverage: (A,), how the coverage enters the energies, or None for a read that does not know it.
        filters: (K, W), convolutions over the weights of the step before, W odd.   w_location: (A, K), how what they
            give enters the energies. Both None for a read that does not know where it read last.
    """

    w_query: Tensor
    v: Tensor
    w_context: Tensor
    gain_context: Tensor | None = None
    w_coverage: Tensor | None = None
    filters: Tensor | None = None
    w_location: Tensor | None = None


class Source(NamedTuple):
    """What is read.

    Attributes:
        memory: (B, S, M), the encoder's output, or its projection to values.
        keys: (B, S, A), W_k memory + b, projected once a sentence.
        padding_mask: (B, S) bool, True at padding.
    """

    memory: Tensor
    keys: Tensor
    padding_mask: Tensor


class RecurrenceOutput(NamedTuple):
    """What the recurrence gives for T steps.

    Attributes:
        hidden: (T, B, H), h[0] to h[T-1].
        context: (T, B, M), what was read from memory at each step; None without a read.
        attn: (T, B, S) float, rows sum to 1, exactly 0 at padding, mean of the heads; None without a read.
        last_hidden: (B, H), h[T-1] for the next step, not rounded where `hidden` is in a lower precision.
        cell: (B, H), the LSTM's cell state after the last step; None for the other cells.
        coverage: (B, S), the coverage after the last step; None where the read does not know it.
    """

    hidden: Tensor
    context: Tensor | None
    attn: Tensor | None
    last_hidden: Tensor
    cell: Tensor | None
    coverage: Tensor | None


def check_cell(cell_type: str) -> None:
    """Raises ValueError unless `cell_type` is one of `GATES`."""
    if cell_type not in GATES:
        raise ValueError(f"unknown cell {cell_type!r}: choose from {', '.join(GATES)}")


def check_heads(heads: int, **widths: int) -> None:
    """Raises ValueError unless every width can be shared out between `heads` alike."""
    for name, width in widths.items():
        if heads < 1 or width % heads:
            raise ValueError(f"{name} {width} cannot be shared out between {heads} heads")


def check_recurrence(
    cell_type: str, cells: list[Cell], read: Read | None, read_at: int,
    coverage: Tensor | None, attn_prev: Tensor | None,
) -> None:  # fmt: skip
    """Raises ValueError for an unknown cell, a read before no cell, a norm that the cell has no place for, or one of
    `coverage` and `attn_prev` without its weights or they without it."""
    check_cell(cell_type)
    if read is not None and not 0 <= read_at < len(cells):
        raise ValueError(f"read_at is {read_at}, but a step has {len(cells)} cells")
    if cell_type != "lstm" and any(weights.gain_cell is not None for weights in cells):
        raise ValueError(f"gain_cell is for lstm: a {cell_type} has no cell state")
    if (coverage is None) != (read is None or read.w_coverage is None):
        raise ValueError("coverage and w_coverage go together: one of them is None")
    if (attn_prev is None) != (read is None or read.filters is None):
        raise ValueError("attn_prev and filters go together: one of them is None")


def layer_norm(x: Tensor, gain: Tensor | None, bias: Tensor | None, size: int) -> Tensor:
    """Normalises blocks of `size` columns, then scales and shifts (Ba, Kiros and Hinton 2016, eq. 4).

    Args:
        x: (..., N).   gain, bias: (N,); without a gain nothing is normalised, without a bias nothing is added.
    """
    if gain is not None:
        blocks = x.unflatten(-1, (x.size(-1) // size, size)).to(torch.promote_types(x.dtype, torch.float32))
        x = F.layer_norm(blocks, (size,)).flatten(-2) * gain
    return x if bias is None else x + bias


def cell_step(
    cell_type: str, x_preact: Tensor, h_preact: Tensor, hidden: Tensor, cell: Tensor | None,
    gain_cell: Tensor | None = None, b_cell: Tensor | None = None,
):  # fmt: skip
    """One step of a tanh (Elman), GRU or LSTM cell, as `torch.nn.RNNCell`, `GRUCell` and `LSTMCell` define them.

    Args:
        cell_type: `tanh`, `gru` or `lstm`.
        x_preact: (B, G*H), W_ih x + b_ih.
        h_preact: (B, G*H), W_hh hidden + b_hh.
        hidden: (B, H), the previous state.
        cell: (B, H), the previous cell state of an LSTM, else None.
        gain_cell, b_cell: (H,), of the norm of an LSTM's cell state, or None.

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
    return torch.sigmoid(o) * torch.tanh(layer_norm(cell, gain_cell, b_cell, cell.size(1))), cell


def additive_attention(
    query: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor,
    heads: int = 1, keep: Tensor | None = None, w_coverage: Tensor | None = None, coverage: Tensor | None = None,
    filters: Tensor | None = None, w_location: Tensor | None = None, attn_prev: Tensor | None = None,
):  # fmt: skip
    """Additive attention of one query a sentence (Bahdanau, Cho and Bengio 2015, eq. 5 and 6), with N heads.

    energy[s] = v . tanh(query + keys[s] + w_coverage coverage[s] + W_location (filters * attn_prev)[s]);
    attn = softmax over the real positions;  context = sum_s attn[s] memory[s].

    The coverage is how much of each position was read before (See, Liu and Manning 2017, eq. 10 and 11). The filters
    see the weights of the step before around each position, 0 outside of the sentence (Chorowski et al. 2015, eq. 8).
    Each head has A / N columns of query, keys and v, its own softmax, and M / N columns of memory and context (Chen et
    al. 2018, sec. 3, after Vaswani et al. 2017). The softmax is taken in float32 or better.

    Args:
        query: (B, A), W_q h[t-1].
        keys: (B, S, A), W_k memory + b.
        memory: (B, S, M).
        v: (A,).
        padding_mask: (B, S) bool, True at padding. Where a whole row is padding the weights are uniform.
        heads: N.
        keep: (B, N, S), factors of the weights in the sum that makes the context (dropout), or None for 1.
        w_coverage: (A,).   coverage: (B, S), sums of earlier weights. None for a read that does not know it.
        filters: (K, W), W odd.   w_location: (A, K).   attn_prev: (B, S), the weights of the step before, 0 at padding.
            None for a read that does not know them.

    Returns:
        `context` (B, M), and `attn` (B, S), the mean of the heads without `keep`.
    """
    check_heads(heads, attn_dim=v.size(0), memory_size=memory.size(2))
    preact = query.unsqueeze(1) + keys
    if w_coverage is not None:
        preact = preact + coverage.unsqueeze(2) * w_coverage
    if filters is not None:
        around = F.conv1d(attn_prev.unsqueeze(1).to(filters.dtype), filters.unsqueeze(1), padding=filters.size(1) // 2)
        preact = preact + F.linear(around.transpose(1, 2), w_location)
    activation = torch.tanh(preact).unflatten(2, (heads, v.size(0) // heads))
    energy = torch.einsum("bsna,na->bns", activation, v.view(heads, -1))
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32))
    attn = torch.softmax(energy.masked_fill(padding_mask.unsqueeze(1), torch.finfo(energy.dtype).min), dim=2)
    weights = attn if keep is None else attn * keep
    values = memory.unflatten(2, (heads, memory.size(2) // heads))
    context = torch.einsum("bns,bsnm->bnm", weights.to(memory.dtype), values).flatten(1)
    return context, attn.mean(dim=1)


def nothing_read(padding_mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The coverage, or the weights, before the first step: 0, (B, S). Args: padding_mask (B, S)."""
    return torch.zeros(padding_mask.shape, dtype=dtype, device=padding_mask.device)


def parallel_attention(
    queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor,
    heads: int = 1, keep: Tensor | None = None, w_coverage: Tensor | None = None, coverage: Tensor | None = None,
    filters: Tensor | None = None, w_location: Tensor | None = None, attn_prev: Tensor | None = None,
):  # fmt: skip
    """`additive_attention` of T queries that are all known.

    Args:
        queries: (T, B, A).
        keys, memory, v, padding_mask, heads, w_coverage, filters, w_location: as in `additive_attention`.
        keep: (T, B, N, S) or None.
        coverage: (B, S), that before the first step; not without `w_coverage`.
        attn_prev: (B, S), the weights before the first step; not without `filters`.

    Returns:
        `context` (T, B, M), `attn` (T, B, S), and the `coverage` (B, S) after the last step, None without `w_coverage`.
    """
    keeps = [None] * len(queries) if keep is None else keep
    contexts, attns = [], []
    for query, kept in zip(queries, keeps, strict=True):
        context, attn = additive_attention(
            query, keys, memory, v, padding_mask, heads, kept, w_coverage, coverage, filters, w_location, attn_prev
        )
        coverage, attn_prev = (None if coverage is None else coverage + attn), attn
        contexts.append(context)
        attns.append(attn)
    return torch.stack(contexts), torch.stack(attns), coverage


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
    """An RNN whose step is a chain of cells, one of which may read `source` by additive attention before it moves.

    For every step t, and every cell k of it with the state (h, c) that the cell before left:

        h~ = h * hidden_keep[k];   x = x_preact[t] for k = 0, else b_input
        where k = read_at:  context[t], attn[t] = additive_attention(W_q h~, ...);  x = x + LN(W_c context[t])
        h, c = cell(x, LN(W_h h~) + b_h, h, c)

    LN is the identity where there is no gain. One cell with read_at = 0 is the decoder of Bahdanau, Cho and Bengio
    (2015, A.1.2), which asks with the state of the step before; two with read_at = 1 are the conditional GRU of Nematus
    (Sennrich et al. 2017), which asks with a first cell's state of the present step; cells after the first that read
    nothing are a deep transition (Miceli Barone et al. 2017); no read is a plain RNN.

    Args:
        x_preact: (T, B, G*H), the part of the pre-activations that needs no recurrence: W_x y[t-1] + b_x.
        hidden: (B, H), the state before the first step.
        cell: (B, H), the LSTM's cell state before the first step; None for the other cells.
        cells: of one step, in their order.
        cell_type: `tanh`, `gru` or `lstm`, of all of them.
        read, source: what asks and what is asked, or None for a recurrence that reads nothing.
        read_at: the cell that reads.   heads: N, of the read.
        coverage: (B, S), what was read before the first step; only and always with `w_coverage` of the read. Every
            step adds its `attn` to it.
        attn_prev: (B, S), the weights of the step before the first; only and always with `filters` of the read.
        hidden_keep: (K, B, H), factors of the state before each cell's matrices and its query, the same at every step
            (Gal and Ghahramani 2016), or None for 1. What a GRU carries over is not touched.
        attn_keep: (T, B, N, S), `keep` of `additive_attention`, or None.

    Returns:
        RecurrenceOutput: `hidden` (T, B, H), `context` (T, B, M), `attn` (T, B, S), `last_hidden`, and the last `cell`
        and `coverage`.

    Raises:
        ValueError: unknown `cell_type`, no cell at `read_at`, `gain_cell` for another cell than an LSTM, widths that
            the heads cannot share, one of `w_coverage` and `coverage`, or of `filters` and `attn_prev`, without the
            other.
    """
    check_recurrence(cell_type, cells, read, read_at, coverage, attn_prev)
    hiddens, contexts, attns = [], [], []
    for t, x_t in enumerate(x_preact):
        for k, weights in enumerate(cells):
            asking = hidden if hidden_keep is None else hidden * hidden_keep[k]
            x = x_t if k == 0 else weights.b_input.expand_as(x_t)
            if read is not None and k == read_at:
                query, keep = F.linear(asking, read.w_query), None if attn_keep is None else attn_keep[t]
                keys, memory, padding_mask = source.keys, source.memory, source.padding_mask
                context, attn = additive_attention(
                    query, keys, memory, read.v, padding_mask, heads, keep, read.w_coverage, coverage, read.filters,
                    read.w_location, attn_prev,
                )  # fmt: skip
                coverage, attn_prev = (None if coverage is None else coverage + attn), attn
                x = x + layer_norm(F.linear(context, read.w_context), read.gain_context, None, hidden.size(1))
                contexts.append(context)
                attns.append(attn)
            if weights.gain_hidden is None:
                h_preact = F.linear(asking, weights.w_hidden, weights.b_hidden)
            else:
                h_preact = F.linear(asking, weights.w_hidden)
                h_preact = layer_norm(h_preact, weights.gain_hidden, weights.b_hidden, hidden.size(1))
            hidden, cell = cell_step(cell_type, x, h_preact, hidden, cell, weights.gain_cell, weights.b_cell)
        hiddens.append(hidden)
    context, attn = (torch.stack(contexts), torch.stack(attns)) if contexts else (None, None)
    return RecurrenceOutput(torch.stack(hiddens), context, attn, hidden, cell, coverage)


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


class CopySource(NamedTuple):
    """The words that can be copied.

    Attributes:
        ids: (B, S) int64, the word of the target's dictionary that each source position stands for; any at padding.
        slots: (B, S) int64, the first position of the sentence that stands for the same word.
    """

    ids: Tensor
    slots: Tensor


def copy_lprobs(logits: Tensor, gen_logit: Tensor, attn: Tensor, source: CopySource) -> Tensor:
    """The pointer-generator's log-probabilities (See, Liu and Manning 2017, eq. 9), over the target's dictionary.

    P(w) = p_gen softmax(logits)[w] + (1 - p_gen) sum over the positions s of w of attn[s],   p_gen = sigmoid(gen_logit)

    Args:
        logits: (B, T, V).
        gen_logit: (B, T).
        attn: (B, T, S), 0 at padding.
        source: of the B sentences.

    Returns:
        (B, T, V) in float32 or better.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    gen_logit, attn = gen_logit.to(dtype).unsqueeze(2), attn.to(dtype)
    generated = F.logsigmoid(gen_logit) + torch.log_softmax(logits, dim=2, dtype=dtype)
    copied = torch.zeros_like(generated).scatter_add(2, source.ids.unsqueeze(1).expand_as(attn), attn)
    is_copied = copied > 0
    copied = F.logsigmoid(-gen_logit) + copied.masked_fill(~is_copied, 1.0).log()
    return torch.where(is_copied, torch.logaddexp(generated, copied), generated)


def copy_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    epsilon: float,
    ignore_index: int,
    gen_logit: Tensor,
    attn: Tensor,
    source: CopySource,
):
    """`label_smoothed_cross_entropy` of the mixture `copy_lprobs`.

    Args:
        features: (B, T, D), the readout.
        target: (B, T) int64; places equal to `ignore_index` count nothing.
        gen_logit, attn, source: as in `copy_lprobs`.   The others: as in `label_smoothed_cross_entropy`.

    Returns:
        `loss` and `nll_loss`, scalars in nats.
    """
    real = target.ne(ignore_index)
    lprobs = copy_lprobs(F.linear(features, weight, bias), gen_logit, attn, source)[real]
    nll_loss = -lprobs.gather(1, target[real].unsqueeze(1)).sum()
    share = epsilon / (weight.size(0) - 1)
    return (1.0 - epsilon - share) * nll_loss - share * lprobs.sum(), nll_loss
