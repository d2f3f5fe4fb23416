"""The decoder's first layer, which reads the previous words and the memory: three kinds with one contract."""

from typing import NamedTuple

from torch import Tensor, nn

from ..ops.parallel_attention import parallel_attention
from ..ops.recurrence import attention_recurrence, attention_steps, prepare_weights
from .attention import AdditiveAttention
from .cells import build_rnn, gate_width, init_uniform, run_rnn
from .encoder import EncoderState
from .linear import Linear, WeightCache


class FirstLayerOutput(NamedTuple):
    """Result of T steps.

    Attributes:
        output: (T, B, H), one state a step.
        context: list of one (T, B, M), or an empty one without attention.
        attn: (B, T, S), 0 at padding; None without attention.
        hidden: (B, H), the state after the last step.   cell: (B, H) for an LSTM, else None.
    """

    output: Tensor
    context: list[Tensor]
    attn: Tensor | None
    hidden: Tensor
    cell: Tensor | None


class RecurrentAttentionLayer(nn.Module):
    """The context is part of the recurrence: every step asks with its previous state and reads the answer.

    Bahdanau, Cho and Bengio 2015, A.1.2; the equations are those of `ops.reference.attention_recurrence`.

    Args:
        cell: `tanh`, `gru` or `lstm`.
        input_size: E.   hidden_size: H.   memory_size: M.   attn_dim: A.
    """

    def __init__(self, *, cell: str, input_size: int, hidden_size: int, memory_size: int, attn_dim: int):
        super().__init__()
        self.cell, self.context_size = cell, memory_size
        width = gate_width(cell, hidden_size)
        self.attention = AdditiveAttention(query_size=hidden_size, memory_size=memory_size, attn_dim=attn_dim)
        self.input_proj = init_uniform(Linear(input_size, width))
        self.context_proj = init_uniform(Linear(memory_size, width, bias=False))
        self.hidden_proj = init_uniform(Linear(hidden_size, width))
        self.cache = WeightCache()

    def project_keys(self, memory: Tensor) -> Tensor:
        """Args: memory (B, S, M). Returns keys (B, S, A)."""
        return self.attention(memory)

    def forward(self, x: Tensor, encoder: EncoderState, keys: Tensor, hidden: Tensor, cell: Tensor | None):
        """Args: x (T, B, E), keys (B, S, A), hidden and cell (B, H). Returns a FirstLayerOutput."""
        weights = (
            self.attention.query_weight, self.attention.v,
            self.context_proj.weight, self.hidden_proj.weight, self.hidden_proj.bias,
        )  # fmt: skip
        state = self.input_proj(x), encoder.memory, keys, encoder.padding_mask, hidden, cell
        if self.cache.keeps():
            ready = self.cache(lambda: prepare_weights(*weights), *weights)
            out = attention_steps(*state, ready, self.cell)
        else:
            out = attention_recurrence(*state, *weights, self.cell)
        return FirstLayerOutput(out.hidden, [out.context], out.attn.transpose(0, 1), out.last_hidden, out.cell)


class ParallelAttentionLayer(nn.Module):
    """The recurrence reads words alone, fused over all steps; then its states ask for the contexts, all at once.

    Wu et al. 2016, sec. 3, where the bottom decoder layer asks too: query[t] = W_q h[t], the state of the same step.
    The context reaches the readout and the layers above.

    Args: as in `RecurrentAttentionLayer`.
    """

    def __init__(self, *, cell: str, input_size: int, hidden_size: int, memory_size: int, attn_dim: int):
        super().__init__()
        self.context_size = memory_size
        self.attention = AdditiveAttention(query_size=hidden_size, memory_size=memory_size, attn_dim=attn_dim)
        self.rnn = build_rnn(cell, input_size, hidden_size)

    def project_keys(self, memory: Tensor) -> Tensor:
        """Args: memory (B, S, M). Returns keys (B, S, A)."""
        return self.attention(memory)

    def forward(self, x: Tensor, encoder: EncoderState, keys: Tensor, hidden: Tensor, cell: Tensor | None):
        """Args: x (T, B, E), keys (B, S, A), hidden and cell (B, H). Returns a FirstLayerOutput."""
        y, last = run_rnn(self.rnn, x, hidden, cell)
        context, attn = parallel_attention(
            self.attention.query_proj(y), keys, encoder.memory, self.attention.v, encoder.padding_mask
        )
        return FirstLayerOutput(y, [context], attn.transpose(0, 1), *last)


class PlainLayer(nn.Module):
    """No attention: the source is known through the bridge alone (Sutskever, Vinyals and Le 2014).

    Args: as in `RecurrentAttentionLayer`; the last two are not needed.
    """

    context_size = 0

    def __init__(self, *, cell: str, input_size: int, hidden_size: int, memory_size: int, attn_dim: int):
        super().__init__()
        self.rnn = build_rnn(cell, input_size, hidden_size)

    def project_keys(self, memory: Tensor) -> None:
        """There are no keys."""
        return None

    def forward(self, x: Tensor, encoder: EncoderState, keys: None, hidden: Tensor, cell: Tensor | None):
        """Args: x (T, B, E), hidden and cell (B, H). Returns a FirstLayerOutput."""
        y, last = run_rnn(self.rnn, x, hidden, cell)
        return FirstLayerOutput(y, [], None, *last)


FIRST_LAYERS = {"recurrent": RecurrentAttentionLayer, "parallel": ParallelAttentionLayer, "none": PlainLayer}


def check_first_layer(attention: str) -> None:
    """Raises ValueError unless `attention` is one of `FIRST_LAYERS`."""
    if attention not in FIRST_LAYERS:
        raise ValueError(f"unknown attention {attention!r}: choose from {', '.join(FIRST_LAYERS)}")
