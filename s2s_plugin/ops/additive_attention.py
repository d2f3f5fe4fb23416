"""Additive attention, forward and backward, for callers that hold one block of (b, s, a) at a time.

The activations of the energies are recomputed in the backward pass instead of kept, so memory does not grow with
T x S x A. The equations are those of `reference.additive_attention`; the derivation is in README.md.
"""

import torch
from torch import Tensor

from . import devices
from .activations import sigmoid_backward, tanh_backward
from .history import History, Past
from .products import linear
from .reference import check_heads

CPU_BLOCK = 2**19
"""Numbers in a block of activations on a CPU: it stays in the cores' own caches from pass to pass."""


def read_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which attention computes energies and contexts: on CPUs float32 or better, which is faster there
    than to convert from and to bfloat16 in every pass; elsewhere that of `x`."""
    return torch.promote_types(x.dtype, torch.float32) if devices.on_cpu(x) else x.dtype


def cast_for_reading(*tensors: Tensor | None) -> list[Tensor | None]:
    """Keys, memory or v in the dtype of the active autocast; on CPUs as they are, see `read_dtype`."""
    return [x if x is None or devices.on_cpu(x) else devices.cast(x) for x in tensors]


class AdditiveEnergy:
    """energy = v . tanh(query + key + W features), and its gradients, with the constants moved out of the loop over
    (b, s, a).

    Each of N heads has a share of the A columns. On CPUs tanh(x) is taken as 2 sigmoid(2x) - 1, since torch's sigmoid
    is the faster one. What is called activation here is the sigmoid there, and the energies of a head lack the same
    number each, which no softmax sees.

    Args:
        v: (A,).   heads: N.   weight: (A, K), of the features of `History`, or None.
    """

    def __init__(self, v: Tensor, heads: int, weight: Tensor | None):
        self.by_sigmoid, self.heads = devices.on_cpu(v), heads
        row = v * 2 if self.by_sigmoid else v
        # (N, A), each head's share of the row in a row of its own.
        self.rows = row.unsqueeze(0) if heads == 1 else torch.block_diag(*row.view(heads, -1))
        # sigmoid' = y (1 - y), and 2 for the factor before the sigmoid and 2 for that of its argument.
        self.slope = v * 4 if self.by_sigmoid else v
        if weight is not None:
            self.feature_rows = (weight * 2 if self.by_sigmoid else weight).t().contiguous()
            self.feature_slope = weight.t() * self.slope

    def activate(self, query: Tensor, keys: Tensor, features: Tensor | None, out: Tensor) -> Tensor:
        """Args: query (B, 1, A), keys and out (B, S, A), features (B, S, K) or None. Returns `out`, the activations."""
        if self.by_sigmoid:
            torch.add(query * 2, keys, alpha=2, out=out)
        else:
            torch.add(query, keys, out=out)
        if features is not None and features.size(2) == 1:
            out.addcmul_(features, self.feature_rows)
        elif features is not None:
            out.view(-1, out.size(2)).addmm_(features.flatten(0, 1), self.feature_rows)
        return out.sigmoid_() if self.by_sigmoid else out.tanh_()

    def forward(self, activation: Tensor) -> Tensor:
        """Args: activation (B, S, A). Returns energies (B, N, S)."""
        batch, source, width = activation.shape
        return linear(activation.view(-1, width), self.rows).view(batch, source, self.heads).transpose(1, 2)

    def backward(self, d_energy: Tensor, activation: Tensor):
        """Args: d_energy (B, N, S), whose sum over S is 0 behind a softmax; activation (B, S, A), overwritten.

        Returns:
            d_preact (B, S, A), which `scale` has to complete once it is summed, and d_v (B, A), still to be summed over
            the sentences, for `scale_v`.
        """
        # By sentences, as all passes over the block are shared out: another order would move it from core to core.
        d_v = torch.bmm(d_energy, activation)
        if self.heads > 1:  # of each head's sum over all columns, its own share
            d_v = d_v.unflatten(2, (self.heads, -1)).diagonal(dim1=1, dim2=2).transpose(1, 2)
        derivative = sigmoid_backward if self.by_sigmoid else tanh_backward
        by_heads = activation.unflatten(2, (self.heads, -1))
        derivative(d_energy.transpose(1, 2).unsqueeze(-1), by_heads, grad_input=by_heads)
        return activation, d_v.flatten(1)

    def d_features(self, d_preact: Tensor) -> Tensor:
        """Args: d_preact (B, S, A) of `backward`, not scaled. Returns d_features (B, S, K)."""
        return linear(d_preact.flatten(0, 1), self.feature_slope).view(*d_preact.shape[:2], self.feature_slope.size(0))

    def scale(self, d_preact: Tensor) -> Tensor:
        """Multiplies sums of what `backward` gave, (..., A), by the factors that it left out, in place."""
        return d_preact.mul_(self.slope)

    def scale_v(self, d_v: Tensor) -> Tensor:
        """d_v (A,), from sums of what `backward` gave for it, (B, A)."""
        d_v = d_v.sum(dim=0)
        return d_v.mul_(2) if self.by_sigmoid else d_v


def masked_softmax(energy: Tensor, padding_mask: Tensor) -> Tensor:
    """Attention weights in float32 or better, 0 at padding. Args: energy (..., S), padding_mask likewise."""
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32))
    return torch.softmax(energy.masked_fill(padding_mask, torch.finfo(energy.dtype).min), dim=-1)


def softmax_backward(d_attn: Tensor, attn: Tensor, padding_mask: Tensor) -> Tensor:
    """d_energy (..., S) of `masked_softmax`: 0 at padding, also in a row of padding alone, whose weights are not."""
    d_energy = attn * (d_attn - (attn * d_attn).sum(dim=-1, keepdim=True))
    return d_energy.masked_fill_(padding_mask, 0.0)


def head_columns(x: Tensor, heads: int) -> tuple[Tensor, ...]:
    """The columns (..., M / N) of each head, as views."""
    return x.chunk(heads, dim=-1)


def weighted_sum(weights: Tensor, memory: Tensor) -> Tensor:
    """Contexts: of each head, the sum of its columns of memory by its weights.

    Args:
        weights: (B, N, R, S), for R queries a sentence.   memory: (B, S, M).

    Returns:
        (B, R, M).
    """
    weights = weights.to(memory.dtype)
    parts = [torch.bmm(weights[:, n], part) for n, part in enumerate(head_columns(memory, weights.size(1)))]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def d_weights_of(d_context: Tensor, memory: Tensor, heads: int) -> Tensor:
    """d_weights (B, N, R, S) of `weighted_sum`. Args: d_context (B, R, M), memory (B, S, M)."""
    columns = zip(head_columns(d_context.to(memory.dtype), heads), head_columns(memory, heads), strict=True)
    # This order of the factors: the other one is a slow loop over sentences on CPUs.
    parts = [torch.bmm(d_part, part.transpose(1, 2)) for d_part, part in columns]
    return parts[0].unsqueeze(1) if heads == 1 else torch.stack(parts, dim=1)


class AdditiveRead:
    """Reads one memory with one query a sentence and step, and collects its gradients on the way back.

    Args:
        memory: (B, S, M).   keys: (B, S, A).   v: (A,).
        padding_mask: (B, S) bool, True at padding.
        heads: N, which share A and M.
        w_coverage: (A,), or None for a read that does not know the coverage.
        filters: (K, W), and w_location: (A, K), or None for a read that does not know where it read last.
    """

    def __init__(
        self, memory: Tensor, keys: Tensor, padding_mask: Tensor, v: Tensor, heads: int,
        w_coverage: Tensor | None, filters: Tensor | None, w_location: Tensor | None,
    ):  # fmt: skip
        check_heads(heads, attn_dim=v.size(0), memory_size=memory.size(2))
        dtype = read_dtype(keys)
        self.keys, self.memory, self.padding_mask = keys.to(dtype), memory.to(dtype), padding_mask.unsqueeze(1)
        self.softmax_dtype, self.heads = torch.promote_types(dtype, torch.float32), heads
        self.history = History(*(None if x is None else x.to(dtype) for x in (w_coverage, filters, w_location)))
        self.energy = AdditiveEnergy(v.to(dtype), heads, self.history.weight)
        batch, source, width = keys.shape
        rows = max(1, CPU_BLOCK // (source * width) if devices.on_cpu(keys) else batch)
        self.blocks = [slice(start, min(start + rows, batch)) for start in range(0, batch, rows)]
        self.scratch = self.keys.new_empty(min(rows, batch), source, width)

    def _activate(self, query: Tensor, features: Tensor | None, rows: slice) -> Tensor:
        scratch = self.scratch[: rows.stop - rows.start]
        known = None if features is None else features[rows]
        return self.energy.activate(query[rows].to(scratch.dtype).unsqueeze(1), self.keys[rows], known, scratch)

    def energies(self, query: Tensor, past: Past) -> Tensor:
        """Args: query (B, A), past of the step. Returns energies (B, N, S), padding included."""
        energy = self.keys.new_empty(self.keys.size(0), self.heads, self.keys.size(1))
        features = self.history.features(past) if self.history else None
        for rows in self.blocks:
            energy[rows] = self.energy.forward(self._activate(query, features, rows))
        return energy

    def forward(self, query: Tensor, keep: Tensor | None, past: Past):
        """Reads.

        Args:
            query: (B, A).   keep: (B, N, S) or None.   past: where was read before.

        Returns:
            context (B, M) and attn (B, N, S), float32 or better.
        """
        attn = masked_softmax(self.energies(query, past), self.padding_mask)
        weights = attn if keep is None else attn * keep
        return weighted_sum(weights.unsqueeze(2), self.memory).squeeze(1), attn

    def start_backward(self) -> None:
        """Clears what `energies_backward` collects: sums over all steps, in float32 or better."""
        batch, source, width = self.keys.shape
        self.d_keys = torch.zeros_like(self.keys, dtype=self.softmax_dtype)
        self.ones = self.keys.new_ones(batch, 1, source)
        self.d_v = self.keys.new_zeros(batch, width, dtype=self.softmax_dtype)
        if self.history:
            count = self.history.weight.size(1)
            self.d_weight = self.keys.new_zeros(batch, count, width, dtype=self.softmax_dtype)
            self.history.start_backward(self.softmax_dtype)

    def energies_backward(self, query: Tensor, d_energy: Tensor, past: Past):
        """Backward of `energies`.

        Args:
            query: (B, A).   d_energy: (B, N, S), of `softmax_backward`.   past: as there.

        Returns:
            d_query (B, A), and the gradients of the past.
        """
        d_energy = d_energy.to(self.keys.dtype)
        # Sums over s, by a product, which is faster: d_query of ones, and what the features' weight has a gradient of.
        features, sums, d_features = None, self.ones, None
        if self.history:
            features = self.history.features(past)
            sums, d_features = torch.cat([sums, features.transpose(1, 2)], dim=1), torch.empty_like(features)
        d_rows = self.keys.new_empty(sums.size(0), sums.size(1), self.keys.size(2))
        for rows in self.blocks:
            d_preact, d_v = self.energy.backward(d_energy[rows], self._activate(query, features, rows))
            self.d_v[rows] += d_v
            self.d_keys[rows] += d_preact
            torch.bmm(sums[rows], d_preact, out=d_rows[rows])
            if features is not None:
                d_features[rows] = self.energy.d_features(d_preact)
        d_query = self.energy.scale(d_rows[:, 0])
        if features is None:
            return d_query, Past(None, None)
        self.d_weight += d_rows[:, 1:]
        return d_query, self.history.backward(d_features, past)

    def backward(self, query: Tensor, attn: Tensor, keep: Tensor | None, past: Past, d_context: Tensor, d_attn: Tensor):
        """Backward of one step.

        Args:
            query: (B, A).   attn: (B, N, S), what `forward` gave for it.   keep: (B, N, S) or None, as there.
            past: as there.
            d_context: (B, M).   d_attn: (B, S), gradient that reaches the mean of the heads' weights from outside.

        Returns:
            d_query (B, A), and the gradients of the past.
        """
        d_weights = d_weights_of(d_context.unsqueeze(1), self.memory, self.heads).squeeze(2)
        if keep is not None:
            d_weights = d_weights * keep
        d_attn = d_weights + (d_attn / self.heads).unsqueeze(1)
        return self.energies_backward(query, softmax_backward(d_attn, attn, self.padding_mask), past)

    def finish(self, weights: Tensor, d_context: Tensor):
        """Gradients of the whole sequence.

        Args:
            weights: (B, N, T, S), the attention weights times their `keep`.   d_context: (B, T, M).

        Returns:
            d_keys (B, S, A), d_memory (B, S, M), d_v (A,), d_w_coverage (A,), d_filters (K, W), d_w_location (A, K),
            the last three None where the read does not have them.
        """
        d_memory = weighted_sum(weights.transpose(2, 3), d_context.to(self.memory.dtype))
        d_history = None, None, None
        if self.history:
            d_history = self.history.finish(self.energy.scale(self.d_weight.sum(dim=0)))
        return self.energy.scale(self.d_keys), d_memory, self.energy.scale_v(self.d_v), *d_history
