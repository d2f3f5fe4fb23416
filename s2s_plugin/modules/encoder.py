"""The recurrent encoder: any depth, one direction or two, no packing."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.additive_attention import read_dtype
from ..ops.permute import permute_time
from .cells import CellKind, check_sizes
from .dropout import Dropout
from .frames import build_frames
from .rnn import build_rnn, run_rnn, zero_state


class EncoderState(NamedTuple):
    """What the encoder knows of a batch.

    Attributes:
        memory: (B, S, M), one vector a source position, 0 at padding, in the frame of the input.
        padding_mask: (B, S) bool, True at padding.
        last: (B, M), the forward direction's state after the last word and the backward one's after the first.
    """

    memory: Tensor
    padding_mask: Tensor
    last: Tensor


class RNNEncoder(nn.Module):
    """A stack of recurrent layers over padded sentences (Schuster and Paliwal 1997 for the two directions).

    A sentence's memory depends neither on what shares its batch nor on the side of the padding: layers run on
    sequences flush left, the backward direction on sequences reversed within their length.

    Args:
        kind: what cells the layers have.
        input_size: E.   hidden_size: H of one direction.   num_layers: L.
        bidirectional: both directions in every layer; then M = 2 H, else M = H.
        dropout: on the output of every layer.   is_variational: the same units at every position of a sentence.
        residual: the input of every layer above the first is added to its output (He et al. 2016).

    Raises:
        ValueError: what `check_kind` refuses, size below 1, dropout outside [0, 1), residual with one layer.
    """

    def __init__(
        self,
        *,
        kind: CellKind,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        is_variational: bool = False,
        residual: bool = False,
    ):
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if residual and num_layers == 1:
            raise ValueError("residual connections are between layers, but the encoder has one")
        self.kind, self.hidden_size, self.residual = kind, hidden_size, residual
        self.output_size = hidden_size * (2 if bidirectional else 1)
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        self.forward_layers = nn.ModuleList(build_rnn(kind, size, hidden_size) for size in sizes)
        self.backward_layers = nn.ModuleList(build_rnn(kind, size, hidden_size) for size in sizes if bidirectional)
        self.dropout = Dropout(dropout, 1 if is_variational else None)

    def forward(self, x: Tensor, padding_mask: Tensor) -> EncoderState:
        """Encodes a batch.

        Args:
            x: (B, S, E), embedded source.
            padding_mask: (B, S) bool, True at padding, which may stand on either side.
        """
        frames = build_frames(padding_mask)
        last_step = (frames.lengths - 1).clamp_(min=0)
        rows = torch.arange(x.size(0), device=x.device)
        padding = padding_mask.unsqueeze(2)
        last = []
        for index, layer in enumerate(self.forward_layers):
            directions = [(layer, frames.to_left, frames.from_left)]
            if self.backward_layers:
                directions.append((self.backward_layers[index], frames.reverse, frames.reverse))
            outputs, last = [], []
            for rnn, into, back in directions:
                steps = permute_time(x, into, back).transpose(0, 1)
                y, _ = run_rnn(rnn, steps, *zero_state(self.kind, steps, self.hidden_size))
                last.append(y[last_step, rows])
                outputs.append(permute_time(y.transpose(0, 1), back, into))
            y = self.dropout(torch.cat(outputs, dim=2)).masked_fill(padding, 0.0)
            x = y + x if self.residual and index > 0 else y
        # Once here, not at every step of a search.
        x = x.to(read_dtype(x))
        return EncoderState(x, padding_mask, torch.cat(last, dim=1))
