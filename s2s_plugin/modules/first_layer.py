"""The decoder's first layer, which reads the previous words and the memory: four kinds with one contract."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.history import Past
from ..ops.parallel_attention import parallel_attention
from ..ops.recurrence import recurrence
from ..ops.reference import Cell, Read, Source
from ..ops.steps import prepare_weights, recurrence_steps
from .attention import AdditiveAttention
from .cells import CellKind, InputProjection, check_kind, gate_width, init_uniform
from .linear import Linear, WeightCache
from .rnn import build_cells, build_rnn, draw_hidden_keep, run_rnn


class FirstLayerOutput(NamedTuple):
    """Result of T steps.

    Attributes:
        output: (T, B, H), one state a step.
        context: list of one (T, B, M), or an empty one without attention.
        attn: (B, T, S), 0 at padding; None without attention.
        hidden: (B, H), the state after the last step.   cell: (B, H) for an LSTM, else None.
        past: where was read, the last step included.
    """

    output: Tensor
    context: list[Tensor]
    attn: Tensor | None
    hidden: Tensor
    cell: Tensor | None
    past: Past


class RecurrentAttentionLayer(nn.Module):
    """The context is part of the recurrence; the equations are those of `ops.reference.recurrence`.

    A step has `kind.transitions` cells. In the first, which reads the word, the previous state asks and the answer is
    read (Bahdanau, Cho and Bengio 2015, A.1.2).

    Args:
        kind: what cells they are.   input_size: E.   hidden_size: H.   memory_size: M.
        attention: projects keys and queries.
    """

    read_at = 0

    def __init__(
        self, *, kind: CellKind, input_size: int, hidden_size: int, memory_size: int, attention: AdditiveAttention
    ):
        super().__init__()
        check_kind(kind)
        self.kind, self.context_size = kind, memory_size
        width = gate_width(kind, hidden_size)
        self.attention = attention
        self.input_proj = InputProjection(kind=kind, input_size=input_size, hidden_size=hidden_size)
        self.context_proj = init_uniform(Linear(memory_size, width, bias=False))
        self.context_gain = nn.Parameter(torch.ones(width)) if kind.layer_norm else None
        self.cells = build_cells(kind, hidden_size, self.read_at + kind.transitions)
        self.cache = WeightCache()

    def weights(self) -> tuple[list[Cell], Read]:
        """Of the cells of a step and of the read, as the functions of `ops` take them."""
        attention = self.attention
        read = Read(
            attention.query_weight, attention.v, self.context_proj.weight, self.context_gain, *attention.past_weights
        )
        return [cell.weights() for cell in self.cells], read

    def forward(self, x: Tensor, source: Source, hidden: Tensor, cell: Tensor | None, past: Past):
        """Args: x (T, B, E), source of `attention`, hidden and cell (B, H), past of the first step.

        Returns a FirstLayerOutput.
        """
        x_preact = self.input_proj(x)
        options = {
            "read_at": self.read_at,
            "heads": self.attention.heads,
            "coverage": past.coverage,
            "attn_prev": past.attn,
        }
        if self.cache.keeps():
            weights = self.cache(lambda: prepare_weights(*self.weights(), self.read_at), *self.parameters())
            out = recurrence_steps(x_preact, hidden, cell, weights, self.kind.name, source, **options)
        else:
            cells, read = self.weights()
            out = recurrence(
                x_preact, hidden, cell, cells, self.kind.name, read, source, **options,
                hidden_keep=draw_hidden_keep(self, self.kind, len(cells), hidden),
                attn_keep=self.attention.draw_keep(len(x), source),
            )  # fmt: skip
        past = Past(out.coverage, None if past.attn is None else out.attn[-1])
        return FirstLayerOutput(out.hidden, [out.context], out.attn.transpose(0, 1), out.last_hidden, out.cell, past)


class ConditionalAttentionLayer(RecurrentAttentionLayer):
    """A first cell reads the word, its state asks, a second cell reads the answer: the conditional GRU of Nematus.

    Sennrich et al. 2017, sec. 2.1, eq. 2 to 4, for every kind of cell; `kind.transitions` cells follow the first one.
    """

    read_at = 1


class ParallelAttentionLayer(nn.Module):
    """The recurrence reads words alone, fused over all steps; then its states ask for the contexts, all at once.

    Wu et al. 2016, sec. 3, where the bottom decoder layer asks too: query[t] = W_q h[t], the state of the same step.
    The context reaches the readout and the layers above.

    Args: as in `RecurrentAttentionLayer`.
    """

    def __init__(
        self, *, kind: CellKind, input_size: int, hidden_size: int, memory_size: int, attention: AdditiveAttention
    ):
        super().__init__()
        self.context_size = memory_size
        self.attention = attention
        self.rnn = build_rnn(kind, input_size, hidden_size)

    def forward(self, x: Tensor, source: Source, hidden: Tensor, cell: Tensor | None, past: Past):
        """Args: x (T, B, E), source of `attention`, hidden and cell (B, H), past of the first step.

        Returns a FirstLayerOutput.
        """
        y, last = run_rnn(self.rnn, x, hidden, cell)
        attention = self.attention
        w_coverage, *location = attention.past_weights
        context, attn, coverage = parallel_attention(
            attention.query_proj(y), source.keys, source.memory, attention.v, source.padding_mask,
            attention.heads, attention.draw_keep(len(x), source), w_coverage, past.coverage, *location, past.attn,
        )  # fmt: skip
        past = Past(coverage, None if past.attn is None else attn[-1])
        return FirstLayerOutput(y, [context], attn.transpose(0, 1), *last, past)


class PlainLayer(nn.Module):
    """No attention: the source is known through the bridge alone (Sutskever, Vinyals and Le 2014).

    Args: as in `RecurrentAttentionLayer`; the last two are not needed.
    """

    context_size, attention = 0, None

    def __init__(self, *, kind: CellKind, input_size: int, hidden_size: int, memory_size: int, attention: None):
        super().__init__()
        self.rnn = build_rnn(kind, input_size, hidden_size)

    def forward(self, x: Tensor, source: None, hidden: Tensor, cell: Tensor | None, past: Past):
        """Args: x (T, B, E), hidden and cell (B, H). Returns a FirstLayerOutput."""
        y, last = run_rnn(self.rnn, x, hidden, cell)
        return FirstLayerOutput(y, [], None, *last, past)


FIRST_LAYERS = {
    "recurrent": RecurrentAttentionLayer,
    "conditional": ConditionalAttentionLayer,
    "parallel": ParallelAttentionLayer,
    "none": PlainLayer,
}


def check_first_layer(attention: str) -> None:
    """Raises ValueError unless `attention` is one of `FIRST_LAYERS`."""
    if attention not in FIRST_LAYERS:
        raise ValueError(f"unknown attention {attention!r}: choose from {', '.join(FIRST_LAYERS)}")
