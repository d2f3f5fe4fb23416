"""Additive attention of T known queries at once, in memory that does not grow with T x S x A.

Where the queries do not wait for the context, as in GNMT (Wu et al. 2016), nothing is recurrent. The energies are taken
one step after the other all the same, so that only one (B, S, A) lives at a time, and computed again in the backward
pass; everything else is one product for all steps.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import devices
from .additive_attention import AdditiveEnergy, masked_softmax, read_dtype, softmax_backward


class _ParallelAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, memory, v, padding_mask):
        dtype = read_dtype(keys)
        ctx.dtypes = [x.dtype for x in (queries, keys, memory, v)]
        queries, keys, memory, v = (x.to(dtype) for x in (queries, keys, memory, v))
        energy, scratch = AdditiveEnergy(v), torch.empty_like(keys, memory_format=torch.contiguous_format)
        energies = keys.new_empty(keys.size(0), queries.size(0), keys.size(1))
        for t, query in enumerate(queries):
            energies[:, t] = energy.forward(energy.activate(query.unsqueeze(1), keys, scratch))
        attn = masked_softmax(energies, padding_mask.unsqueeze(1))
        context = torch.bmm(attn.to(dtype), memory)
        ctx.save_for_backward(queries, keys, memory, v, attn, padding_mask)
        return context.transpose(0, 1).to(ctx.dtypes[0]), attn.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context, d_attn):
        queries, keys, memory, v, attn, padding_mask = ctx.saved_tensors
        d_context = d_context.transpose(0, 1).to(memory.dtype)
        d_memory = torch.bmm(attn.to(memory.dtype).transpose(1, 2), d_context)
        d_attn = d_attn.transpose(0, 1) + torch.bmm(d_context, memory.transpose(1, 2))
        d_energies = softmax_backward(d_attn, attn, padding_mask.unsqueeze(1)).to(keys.dtype)

        energy, scratch = AdditiveEnergy(v), torch.empty_like(keys, memory_format=torch.contiguous_format)
        d_keys = torch.zeros_like(keys, dtype=attn.dtype)
        d_v = torch.zeros_like(keys[:, 0], dtype=attn.dtype)
        d_queries, ones = torch.empty_like(queries), keys.new_ones(keys.size(0), 1, keys.size(1))
        for t, query in enumerate(queries):
            d_preact, d_v_step = energy.backward(d_energies[:, t], energy.activate(query.unsqueeze(1), keys, scratch))
            d_v += d_v_step
            d_keys += d_preact
            torch.bmm(ones, d_preact, out=d_queries[t].unsqueeze(1))  # faster than the sum over s
        grads = energy.scale(d_queries), energy.scale(d_keys), d_memory, energy.scale_v(d_v)
        return *(grad.to(dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True)), None


def parallel_attention(queries: Tensor, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
    """The fast twin of `reference.parallel_attention`: same arguments, shapes and result.

    It can be differentiated once. Under torch's autocast, energies and products run in its dtype off the CPU, and in
    float32 on it; the softmax and what is summed over time stay in float32.
    """
    device = queries.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        queries = queries.to(dtype)
        if not devices.on_cpu(keys):
            keys, memory, v = keys.to(dtype), memory.to(dtype), v.to(dtype)
    with torch.autocast(device, enabled=False):
        return _ParallelAttention.apply(queries, keys, memory, v, padding_mask)
