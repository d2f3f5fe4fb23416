"""The parameters of additive attention: one head or several, plain or normalised."""

import math

import torch
from torch import Tensor, nn

from ..ops.additive_attention import read_dtype
from ..ops.history import Past
from ..ops.reference import Source, check_heads, nothing_read
from .cells import check_probabilities, check_sizes, init_uniform
from .dropout import draw_keep
from .linear import Linear

ENERGIES = ("additive", "normed")


def check_energy(energy: str) -> None:
    """Raises ValueError unless `energy` is one of `ENERGIES`."""
    if energy not in ENERGIES:
        raise ValueError(f"unknown attention energy {energy!r}: choose from {', '.join(ENERGIES)}")


class AdditiveAttention(nn.Module):
    """Additive attention (Bahdanau, Cho and Bengio 2015, A.1.2): energy[s] = v . tanh(W_q h + W_k memory[s] + b).

    `normed` takes g v / |v| for v (Salimans and Kingma 2016, eq. 2; `normed_bahdanau` of tensorflow/nmt and GNMT), with
    one length g for each head. With `coverage`, w_c c[s] is added inside the tanh, where c[s] is the sum of the weights
    that s had in the steps before (See, Liu and Manning 2017, eq. 10 and 11; a coverage vector of Tu et al. 2016). With
    filters, U f[s] is added likewise, f[s] = (F * attn)[s] the convolution of the weights of the step before (Chorowski
    et al. 2015, eq. 8 and 9).
    N heads have a softmax each over A / N columns and read M / N columns of the values W_v memory (Chen et al. 2018,
    sec. 3); one head reads the memory itself.

    The functions in `ops` compute the energies from `query_weight`, `v` and what `forward` projects once a sentence.

    Args:
        query_size: H, width of the decoder's state.
        memory_size: M, width of the encoder's output.
        attn_dim: A, width in which the two meet.
        energy: `additive` or `normed`.
        heads: N.
        dropout: probability of leaving a position out of the context, without changing the weights that are shown.
        coverage: whether the energies know the coverage; of several heads it is that of their mean.
        location_filters: K, of the weights of the step before, of several heads their mean; 0 for none.
        location_width: positions that a filter sees, an odd number.

    Raises:
        ValueError: unknown energy, size below 1, widths that the heads cannot share, dropout outside [0, 1), filters of
            an even width.
    """

    def __init__(
        self, *, query_size: int, memory_size: int, attn_dim: int, energy: str = "additive", heads: int = 1,
        dropout: float = 0.0, coverage: bool = False, location_filters: int = 0, location_width: int = 31,
    ):  # fmt: skip
        super().__init__()
        check_sizes(query_size=query_size, memory_size=memory_size, attn_dim=attn_dim, heads=heads)
        check_heads(heads, attn_dim=attn_dim, memory_size=memory_size)
        check_energy(energy)
        check_probabilities(dropout=dropout)
        self.heads, self.dropout = heads, dropout
        self.key_proj = init_uniform(Linear(memory_size, attn_dim))
        self.query_proj = init_uniform(Linear(query_size, attn_dim, bias=False))
        self.energy_proj = init_uniform(Linear(attn_dim, 1, bias=False))
        self.value_proj = init_uniform(Linear(memory_size, memory_size)) if heads > 1 else None
        is_normed = energy == "normed"
        self.coverage_proj = init_uniform(Linear(1, attn_dim, bias=False)) if coverage else None
        self.location_filters = self.location_proj = None
        if location_filters:
            check_sizes(location_filters=location_filters, location_width=location_width)
            if location_width % 2 == 0:
                raise ValueError(f"location_width {location_width} has no middle: it must be odd")
            self.location_filters = init_uniform(Linear(location_width, location_filters, bias=False))
            self.location_proj = init_uniform(Linear(location_filters, attn_dim, bias=False))
        self.length = nn.Parameter(torch.full((heads, 1), math.sqrt(heads / attn_dim))) if is_normed else None

    @property
    def query_weight(self) -> Tensor:
        """W_q, (A, H)."""
        return self.query_proj.weight

    @property
    def v(self) -> Tensor:
        """v or g v / |v|, (A,)."""
        v = self.energy_proj.weight.squeeze(0)
        if self.length is None:
            return v
        by_heads = v.view(self.heads, -1)
        return (self.length * by_heads / by_heads.norm(dim=1, keepdim=True)).flatten()

    @property
    def past_weights(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """w_coverage (A,), filters (K, W) and w_location (A, K), None for what the energies do not know."""
        w_coverage = None if self.coverage_proj is None else self.coverage_proj.weight.squeeze(1)
        if self.location_filters is None:
            return w_coverage, None, None
        return w_coverage, self.location_filters.weight, self.location_proj.weight

    def start(self, padding_mask: Tensor) -> Past:
        """The past of the first step: nothing was read."""
        nothing = nothing_read(padding_mask)
        return Past(None if self.coverage_proj is None else nothing, None if self.location_filters is None else nothing)

    def draw_keep(self, steps: int, source: Source) -> Tensor | None:
        """`attn_keep` (T, B, N, S) of `ops`, or None where nothing is dropped."""
        if not self.training or self.dropout == 0.0:
            return None
        batch, size = source.padding_mask.shape
        return draw_keep((steps, batch, self.heads, size), self.dropout, source.padding_mask)

    def forward(self, memory: Tensor, padding_mask: Tensor) -> Source:
        """What is read at every step, in the dtype in which it is read.

        Args: memory (B, S, M), padding_mask (B, S). Returns keys W_k memory + b (B, S, A) with memory or its values.
        """
        keys = self.key_proj(memory)
        values = memory if self.value_proj is None else self.value_proj(memory).to(read_dtype(memory))
        return Source(values, keys.to(read_dtype(keys)), padding_mask)
