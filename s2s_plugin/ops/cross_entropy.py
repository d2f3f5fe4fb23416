"""`reference.label_smoothed_cross_entropy`, and that of copying, without ever holding more than one chunk of logits.

The gradients of the features and of the output weight are formed in the forward pass, while a chunk's probabilities
are at hand, and only scaled in the backward pass. The derivation is in README.md.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import devices
from .copying import copy_mass
from .products import linear, matmul, pack
from .reference import CopySource

CHUNK_BYTES = 2**24
"""Smallest size of a chunk of logits: it fits a CPU's shared cache and is enough for a full-speed matrix product."""
BLOCK_ROWS = 128
"""On CPUs the softmax of a chunk is taken by so many rows: they stay in the cores' own caches from pass to pass."""


def chunk_rows(weight: Tensor, dtype: torch.dtype) -> int:
    """Rows of a chunk. Each chunk adds to the whole gradient of `weight` (V, D), so it is no smaller than that."""
    size = max(CHUNK_BYTES, weight.numel() * dtype.itemsize)
    return max(1, size // (weight.size(0) * dtype.itemsize))


class _Losses:
    """Sums over rows, in float32 or better: `nll` of -lprobs at the label, `smooth` of -lprobs at all words."""

    d_gen_logit = d_mass = None  # of the mixture alone

    def __init__(self, like: Tensor):
        self.nll, self.smooth = like.new_zeros(()), like.new_zeros(())

    def add(
        self, here: slice, logits: Tensor, target: Tensor, real: Tensor, confidence: float, d_logits: Tensor | None
    ) -> None:
        """Adds a block of rows.

        Args:
            here: the rows, of all.
            logits: (R, V) in float32 or better, overwritten.
            target: (R, 1) int64, any word where not real.   real: (R, 1) bool, False at padding.
            d_logits: (R, V), gets probs, less `confidence` at the target; None if not wanted.
        """
        of_target, total = logits.gather(1, target), logits.sum(1, keepdim=True)
        probs, log_z = _softmax(logits, d_logits)
        self.nll += (log_z - of_target).mul_(real).sum()
        self.smooth += (log_z * logits.size(1)).sub_(total).mul_(real).sum()
        if d_logits is not None:
            probs.scatter_add_(1, target, probs.new_full(target.shape, -confidence))
            if probs is not d_logits:
                d_logits.copy_(probs)


def _softmax(logits: Tensor, out: Tensor | None):
    """Probabilities, in `out` where it has their dtype, else in place of `logits` (R, V); and log Z (R, 1)."""
    in_place = out is not None and out.dtype == logits.dtype
    largest = logits.amax(1, keepdim=True)
    probs = torch.softmax(logits, dim=1, out=out if in_place else logits)
    # The largest probability is at least 1 / V, so its logarithm is exact where those of others underflow.
    return probs, largest - probs.amax(dim=1, keepdim=True).log_()


class _CopyLosses(_Losses):
    """The same for the mixture of the pointer-generator, and the gradients of what it takes beside the logits.

    Args:
        gen_logit: (R, 1).   mass: (R, S), `copy_mass`.   ids: (R, S), words of the source.   share: e of `README.md`.
    """

    def __init__(self, like: Tensor, gen_logit: Tensor, mass: Tensor, ids: Tensor, share: float):
        super().__init__(like)
        self.log_generate = F.logsigmoid(gen_logit.to(like.dtype))
        self.log_copy = self.log_generate - gen_logit.to(like.dtype)
        self.mass, self.ids, self.share = mass.to(like.dtype), ids, share
        self.d_gen_logit, self.d_mass = torch.zeros_like(self.log_generate), torch.zeros_like(self.mass)

    def add(self, here, logits, target, real, confidence, d_logits) -> None:
        # The words that can be copied, and the target as one more column.
        ids, mass = torch.cat([self.ids[here], target], dim=1), self.mass[here]
        is_target, is_word = self.ids[here].eq(target), mass.gt(0)
        mass = torch.cat([mass, (mass * is_target).sum(1, keepdim=True)], dim=1)
        of_ids, total = logits.gather(1, ids), logits.sum(1, keepdim=True)
        probs, log_z = _softmax(logits, d_logits)
        log_generate, log_copy = self.log_generate[here], self.log_copy[here]
        generated = of_ids - log_z + log_generate
        lprobs = torch.logaddexp(generated, log_copy + mass.log())  # log 0 is what it should be
        gain = (lprobs - generated)[:, :-1].mul_(is_word).sum(1, keepdim=True)
        words = logits.size(1)
        self.nll -= (lprobs[:, -1:] * real).sum()
        self.smooth += ((log_z - log_generate) * words - total - gain).mul_(real).sum()
        if d_logits is None:
            return
        # How much each log-probability weighs in the loss, and the part of it that flows into the logits.
        weight = torch.cat([is_word * self.share, torch.full_like(target, confidence, dtype=lprobs.dtype)], dim=1)
        flow = weight * torch.exp(generated - lprobs)
        through = flow.sum(1, keepdim=True)
        alike = self.share * (words - is_word.sum(1, keepdim=True))
        flow[:, :-1] -= self.share * is_word
        probs.mul_(through + alike).scatter_add_(1, ids, -flow)
        if probs is not d_logits:
            d_logits.copy_(probs)
        # Where nothing can be copied the exponent may overflow, and nothing asks for it.
        d_mass = weight * torch.exp((log_copy - lprobs).masked_fill(mass.eq(0), -torch.inf))
        self.d_mass[here] = (
            d_mass[:, :-1].addcmul_(d_mass[:, -1:], (is_target & is_word).to(mass.dtype)).mul_(real).neg_()
        )
        copied = weight.sum(1, keepdim=True) - through
        p_generate = log_generate.exp()
        self.d_gen_logit[here] = (copied * p_generate - (through + alike) * (1 - p_generate)).mul_(real)


class _LabelSmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, weight, bias, gen_logit, mass, ids, target, epsilon, ignore_index, differentiate):
        rows_given, (vocabulary, width) = features.size(0), weight.shape
        share = epsilon / (vocabulary - 1)
        confidence = 1.0 - epsilon - share
        kept = None
        if devices.on_cpu(features):
            # Rows of padding cost as much as others; to count them on a GPU would mean to wait for it.
            kept = target.ne(ignore_index).nonzero().squeeze(1)
            features, target, gen_logit, mass, ids = (
                None if x is None else x.index_select(0, kept) for x in (features, target, gen_logit, mass, ids)
            )
        real = target.ne(ignore_index).unsqueeze(1)
        target = target.unsqueeze(1).masked_fill(~real, 0)

        want_features, want_weight, want_bias = (differentiate and need for need in ctx.needs_input_grad[:3])
        want_logits = want_features or want_weight or want_bias
        dtype = torch.promote_types(features.dtype, torch.float32)
        like = features.new_zeros((), dtype=dtype)
        losses = _Losses(like) if ids is None else _CopyLosses(like, gen_logit, mass, ids, share)
        d_features = torch.empty_like(features) if want_features else None
        # Transposed, (D, V): so that no product has to rearrange the gradient of the logits.
        d_weight_t = weight.new_zeros(width, vocabulary) if want_weight else None
        d_bias = torch.zeros_like(bias) if want_bias else None
        cast = weight.to(features.dtype)
        packed, packed_t = pack(cast), pack(cast.t()) if want_features else None

        rows = min(chunk_rows(weight, features.dtype), max(1, features.size(0)))
        block = rows if kept is None else BLOCK_ROWS
        buffer = features.new_empty(rows, vocabulary) if want_logits else None
        for start in range(0, features.size(0), rows):
            chunk = features[start : start + rows]
            d_logits = buffer[: chunk.size(0)] if want_logits else None
            for first in range(0, chunk.size(0), block):
                here = slice(start + first, start + min(first + block, chunk.size(0)))
                logits = linear(features[here], packed).to(dtype)
                if bias is not None:
                    logits += bias
                out = d_logits[first : first + block] if want_logits else None
                losses.add(here, logits, target[here], real[here], confidence, out)
            if want_logits and kept is None:  # padding is still there
                d_logits.mul_(real[start : start + rows])
            if want_features:
                d_features[start : start + rows] = linear(d_logits, packed_t)
            if want_weight:
                d_weight_t += matmul(chunk.t(), d_logits)
            if want_bias:
                d_bias += d_logits.sum(dim=0, dtype=dtype)

        # What smoothing takes from every word alike, the same for all rows.
        if want_features:
            d_features -= (share * cast.sum(dim=0, dtype=dtype) * real).to(features.dtype)
        if want_weight:
            d_weight_t -= share * (features * real).sum(dim=0, dtype=dtype).unsqueeze(1)
            d_weight_t = d_weight_t.t().contiguous()
        if want_bias:
            d_bias -= share * real.sum()
        d_gen_logit, d_mass = losses.d_gen_logit, losses.d_mass
        if kept is not None:
            d_features, d_gen_logit, d_mass = (
                None if grad is None else grad.new_zeros(rows_given, *grad.shape[1:]).index_copy_(0, kept, grad)
                for grad in (d_features, d_gen_logit, d_mass)
            )
        ctx.save_for_backward(d_features, d_weight_t, d_bias, d_gen_logit, d_mass)
        ctx.mark_non_differentiable(losses.nll)
        return confidence * losses.nll + share * losses.smooth, losses.nll

    @staticmethod
    @once_differentiable
    def backward(ctx, d_loss, *_):
        grads = (grad if grad is None else grad * d_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return *grads, None, None, None, None, None


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
    return _apply(features, weight, bias, None, target, epsilon, ignore_index)


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
    """The fast twin of `reference.copy_cross_entropy`: same arguments, shapes and result.

    `nll_loss` is for the log and carries no gradient.
    """
    ids = source.ids.unsqueeze(1).expand_as(attn)
    copying = gen_logit.reshape(-1, 1), copy_mass(attn, source).flatten(0, 1), ids.flatten(0, 1)
    return _apply(features.flatten(0, 1), weight, bias, copying, target.flatten(), epsilon, ignore_index)


def _apply(features, weight, bias, copying, target, epsilon, ignore_index):
    """Args: copying, of all rows gen_logit (R, 1), mass (R, S) and ids (R, S), or None."""
    with torch.autocast(features.device.type, enabled=False):
        return _LabelSmoothedCrossEntropy.apply(
            features, weight, bias, *(copying or (None,) * 3), target, epsilon, ignore_index, torch.is_grad_enabled()
        )
