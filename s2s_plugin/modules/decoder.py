"""The recurrent decoder: a first layer that attends, layers above it that run fused over all steps, the readout."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.recurrence import attention_recurrence
from .attention import AdditiveAttention
from .bridge import Bridge
from .cells import build_rnn, check_probabilities, check_sizes, gate_width, init_uniform
from .dropout import Dropout
from .encoder import EncoderState
from .linear import Linear
from .readout import Readout


class DecoderState(NamedTuple):
    """What one step needs of those before it.

    Attributes:
        hidden: (L, B, H).
        cell: (L, B, H) for an LSTM, else None.
        keys: (B, S, A), the memory projected once a sentence; None without attention.
    """

    hidden: Tensor
    cell: Tensor | None
    keys: Tensor | None


class DecoderOutput(NamedTuple):
    """Result of T steps.

    Attributes:
        features: (B, T, D), ready for the output projection.
        attn: (B, T, S) in the frame of the memory, 0 at padding; None without attention.
        state: the state after the last step.
    """

    features: Tensor
    attn: Tensor | None
    state: DecoderState


class AttentionCell(nn.Module):
    """The attending layer: parameters of the cell and of the attention, run by `ops.recurrence`.

    Equations and gate order are those of `ops.reference.attention_recurrence`.

    Args:
        cell: `tanh`, `gru` or `lstm`.
        input_size: E.   hidden_size: H.   memory_size: M.   attn_dim: A.
    """

    def __init__(self, *, cell: str, input_size: int, hidden_size: int, memory_size: int, attn_dim: int):
        super().__init__()
        self.cell = cell
        width = gate_width(cell, hidden_size)
        self.attention = AdditiveAttention(query_size=hidden_size, memory_size=memory_size, attn_dim=attn_dim)
        self.input_proj = init_uniform(Linear(input_size, width))
        self.context_proj = init_uniform(Linear(memory_size, width, bias=False))
        self.hidden_proj = init_uniform(Linear(hidden_size, width))

    def forward(self, x: Tensor, memory: Tensor, keys: Tensor, padding_mask: Tensor, hidden: Tensor, cell):
        """Args: x (T, B, E), the rest as in `attention_recurrence`. Returns its RecurrenceOutput."""
        return attention_recurrence(
            self.input_proj(x), memory, keys, padding_mask, hidden, cell,
            self.attention.query_weight, self.attention.v,
            self.context_proj.cast_weight, self.hidden_proj.cast_weight, self.hidden_proj.cast_bias, self.cell,
        )  # fmt: skip


class RNNDecoder(nn.Module):
    """Decoder of Bahdanau, Cho and Bengio (2015, A.2.2), with layers above the attending one as in GNMT.

    The first layer reads the previous word and the context that its previous state asked for; each layer above reads
    [hidden; context] of its step. Without attention the first layer reads the words alone.

    Args:
        cell: `tanh`, `gru` or `lstm`.
        embed_dim: E.   hidden_size: H.   num_layers: L.   memory_size: M.   output_size: D.
        attn_dim: A, or None for a decoder without attention.
        bridge: `zero`, `last` or `mean`.
        dropout: on the output of every layer and on the features.

    Raises:
        ValueError: unknown cell or bridge, size below 1, dropout outside [0, 1), or neither attention nor a bridge.
    """

    def __init__(
        self,
        *,
        cell: str,
        embed_dim: int,
        hidden_size: int,
        num_layers: int,
        memory_size: int,
        output_size: int,
        attn_dim: int | None,
        bridge: str,
        dropout: float,
    ):
        super().__init__()
        check_sizes(embed_dim=embed_dim, hidden_size=hidden_size, num_layers=num_layers, memory_size=memory_size)
        check_probabilities(dropout=dropout)
        if attn_dim is None and bridge == "zero":
            raise ValueError("a decoder without attention and with the bridge 'zero' sees nothing of the source")
        self.has_cell = cell == "lstm"
        self.bridge = Bridge(
            kind=bridge,
            memory_size=memory_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.has_cell,
        )
        context_size = 0 if attn_dim is None else memory_size
        if attn_dim is None:
            self.first_layer = build_rnn(cell, embed_dim, hidden_size)
        else:
            self.first_layer = AttentionCell(
                cell=cell, input_size=embed_dim, hidden_size=hidden_size, memory_size=memory_size, attn_dim=attn_dim
            )
        self.has_attention = attn_dim is not None
        self.upper_layers = nn.ModuleList(
            build_rnn(cell, hidden_size + context_size, hidden_size) for _ in range(num_layers - 1)
        )
        self.dropout = Dropout(dropout)
        self.readout = Readout(input_size=hidden_size + context_size + embed_dim, output_size=output_size)

    def start(self, encoder: EncoderState) -> DecoderState:
        """The state before the first word: bridge and projected keys."""
        hidden, cell = self.bridge(encoder)
        keys = self.first_layer.attention(encoder.memory) if self.has_attention else None
        return DecoderState(hidden, cell, keys)

    def forward(self, x: Tensor, encoder: EncoderState, state: DecoderState) -> DecoderOutput:
        """Runs T steps from `state`: all of a target while training, one at a time in a beam search.

        Args:
            x: (B, T, E), embedded previous words.
            encoder: what the encoder knows of the batch.
            state: from `start` or from the output of earlier steps.
        """
        x = x.transpose(0, 1)
        hidden, cell = state.hidden, state.cell
        if self.has_attention:
            out = self.first_layer(
                x, encoder.memory, state.keys, encoder.padding_mask, hidden[0], cell[0] if self.has_cell else None
            )
            y, context, attn = out.hidden, [out.context], out.attn.transpose(0, 1)
            hiddens, cells = [y[-1]], [out.cell]
        else:
            y, final = self._run(self.first_layer, x, hidden, cell, 0)
            context, attn = [], None
            hiddens, cells = [final[0]], [final[1]]
        for index, layer in enumerate(self.upper_layers, start=1):
            y, final = self._run(layer, torch.cat([self.dropout(y), *context], dim=2), hidden, cell, index)
            hiddens.append(final[0])
            cells.append(final[1])
        features = self.dropout(self.readout(self.dropout(y), *context, x)).transpose(0, 1)
        state = DecoderState(torch.stack(hiddens), torch.stack(cells) if self.has_cell else None, state.keys)
        return DecoderOutput(features, attn, state)

    def _run(self, layer: nn.RNNBase, x: Tensor, hidden: Tensor, cell: Tensor | None, index: int):
        """One fused layer from its slice of the state. Returns y (T, B, H) and its final hidden and cell, (B, H)."""
        start = hidden[index : index + 1].contiguous()
        if not self.has_cell:
            y, final = layer(x, start)
            return y, (final.squeeze(0), None)
        y, (final, final_cell) = layer(x, (start, cell[index : index + 1].contiguous()))
        return y, (final.squeeze(0), final_cell.squeeze(0))
