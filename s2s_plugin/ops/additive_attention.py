"""Additive attention, one time step at a time, forward and backward, with one scratch buffer of (B, S, A).

The activations of the energies are recomputed in the backward pass instead of kept, so memory does not grow with
T x S x A. The equations are those of `reference.additive_attention`; the derivation is in README.md.
"""

import torch
from torch import Tensor

from .products import linear

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def read_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which attention computes energies and contexts: on CPUs float32 or better, which is faster there
    than to convert from and to bfloat16 in every pass; elsewhere that of `x`."""
    return torch.promote_types(x.dtype, torch.float32) if x.device.type == "cpu" else x.dtype


class AdditiveRead:
    """Reads one memory with one query a sentence and step, and collects its gradients on the way back.

    On CPUs tanh(x) is taken as 2 sigmoid(2x) - 1, since torch's sigmoid is the faster one; the constants are moved out
    of what is done for every (b, s, a).

    Args:
        keys: (B, S, A).   memory: (B, S, M).   v: (A,).
        padding_mask: (B, S) bool, True at padding.
    """

    def __init__(self, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
        dtype = read_dtype(keys)
        self.keys, self.memory, self.v = keys.to(dtype), memory.to(dtype), v.to(dtype)
        self.memory_t = self.memory.transpose(1, 2)
        self.padding_mask = padding_mask
        self.by_sigmoid = keys.device.type == "cpu"
        self.v_energy = (self.v * 2 if self.by_sigmoid else self.v).unsqueeze(0)
        self.softmax_dtype = torch.promote_types(dtype, torch.float32)
        self.lowest = torch.finfo(self.softmax_dtype).min
        self.scratch = torch.empty_like(self.keys, memory_format=torch.contiguous_format)

    def _activate(self, query: Tensor) -> Tensor:
        """tanh(query + keys), or sigmoid(2 (query + keys)), in the scratch buffer, (B, S, A)."""
        query = query.to(self.keys.dtype).unsqueeze(1)
        if self.by_sigmoid:
            return torch.add(query * 2, self.keys, alpha=2, out=self.scratch).sigmoid_()
        return torch.add(query, self.keys, out=self.scratch).tanh_()

    def forward(self, query: Tensor):
        """Args: query (B, A). Returns context (B, M) and attn (B, S) in float32 or better."""
        activation = self._activate(query)
        # Without the -1 of 2 sigmoid - 1: it adds the same to every energy, which the softmax does not see.
        energy = linear(activation.view(-1, activation.size(2)), self.v_energy).view(self.padding_mask.shape)
        energy = energy.to(self.softmax_dtype).masked_fill_(self.padding_mask, self.lowest)
        attn = torch.softmax(energy, dim=1)
        context = torch.bmm(attn.to(self.memory.dtype).unsqueeze(1), self.memory).squeeze(1)
        return context, attn

    def start_backward(self) -> None:
        """Clears what `backward` collects: sums over all steps, in float32 or better."""
        self.d_preact_sum = torch.zeros_like(self.keys, dtype=self.softmax_dtype)
        self.d_v = torch.zeros_like(self.v, dtype=self.softmax_dtype)

    def backward(self, query: Tensor, attn: Tensor, d_context: Tensor, d_attn: Tensor) -> Tensor:
        """Backward of one step.

        Args:
            query: (B, A).   attn: (B, S), what `forward` gave for it.
            d_context: (B, M).   d_attn: (B, S), gradient that reaches the weights from outside.

        Returns:
            d_query, (B, A).
        """
        # This order of the factors: the other one is a slow loop over sentences on CPUs.
        d_attn = d_attn + torch.bmm(d_context.to(self.memory.dtype).unsqueeze(1), self.memory_t).squeeze(1)
        d_energy = attn * (d_attn - (attn * d_attn).sum(dim=1, keepdim=True))
        d_energy = d_energy.to(self.v.dtype)
        activation = self._activate(query)
        # The constant in 2 sigmoid - 1 is left out here too: d_energy sums to 0 over s.
        self.d_v += torch.mv(activation.view(-1, activation.size(2)).t(), d_energy.view(-1))
        derivative = _sigmoid_backward if self.by_sigmoid else _tanh_backward
        d_preact = derivative(d_energy.unsqueeze(2), activation, grad_input=activation)
        self.d_preact_sum += d_preact
        return self._times_v(d_preact.sum(dim=1))

    def _times_v(self, d_preact: Tensor) -> Tensor:
        """The factors that `backward` leaves out: v, and with sigmoids 4 = 2 * 2, of the slope and of the argument."""
        return d_preact.mul_(self.v * 4 if self.by_sigmoid else self.v)

    def finish(self, attn: Tensor, d_context: Tensor):
        """Gradients of the whole sequence.

        Args:
            attn: (T, B, S).   d_context: (T, B, M).

        Returns:
            d_keys (B, S, A), d_memory (B, S, M), d_v (A,).
        """
        d_keys = self._times_v(self.d_preact_sum).to(self.keys.dtype)
        d_context = d_context.to(self.memory.dtype)
        d_memory = torch.bmm(attn.permute(1, 2, 0).to(d_context.dtype), d_context.transpose(0, 1))
        d_v = self.d_v.mul_(2) if self.by_sigmoid else self.d_v
        return d_keys, d_memory, d_v.to(self.v.dtype)
