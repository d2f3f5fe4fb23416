"""The encoder of speech: a front end, and recurrent layers of which some read pairs of steps."""

from torch import Tensor, nn

from .cells import CellKind, check_sizes
from .dropout import Dropout
from .encoder import EncoderState, RNNEncoder
from .speech_frontend import ConvolutionalFrontEnd, merge_pairs, padding_mask_of


class SpeechEncoder(nn.Module):
    """Convolutions, then recurrent layers in a pyramid: the listener of Chan et al. (2016, sec. 3.1).

    The states of a recording do not depend on what shares its batch.

    Args:
        front_end: from frames to E.
        kind: what cells the layers have.   hidden_size: H of one direction.   num_layers: L.
        halvings: layers, from the second on, that read pairs of the steps of the layer below.
        bidirectional: both directions in every layer; then M = 2 H, else M = H.
        dropout_in: on what the first layer reads.   dropout: on the output of every layer.   is_variational: both drop
            the same units at every step of a recording.

    Raises:
        ValueError: what `RNNEncoder` refuses, or more halvings than layers above the first.
    """

    def __init__(
        self, *, front_end: ConvolutionalFrontEnd, kind: CellKind, hidden_size: int, num_layers: int, halvings: int,
        bidirectional: bool, dropout_in: float, dropout: float, is_variational: bool = False,
    ):  # fmt: skip
        super().__init__()
        check_sizes(num_layers=num_layers)
        if not 0 <= halvings < num_layers:
            raise ValueError(f"{halvings} of {num_layers} layers cannot read pairs of steps of the layer below")
        self.front_end, self.halvings = front_end, halvings
        self.output_size = hidden_size * (2 if bidirectional else 1)
        widths = [self.output_size * (2 if 0 < k <= halvings else 1) for k in range(num_layers)]
        self.layers = nn.ModuleList(
            RNNEncoder(
                kind=kind, input_size=width if k else front_end.output_size, hidden_size=hidden_size, num_layers=1,
                bidirectional=bidirectional, dropout=dropout, is_variational=is_variational,
            )
            for k, width in enumerate(widths)
        )  # fmt: skip
        self.dropout_in = Dropout(dropout_in, 1 if is_variational else None)

    def forward(self, frames: Tensor, lengths: Tensor) -> EncoderState:
        """Encodes a batch.

        Args:
            frames: (B, N, F) of 10 ms, padded at the end with whatever.   lengths: (B,) int64, real frames.

        Returns:
            EncoderState with memory (B, S, M): S is N, halved and rounded up for every convolution and every halving.
        """
        x, lengths = self.front_end(frames, lengths)
        x, padding_mask = self.dropout_in(x), padding_mask_of(lengths, x.size(1))
        for k, layer in enumerate(self.layers):
            if 0 < k <= self.halvings:
                x, padding_mask = merge_pairs(x, padding_mask)
            state = layer(x, padding_mask)
            x = state.memory
        return state
