"""Additive attention, one time step at a time, forward and backward, with one scratch buffer of (B, S, A).

The tanh of the energies is recomputed in the backward pass instead of kept, so memory does not grow with T x S x A.
The equations are those of `reference.additive_attention`; the derivation is in README.md.
"""

import torch
from torch import Tensor


class AdditiveRead:
    """Reads one memory with one query a sentence and step, and collects its gradients on the way back.

    Args:
        keys: (B, S, A).   memory: (B, S, M).   v: (A,).
        padding_mask: (B, S) bool, True at padding.
    """

    def __init__(self, keys: Tensor, memory: Tensor, v: Tensor, padding_mask: Tensor):
        self.keys, self.memory, self.v, self.padding_mask = keys, memory, v, padding_mask
        self.softmax_dtype = torch.promote_types(keys.dtype, torch.float32)
        self.lowest = torch.finfo(self.softmax_dtype).min
        self.scratch = torch.empty_like(keys, memory_format=torch.contiguous_format)

    def _tanh(self, query: Tensor) -> Tensor:
        """tanh(query + keys) in the scratch buffer, (B, S, A)."""
        return torch.add(self.keys, query.unsqueeze(1), out=self.scratch).tanh_()

    def forward(self, query: Tensor):
        """Args: query (B, A). Returns context (B, M) and attn (B, S) in float32 or better."""
        activation = self._tanh(query)
        energy = torch.mv(activation.view(-1, activation.size(2)), self.v).view(self.padding_mask.shape)
        energy = energy.to(self.softmax_dtype).masked_fill_(self.padding_mask, self.lowest)
        attn = torch.softmax(energy, dim=1)
        context = torch.bmm(attn.to(self.memory.dtype).unsqueeze(1), self.memory).squeeze(1)
        return context, attn

    def start_backward(self) -> None:
        """Clears what `backward` collects: sums over all steps, in float32 or better."""
        self.d_energy_sum = torch.zeros_like(self.padding_mask, dtype=self.softmax_dtype)
        self.d_energy_square_sum = torch.zeros_like(self.keys, dtype=self.softmax_dtype)
        self.d_v = torch.zeros_like(self.v, dtype=self.softmax_dtype)

    def backward(self, query: Tensor, attn: Tensor, d_context: Tensor, d_attn: Tensor) -> Tensor:
        """Backward of one step.

        Args:
            query: (B, A).   attn: (B, S), what `forward` gave for it.
            d_context: (B, M).   d_attn: (B, S), gradient that reaches the weights from outside.

        Returns:
            d_query, (B, A).
        """
        d_attn = d_attn + torch.bmm(self.memory, d_context.unsqueeze(2)).squeeze(2)
        d_energy = attn * (d_attn - (attn * d_attn).sum(dim=1, keepdim=True))
        d_energy = d_energy.to(self.v.dtype)
        activation = self._tanh(query)
        self.d_v += torch.mv(activation.view(-1, activation.size(2)).t(), d_energy.view(-1))
        square = activation.square_()
        self.d_energy_sum += d_energy
        self.d_energy_square_sum.addcmul_(d_energy.unsqueeze(2), square)
        d_query = d_energy.sum(dim=1, keepdim=True) - torch.bmm(d_energy.unsqueeze(1), square).squeeze(1)
        return d_query.mul_(self.v)

    def finish(self, attn: Tensor, d_context: Tensor):
        """Gradients of the whole sequence.

        Args:
            attn: (T, B, S).   d_context: (T, B, M).

        Returns:
            d_keys (B, S, A), d_memory (B, S, M), d_v (A,).
        """
        d_keys = (self.d_energy_sum.unsqueeze(2) - self.d_energy_square_sum).mul_(self.v).to(self.keys.dtype)
        d_memory = torch.bmm(attn.permute(1, 2, 0).to(d_context.dtype), d_context.transpose(0, 1))
        return d_keys, d_memory, self.d_v.to(self.v.dtype)
