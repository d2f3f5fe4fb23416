"""Additive attention of T known queries at once, in memory that does not grow with T x S x A.

Where the queries do not wait for the context, as in GNMT (Wu et al. 2016), nothing is recurrent. The energies are taken
one step after the other all the same, so that only one (B, S, A) lives at a time, and computed again in the backward
pass; everything else is one product for all steps. With coverage the softmax, too, goes step by step.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .additive_attention import (
    AdditiveRead,
    cast_for_reading,
    coverage_before,
    d_weights_of,
    masked_softmax,
    softmax_backward,
    weighted_sum,
)
from .devices import cast


class _ParallelAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, memory, v, w_coverage, coverage, padding_mask, keep, heads):
        read, start = AdditiveRead(memory, keys, padding_mask, v, heads, w_coverage), coverage
        shape, mask = (keys.size(0), heads, queries.size(0), keys.size(1)), padding_mask[:, None, None]
        if coverage is None:
            energies = read.keys.new_empty(shape)
            for t, query in enumerate(queries):
                energies[:, :, t] = read.energies(query, None)
            attn = masked_softmax(energies, mask)
        else:
            attn = coverage.new_empty(shape)
            for t, query in enumerate(queries):
                attn[:, :, t] = masked_softmax(read.energies(query, coverage), mask[:, 0])
                coverage = coverage + attn[:, :, t].mean(dim=1)
        context = weighted_sum(attn if keep is None else attn * keep, read.memory)
        ctx.heads = heads
        ctx.save_for_backward(queries, keys, memory, v, w_coverage, start, padding_mask, keep, attn)
        mean = attn.squeeze(1) if heads == 1 else attn.mean(dim=1)
        return context.transpose(0, 1).to(queries.dtype), mean.transpose(0, 1), coverage

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context, d_attn, d_coverage):
        queries, keys, memory, v, w_coverage, coverage, padding_mask, keep, attn = ctx.saved_tensors
        read = AdditiveRead(memory, keys, padding_mask, v, ctx.heads, w_coverage)
        read.start_backward()
        d_context = d_context.transpose(0, 1)
        d_weights = d_weights_of(d_context, read.memory, ctx.heads)
        if keep is not None:
            d_weights = d_weights * keep
        d_attn = d_weights + (d_attn / ctx.heads).transpose(0, 1).unsqueeze(1)
        d_queries = torch.empty_like(queries)
        if coverage is None:
            d_energies = softmax_backward(d_attn, attn, padding_mask[:, None, None])
            for t, query in enumerate(queries):
                d_queries[t], _ = read.energies_backward(query, d_energies[:, :, t], None)
        else:  # a step's weights are part of the coverage of all later ones
            covered = coverage_before(coverage, attn.permute(2, 0, 1, 3))
            for t in reversed(range(len(queries))):
                d_step = d_attn[:, :, t] + (d_coverage / ctx.heads).unsqueeze(1)
                d_energy = softmax_backward(d_step, attn[:, :, t], padding_mask[:, None])
                d_queries[t], d_covered = read.energies_backward(queries[t], d_energy, covered[t])
                d_coverage = d_coverage + d_covered
        d_keys, d_memory, d_v, d_w_coverage = read.finish(attn if keep is None else attn * keep, d_context)
        d_w_coverage = None if w_coverage is None else d_w_coverage.to(w_coverage.dtype)
        d_read = d_keys.to(keys.dtype), d_memory.to(memory.dtype), d_v.to(v.dtype), d_w_coverage
        return d_queries, *d_read, d_coverage, None, None, None


def parallel_attention(
    queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor,
    heads: int = 1, keep: Tensor | None = None, w_coverage: Tensor | None = None, coverage: Tensor | None = None,
):  # fmt: skip
    """The fast twin of `reference.parallel_attention`: same arguments, shapes and result.

    It can be differentiated once, `keep` not at all. Under torch's autocast, energies and products run in its dtype off
    the CPU, and in float32 on it; the softmax and what is summed over time stay in float32.
    """
    queries, (keys, memory, v, w_coverage) = cast(queries), cast_for_reading(keys, memory, v, w_coverage)
    if keep is not None:
        keep = keep.permute(1, 2, 0, 3)
    with torch.autocast(queries.device.type, enabled=False):
        return _ParallelAttention.apply(queries, keys, memory, v, w_coverage, coverage, padding_mask, keep, heads)
