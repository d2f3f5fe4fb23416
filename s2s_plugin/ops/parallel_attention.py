"""Additive attention of T known queries at once, in memory that does not grow with T x S x A.

Where the queries do not wait for the context, as in GNMT (Wu et al. 2016), nothing is recurrent. The energies are taken
one step after the other all the same, so that only one (B, S, A) lives at a time, and computed again in the backward
pass; everything else is one product for all steps. With coverage the softmax, too, goes step by step.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import reference
from .additive_attention import (
    AdditiveRead,
    cast_for_reading,
    d_weights_of,
    masked_softmax,
    softmax_backward,
    weighted_sum,
)
from .devices import cast
from .history import Past, pasts
from .traced import is_exporting


class _ParallelAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, queries, keys, memory, v, w_coverage, filters, w_location, coverage, attn_prev, padding_mask, keep, heads
    ):
        read = AdditiveRead(memory, keys, padding_mask, v, heads, w_coverage, filters, w_location)
        start = past = Past(coverage, attn_prev)
        shape, mask = (keys.size(0), heads, queries.size(0), keys.size(1)), padding_mask[:, None, None]
        if not read.history:
            energies = read.keys.new_empty(shape)
            for t, query in enumerate(queries):
                energies[:, :, t] = read.energies(query, past)
            attn = masked_softmax(energies, mask)
        else:
            attn = read.keys.new_empty(shape, dtype=read.softmax_dtype)
            for t, query in enumerate(queries):
                attn[:, :, t] = masked_softmax(read.energies(query, past), mask[:, 0])
                past = past.after(attn[:, :, t].mean(dim=1))
        context = weighted_sum(attn if keep is None else attn * keep, read.memory)
        ctx.heads = heads
        ctx.save_for_backward(
            queries, keys, memory, v, w_coverage, filters, w_location, *start, padding_mask, keep, attn
        )
        mean = attn.squeeze(1) if heads == 1 else attn.mean(dim=1)
        return context.transpose(0, 1).to(queries.dtype), mean.transpose(0, 1), past.coverage

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context, d_attn, d_coverage):
        queries, keys, memory, *weights, coverage, attn_prev, padding_mask, keep, attn = ctx.saved_tensors
        read = AdditiveRead(memory, keys, padding_mask, weights[0], ctx.heads, *weights[1:])
        read.start_backward()
        d_context = d_context.transpose(0, 1)
        d_weights = d_weights_of(d_context, read.memory, ctx.heads)
        if keep is not None:
            d_weights = d_weights * keep
        d_attn = d_weights + (d_attn / ctx.heads).transpose(0, 1).unsqueeze(1)
        d_queries, d_past = torch.empty_like(queries), Past(d_coverage, None)
        if not read.history:
            d_energies = softmax_backward(d_attn, attn, padding_mask[:, None, None])
            for t, query in enumerate(queries):
                d_queries[t], _ = read.energies_backward(query, d_energies[:, :, t], d_past)
        else:  # a step's weights are part of what later steps know
            before = pasts(Past(coverage, attn_prev), attn.permute(2, 0, 1, 3))
            for t in reversed(range(len(queries))):
                later = sum(d_of_past for d_of_past in d_past if d_of_past is not None)
                d_step = d_attn[:, :, t] + (later.unsqueeze(1) / ctx.heads if torch.is_tensor(later) else later)
                d_energy = softmax_backward(d_step, attn[:, :, t], padding_mask[:, None])
                d_queries[t], d_before = read.energies_backward(queries[t], d_energy, before[t])
                d_past = d_past.before(d_before)
        d_keys, d_memory, *d_weights = read.finish(attn if keep is None else attn * keep, d_context)
        d_weights = [None if x is None else d_x.to(x.dtype) for d_x, x in zip(d_weights, weights, strict=True)]
        return d_queries, d_keys.to(keys.dtype), d_memory.to(memory.dtype), *d_weights, *d_past, None, None, None


def parallel_attention(
    queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor,
    heads: int = 1, keep: Tensor | None = None, w_coverage: Tensor | None = None, coverage: Tensor | None = None,
    filters: Tensor | None = None, w_location: Tensor | None = None, attn_prev: Tensor | None = None,
):  # fmt: skip
    """The fast twin of `reference.parallel_attention`: same arguments, shapes and result.

    It can be differentiated once, `keep` not at all. Under torch's autocast, energies and products run in its dtype off
    the CPU, and in float32 on it; the softmax and what is summed over time stay in float32.
    """
    if is_exporting():
        return reference.parallel_attention(
            queries, keys, memory, v, padding_mask, heads, keep, w_coverage, coverage, filters, w_location, attn_prev
        )
    queries, (keys, memory, *weights) = (
        cast(queries),
        cast_for_reading(keys, memory, v, w_coverage, filters, w_location),
    )
    if keep is not None:
        keep = keep.permute(1, 2, 0, 3)
    past = Past(coverage, attn_prev)
    with torch.autocast(queries.device.type, enabled=False):
        return _ParallelAttention.apply(queries, keys, memory, *weights, *past, padding_mask, keep, heads)
