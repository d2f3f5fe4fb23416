"""The recurrent decoder: a first layer that attends, layers above it that run fused over all steps, the readout."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .bridge import Bridge
from .cells import build_rnn, check_sizes, run_rnn
from .dropout import Dropout
from .encoder import EncoderState
from .first_layer import FIRST_LAYERS, check_first_layer
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


class RNNDecoder(nn.Module):
    """Decoder of Bahdanau, Cho and Bengio (2015, A.2.2), with layers above the first one as in GNMT (Wu et al. 2016).

    The first layer gives a state and a context for every step: see `first_layer.py`. Each layer above reads
    [hidden; context] of its step. Without attention there is no context.

    Args:
        cell: `tanh`, `gru` or `lstm`.
        attention: `recurrent`, `parallel` or `none`, of `FIRST_LAYERS`.
        embed_dim: E.   hidden_size: H.   num_layers: L.   memory_size: M.   output_size: D.   attn_dim: A.
        bridge: `zero`, `last` or `mean`.
        dropout: on the output of every layer and on the features.

    Raises:
        ValueError: unknown name, size below 1, dropout outside [0, 1), or neither attention nor a bridge.
    """

    def __init__(
        self,
        *,
        cell: str,
        attention: str,
        embed_dim: int,
        hidden_size: int,
        num_layers: int,
        memory_size: int,
        output_size: int,
        attn_dim: int,
        bridge: str,
        dropout: float,
    ):
        super().__init__()
        check_sizes(embed_dim=embed_dim, hidden_size=hidden_size, num_layers=num_layers, memory_size=memory_size)
        check_first_layer(attention)
        if attention == "none" and bridge == "zero":
            raise ValueError("a decoder without attention and with the bridge 'zero' sees nothing of the source")
        self.has_cell = cell == "lstm"
        self.bridge = Bridge(
            kind=bridge,
            memory_size=memory_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.has_cell,
        )
        self.first_layer = FIRST_LAYERS[attention](
            cell=cell, input_size=embed_dim, hidden_size=hidden_size, memory_size=memory_size, attn_dim=attn_dim
        )
        context_size = self.first_layer.context_size
        self.upper_layers = nn.ModuleList(
            build_rnn(cell, hidden_size + context_size, hidden_size) for _ in range(num_layers - 1)
        )
        self.dropout = Dropout(dropout)
        self.readout = Readout(input_size=hidden_size + context_size + embed_dim, output_size=output_size)

    def start(self, encoder: EncoderState) -> DecoderState:
        """The state before the first word: bridge and projected keys."""
        hidden, cell = self.bridge(encoder)
        return DecoderState(hidden, cell, self.first_layer.project_keys(encoder.memory))

    def forward(self, x: Tensor, encoder: EncoderState, state: DecoderState) -> DecoderOutput:
        """Runs T steps from `state`: all of a target while training, one at a time in a beam search.

        Args:
            x: (B, T, E), embedded previous words.
            encoder: what the encoder knows of the batch.
            state: from `start` or from the output of earlier steps.
        """
        x = x.transpose(0, 1)
        starts = list(zip(state.hidden, state.cell if self.has_cell else [None] * len(state.hidden), strict=True))
        first = self.first_layer(x, encoder, state.keys, *starts[0])
        y, context, ends = first.output, first.context, [(first.hidden, first.cell)]
        for layer, start in zip(self.upper_layers, starts[1:], strict=True):
            y, end = run_rnn(layer, torch.cat([self.dropout(y), *context], dim=2), *start)
            ends.append(end)
        features = self.dropout(self.readout(self.dropout(y), *context, x)).transpose(0, 1)
        hiddens, cells = zip(*ends, strict=True)
        state = DecoderState(torch.stack(hiddens), torch.stack(cells) if self.has_cell else None, state.keys)
        return DecoderOutput(features, first.attn, state)
