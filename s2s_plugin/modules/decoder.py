"""The recurrent decoder: a first layer that attends, layers above it that run fused over all steps, the readout."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.history import Past
from ..ops.reference import Source
from .bridge import Bridge
from .dropout import Dropout
from .encoder import EncoderState
from .pointer import Pointer
from .readout import Readout
from .rnn import run_rnn

TIME = 0
"""Inside the decoder time comes first."""


class DecoderState(NamedTuple):
    """What one step needs of those before it.

    Attributes:
        hidden: (L, B, H).
        cell: (L, B, H) for an LSTM, else None.
        keys: (B, S, A), the memory projected once a sentence; None without attention.
        values: (B, S, M), what is read; None where that is the memory itself, or without attention.
        coverage: (B, S), sums of the attention weights so far; None where the attention does not know it.
        attn: (B, S), the attention weights of the step before; likewise.
    """

    hidden: Tensor
    cell: Tensor | None
    keys: Tensor | None
    values: Tensor | None
    coverage: Tensor | None
    attn: Tensor | None


class DecoderOutput(NamedTuple):
    """Result of T steps.

    Attributes:
        features: (B, T, D), ready for the output projection.
        attn: (B, T, S) in the frame of the memory, 0 at padding; None without attention.
        state: the state after the last step.
        gen_logit: (B, T), the logit of generating and not copying; None without a pointer.
    """

    features: Tensor
    attn: Tensor | None
    state: DecoderState
    gen_logit: Tensor | None


class RNNDecoder(nn.Module):
    """Decoder of Bahdanau, Cho and Bengio (2015, A.2.2), with layers above the first one as in GNMT (Wu et al. 2016).

    The first layer gives a state and a context for every step: see `first_layer.py`. Each layer above reads the state
    below and, if `feeds_context`, the context of its step. Without attention there is no context.

    Args:
        bridge: makes the first state of all L layers.
        first_layer: of `FIRST_LAYERS`.
        upper_layers: L - 1 layers of `build_rnn`.
        readout: reads the state of the top layer, the context and the word.
        dropout: on the output of every layer.   readout_dropout: on the features.   is_variational: both drop the same
            units at every step of a sentence.
        residual: what a layer above the first reads of the state below is added to what it gives (He et al. 2016).
        feeds_context: the layers above the first read the context.
        pointer: says whether to copy; reads what the readout reads.

    Raises:
        ValueError: dropout outside [0, 1), neither attention nor a bridge, a pointer without attention, or residual
            with nothing to add to.
    """

    def __init__(
        self,
        *,
        bridge: Bridge,
        first_layer: nn.Module,
        upper_layers: list[nn.Module],
        readout: Readout,
        dropout: float,
        readout_dropout: float,
        is_variational: bool = False,
        residual: bool = False,
        feeds_context: bool = True,
        pointer: Pointer | None = None,
    ):
        super().__init__()
        if first_layer.context_size == 0 and bridge.kind == "zero":
            raise ValueError("a decoder without attention and with the bridge 'zero' sees nothing of the source")
        if first_layer.context_size == 0 and pointer is not None:
            raise ValueError("a decoder without attention has nothing to copy by")
        if residual and not upper_layers:
            raise ValueError("residual connections are between layers, but the decoder has one")
        self.has_cell, self.residual, self.feeds_context = bridge.has_cell, residual, feeds_context
        self.bridge, self.first_layer, self.readout, self.pointer = bridge, first_layer, readout, pointer
        self.upper_layers = nn.ModuleList(upper_layers)
        shared = TIME if is_variational else None
        self.dropout, self.readout_dropout = Dropout(dropout, shared), Dropout(readout_dropout, shared)

    def start(self, encoder: EncoderState) -> DecoderState:
        """The state before the first word: bridge and projected memory."""
        hidden, cell = self.bridge(encoder)
        attention = self.first_layer.attention
        if attention is None:
            return DecoderState(hidden, cell, None, None, None, None)
        source = attention(encoder.memory, encoder.padding_mask)
        values = None if source.memory is encoder.memory else source.memory
        return DecoderState(hidden, cell, source.keys, values, *attention.start(encoder.padding_mask))

    def forward(self, x: Tensor, encoder: EncoderState, state: DecoderState) -> DecoderOutput:
        """Runs T steps from `state`: all of a target while training, one at a time in a beam search.

        Args:
            x: (B, T, E), embedded previous words.
            encoder: what the encoder knows of the batch.
            state: from `start` or from the output of earlier steps.
        """
        x = x.transpose(0, 1)
        starts = list(zip(state.hidden, state.cell if self.has_cell else [None] * len(state.hidden), strict=True))
        values = encoder.memory if state.values is None else state.values
        source = None if state.keys is None else Source(values, state.keys, encoder.padding_mask)
        first = self.first_layer(x, source, *starts[0], Past(state.coverage, state.attn))
        y, context, ends = first.output, first.context, [(first.hidden, first.cell)]
        for layer, start in zip(self.upper_layers, starts[1:], strict=True):
            below = self.dropout(y)
            y, end = run_rnn(layer, torch.cat([below, *(context if self.feeds_context else [])], dim=2), *start)
            if self.residual:
                y = y + below
            ends.append(end)
        parts = self.dropout(y), *context, x
        features = self.readout_dropout(self.readout(*parts)).transpose(0, 1)
        gen_logit = None if self.pointer is None else self.pointer(*parts).transpose(0, 1)
        hiddens, cells = zip(*ends, strict=True)
        cell = torch.stack(cells) if self.has_cell else None
        end = DecoderState(torch.stack(hiddens), cell, state.keys, state.values, *first.past)
        return DecoderOutput(features, first.attn, end, gen_logit)
