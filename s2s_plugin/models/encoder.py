"""The encoder as fairseq's generator calls it."""

from typing import NamedTuple

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from ..modules.dropout import Dropout
from ..modules.encoder import EncoderState, RNNEncoder
from ..modules.precision import compute_in
from ..ops.copying import copy_source
from ..ops.devices import on_cpu
from ..ops.reference import CopySource

MAX_POSITIONS = int(1e5)
"""The model itself has no limit; the task's --max-source-positions and --max-target-positions rule."""


class Shortlist(NamedTuple):
    """The part of the target's vocabulary that a search goes over; its tokens are places in `ids`.

    Attributes:
        ids: (V',) int64, rising; the special symbols are the first, at their own places.
        allowed: (B, V') bool, False at words that are candidates of another sentence alone.
    """

    ids: Tensor
    allowed: Tensor


class EncoderOut(NamedTuple):
    """What the encoder hands to the decoder.

    Attributes:
        state: memory, padding mask and last states, one row a hypothesis.
        rows: (B,) int64, the sentence of each row, so that reordering can see that only beams moved.
        copy_source: the words that can be copied; None where the model copies nothing.
        shortlist: or None for the whole vocabulary.
    """

    state: EncoderState
    rows: Tensor
    copy_source: CopySource | None
    shortlist: Shortlist | None = None


def same_rows(rows: Tensor, new_order: Tensor) -> bool:
    """Whether `new_order` leaves every row with its sentence, so that what belongs to sentences need not be copied.

    Only asked on the CPU: on a GPU the answer would have to be waited for.
    """
    if not on_cpu(rows) or rows.size(0) != new_order.size(0):
        return False
    return torch.equal(rows.index_select(0, new_order), rows)


def reorder(encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
    """Rows by `new_order` (B',) int64; copies nothing where only the beams of a sentence moved."""
    if same_rows(encoder_out.rows, new_order):
        return encoder_out
    state, rows, source, shortlist = encoder_out
    if source is not None:
        source = CopySource(*(x.index_select(0, new_order) for x in source))
    state = EncoderState(*(x.index_select(0, new_order) for x in state))
    if shortlist is not None:
        shortlist = Shortlist(shortlist.ids, shortlist.allowed.index_select(0, new_order))
    return EncoderOut(state, rows.index_select(0, new_order), source, shortlist)


class AttnRNNEncoder(FairseqEncoder):
    """Embeds the source and runs `RNNEncoder`.

    Args:
        dictionary: of the source.
        embed_tokens: (V, E).
        encoder: takes E.
        dropout_in: on the embeddings.   word_dropout: of whole embeddings.   is_variational: the first drops the same
            units at every position of a sentence.
        compute_dtype: `float32`, `bfloat16` or, to translate, `int8`, for the matrix products.
        copy_map: (V,) int64, the word of the target's dictionary for each of the source's; None to copy nothing.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embed_tokens: nn.Embedding,
        encoder: RNNEncoder,
        *,
        dropout_in: float,
        word_dropout: float,
        is_variational: bool,
        compute_dtype: str,
        copy_map: Tensor | None = None,
    ):
        super().__init__(dictionary)
        self.embed_tokens = embed_tokens
        self.encoder = encoder
        self.dropout_in = Dropout(dropout_in, shared_dim=1 if is_variational else None)
        self.word_dropout = Dropout(word_dropout, shared_dim=2)
        self.compute_dtype = compute_dtype
        # Follows from the dictionaries, so no checkpoint holds it.
        self.register_buffer("copy_map", copy_map, persistent=False)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor = None, shortlist: Shortlist = None) -> EncoderOut:
        """Args: src_tokens (B, S) int64, padded on either side; src_lengths is not needed; shortlist of a search.

        Raises ValueError for a shortlist where the model copies, whose words are none of it."""
        if shortlist is not None and self.copy_map is not None:
            raise ValueError("--shortlist: a model that copies needs the whole vocabulary")
        padding_mask = src_tokens.eq(self.dictionary.pad())
        with compute_in(self.compute_dtype, src_tokens.device):
            x = self.dropout_in(self.word_dropout(self.embed_tokens(src_tokens)))
            state = self.encoder(x, padding_mask)
        rows = torch.arange(src_tokens.size(0), device=src_tokens.device)
        source = None if self.copy_map is None else copy_source(self.copy_map[src_tokens])
        return EncoderOut(state, rows, source, shortlist)

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """See `reorder`."""
        return reorder(encoder_out, new_order)

    def max_positions(self) -> int:
        return MAX_POSITIONS
