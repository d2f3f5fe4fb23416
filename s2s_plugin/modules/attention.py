"""The parameters of additive attention."""

from torch import Tensor, nn

from ..ops.additive_attention import read_dtype
from .cells import check_sizes, init_uniform
from .linear import Linear


class AdditiveAttention(nn.Module):
    """Additive attention (Bahdanau, Cho and Bengio 2015, A.1.2): energy[s] = v . tanh(W_q h + W_k memory[s] + b).

    The recurrence in `ops` computes the energies from `query_weight`, `v` and the keys that `forward` projects once a
    sentence.

    Args:
        query_size: H, width of the decoder's state.
        memory_size: M, width of the encoder's output.
        attn_dim: A, width in which the two meet.
    """

    def __init__(self, *, query_size: int, memory_size: int, attn_dim: int):
        super().__init__()
        check_sizes(query_size=query_size, memory_size=memory_size, attn_dim=attn_dim)
        self.key_proj = init_uniform(Linear(memory_size, attn_dim))
        self.query_proj = init_uniform(Linear(query_size, attn_dim, bias=False))
        self.energy_proj = init_uniform(Linear(attn_dim, 1, bias=False))

    @property
    def query_weight(self) -> Tensor:
        """W_q, (A, H)."""
        return self.query_proj.weight

    @property
    def v(self) -> Tensor:
        """v, (A,)."""
        return self.energy_proj.weight.squeeze(0)

    def forward(self, memory: Tensor) -> Tensor:
        """Args: memory (B, S, M). Returns keys (B, S, A) = W_k memory + b, in the dtype in which they are read."""
        keys = self.key_proj(memory)
        return keys.to(read_dtype(keys))
