"""The encoder of speech as fairseq's generator calls it."""

import torch
from fairseq.models import FairseqEncoder
from torch import Tensor

from ..modules.cells import init_uniform
from ..modules.linear import Linear
from ..modules.precision import compute_in
from ..modules.speech_encoder import SpeechEncoder
from .encoder import MAX_POSITIONS, EncoderOut, reorder


class AttnRNNSpeechEncoder(FairseqEncoder):
    """Runs `SpeechEncoder` on frames of features.

    Args:
        encoder: takes F.
        compute_dtype: `float32`, `bfloat16` or, to translate, `int8`, for the matrix products.
        ctc_size: V, symbols of an output at every step of the memory (Graves et al. 2006), or 0 for none.
    """

    def __init__(self, encoder: SpeechEncoder, *, compute_dtype: str, ctc_size: int = 0):
        super().__init__(None)
        self.encoder, self.compute_dtype = encoder, compute_dtype
        self.ctc_proj = init_uniform(Linear(encoder.output_size, ctc_size)) if ctc_size else None

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> EncoderOut:
        """Args: src_tokens (B, N, F), frames padded at the end; src_lengths (B,) int64, real frames."""
        # fairseq-generate --fp16 halves the model and not the frames.
        frames = src_tokens.to(next(self.parameters()).dtype)
        with compute_in(self.compute_dtype, src_tokens.device):
            state = self.encoder(frames, src_lengths)
        return EncoderOut(state, torch.arange(src_tokens.size(0), device=src_tokens.device), None)

    def ctc_lprobs(self, encoder_out: EncoderOut) -> Tensor:
        """Log-probabilities of the CTC output, (B, S, V) in float32 or better."""
        memory = encoder_out.state.memory
        with compute_in(self.compute_dtype, memory.device):
            logits = self.ctc_proj(memory)
        return torch.log_softmax(logits, dim=2, dtype=torch.promote_types(logits.dtype, torch.float32))

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """See `reorder`."""
        return reorder(encoder_out, new_order)

    def max_positions(self) -> int:
        return MAX_POSITIONS
