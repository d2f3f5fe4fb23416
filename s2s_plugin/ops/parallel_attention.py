"""Additive attention of T known queries at once, in memory that does not grow with T x S x A.

Where the queries do not wait for the context, as in GNMT (Wu et al. 2016), nothing is recurrent. The steps are taken
one after the other all the same, so that only one (B, S, A) lives at a time, and computed again in the backward pass.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .additive_attention import AdditiveRead


class _ParallelAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, memory, v, padding_mask):
        read = AdditiveRead(keys, memory, v, padding_mask)
        contexts = memory.new_empty(*queries.shape[:2], memory.size(2))
        attns = memory.new_empty(*queries.shape[:2], memory.size(1), dtype=read.softmax_dtype)
        for t, query in enumerate(queries):
            contexts[t], attns[t] = read.forward(query)
        ctx.save_for_backward(queries, keys, memory, v, padding_mask, attns)
        return contexts, attns

    @staticmethod
    @once_differentiable
    def backward(ctx, d_contexts, d_attns):
        queries, keys, memory, v, padding_mask, attns = ctx.saved_tensors
        read = AdditiveRead(keys, memory, v, padding_mask)
        read.start_backward()
        d_queries = torch.empty_like(queries)
        for t, query in enumerate(queries):
            d_queries[t] = read.backward(query, attns[t], d_contexts[t], d_attns[t])
        d_keys, d_memory, d_v = read.finish(attns, d_contexts)
        return d_queries, d_keys, d_memory, d_v, None


def parallel_attention(queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
    """The fast twin of `reference.parallel_attention`: same arguments, shapes and result.

    It can be differentiated once. Under torch's autocast the products and the tanh run in its dtype; the softmax and
    what is summed over time stay in float32.
    """
    device = queries.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        queries, keys, memory, v = (x.to(dtype) for x in (queries, keys, memory, v))
    with torch.autocast(device, enabled=False):
        return _ParallelAttention.apply(queries, keys, memory, v, padding_mask)
