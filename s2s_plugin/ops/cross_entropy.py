"""`reference.label_smoothed_cross_entropy` without ever holding more than one chunk of logits.

The gradients of the features and of the output weight are formed in the forward pass, while a chunk's probabilities
are at hand, and only scaled in the backward pass. The derivation is in README.md.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .products import linear, matmul, pack

CHUNK_BYTES = 2**23
"""Smallest size of a chunk of logits: it fits a CPU's shared cache and is enough for a full-speed matrix product."""


def chunk_rows(weight: Tensor, dtype: torch.dtype) -> int:
    """Rows of a chunk. Each chunk adds to the whole gradient of `weight` (V, D), so it is no smaller than that."""
    size = max(CHUNK_BYTES, weight.numel() * dtype.itemsize)
    return max(1, size // (weight.size(0) * dtype.itemsize))


class _LabelSmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, weight, bias, target, epsilon, ignore_index, differentiate):
        vocabulary = weight.size(0)
        dtype = torch.promote_types(features.dtype, torch.float32)
        share = epsilon / (vocabulary - 1)
        confidence = 1.0 - epsilon - share
        size, kept = features.size(0), None
        if not features.is_cuda:
            # Rows of padding cost as much as others; to count them on a GPU would mean to wait for it.
            kept = target.ne(ignore_index).nonzero().squeeze(1)
            features, target = features.index_select(0, kept), target.index_select(0, kept)
        want_features, want_weight, want_bias = (differentiate and need for need in ctx.needs_input_grad[:3])
        d_features = torch.empty_like(features) if want_features else None
        # Transposed, (D, V): so that no product has to rearrange the logits' gradient.
        d_weight_t = weight.new_zeros(weight.size(1), vocabulary) if want_weight else None
        d_bias = torch.zeros_like(bias) if want_bias else None
        cast = weight.to(features.dtype)
        packed, packed_t = pack(cast), pack(cast.t()) if want_features else None
        nll_loss, smooth_loss = features.new_zeros((), dtype=dtype), features.new_zeros((), dtype=dtype)

        rows = chunk_rows(weight, dtype)
        for start in range(0, features.size(0), rows):
            chunk, labels = features[start : start + rows], target[start : start + rows]
            real = labels.ne(ignore_index).to(dtype).unsqueeze(1)
            labels = labels.masked_fill(labels.eq(ignore_index), 0).unsqueeze(1)
            logits = linear(chunk, packed).to(dtype)
            if bias is not None:
                logits += bias
            probs = torch.softmax(logits, dim=1)
            # The largest probability is at least 1 / V, so that its logarithm is exact where others underflow.
            log_z = logits.amax(dim=1, keepdim=True) - probs.amax(dim=1, keepdim=True).log()
            nll_loss += ((log_z - logits.gather(1, labels)) * real).sum()
            smooth_loss += ((log_z * vocabulary - logits.sum(dim=1, keepdim=True)) * real).sum()
            if not (want_features or want_weight or want_bias):
                continue
            # d_logits = probs - share, less `confidence` at the label; nothing at padding.
            d_logits = probs.sub_(share)
            d_logits.scatter_add_(1, labels, d_logits.new_full(labels.shape, -confidence))
            if kept is None:
                d_logits.mul_(real)
            if want_bias:
                d_bias += d_logits.sum(dim=0)
            d_logits = d_logits.to(features.dtype)
            if want_features:
                d_features[start : start + rows] = linear(d_logits, packed_t)
            if want_weight:
                d_weight_t += matmul(chunk.t(), d_logits)
        if want_features and kept is not None:
            d_features = d_features.new_zeros(size, d_features.size(1)).index_copy_(0, kept, d_features)
        ctx.save_for_backward(d_features, d_weight_t.t().contiguous() if want_weight else None, d_bias)
        ctx.mark_non_differentiable(nll_loss)
        return confidence * nll_loss + share * smooth_loss, nll_loss

    @staticmethod
    @once_differentiable
    def backward(ctx, d_loss, _):
        grads = (grad if grad is None else grad * d_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return *grads, None, None, None, None


def label_smoothed_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    epsilon: float,
    ignore_index: int,
):
    """The fast twin of `reference.label_smoothed_cross_entropy`: same arguments, shapes and result.

    `nll_loss` is for the log and carries no gradient. The matrix products run in the dtype of `features`, the softmax
    and the sums over rows in float32 or better.
    """
    with torch.autocast(features.device.type, enabled=False):
        return _LabelSmoothedCrossEntropy.apply(
            features, weight, bias, target, epsilon, ignore_index, torch.is_grad_enabled()
        )
