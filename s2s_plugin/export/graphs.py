"""The model as two functions of tensors: what is computed once a sentence, and one step of its translation."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..modules.decoder import DecoderState
from ..modules.encoder import EncoderState
from ..ops.reference import CopySource, copy_lprobs

STATE = ("hidden", "cell", "coverage", "attn_prev")
"""What changes from step to step, in the order of the graphs; a model has the first, and others of them."""
SOURCE = ("memory", "keys", "values", "padding_mask", "copy_ids")
"""What stays the same: of the sentence."""


class Start(NamedTuple):
    """What `EncoderGraph` gives; None for what the model has not.

    Attributes:
        memory: (B, S, M), 0 at padding.   keys: (B, S, A).   values: (B, S, M) where they are not the memory.
        padding_mask: (B, S) bool, True at padding.
        copy_ids: (B, S) int64, the target's word that each position can be copied as.
        hidden, cell: (L, B, H).   coverage, attn_prev: (B, S).
    """

    memory: Tensor
    keys: Tensor | None
    values: Tensor | None
    padding_mask: Tensor
    copy_ids: Tensor | None
    hidden: Tensor
    cell: Tensor | None
    coverage: Tensor | None
    attn_prev: Tensor | None


class EncoderGraph(nn.Module):
    """The encoder, and what the decoder makes of its result before the first word.

    Args:
        model: an AttnRNNS2SModel in evaluation.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def start(self, src_tokens: Tensor) -> Start:
        """Args: src_tokens (B, S) int64, with the end of the sentence, padded on either side."""
        encoder, decoder = self.model.encoder, self.model.decoder.decoder
        padding_mask = src_tokens.eq(encoder.dictionary.pad())
        state = encoder.encoder(encoder.embed_tokens(src_tokens), padding_mask)
        first = decoder.start(state)
        ids = None if encoder.copy_map is None else encoder.copy_map[src_tokens]
        past = first.coverage, first.attn
        return Start(state.memory, first.keys, first.values, padding_mask, ids, first.hidden, first.cell, *past)

    def forward(self, src_tokens: Tensor) -> tuple[Tensor, ...]:
        """What `start` gives and the model has, in the order of `Start`."""
        return tuple(tensor for tensor in self.start(src_tokens) if tensor is not None)


class StepGraph(nn.Module):
    """One step of the decoder.

    Args:
        model: an AttnRNNS2SModel in evaluation.
        inputs: the names, among `Start`'s, of what is handed over after the words.
    """

    def __init__(self, model: nn.Module, inputs: list[str]):
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, prev_tokens: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Log-probabilities of the next word.

        Args:
            prev_tokens: (R,) int64, the word before; at first the end of a sentence.
            given: the named inputs, as `Start` describes them, with R for B.

        Returns:
            lprobs (R, V), the attention weights (R, S) if the model has any, and of `STATE` what the model has.
        """
        start = Start(**{**dict.fromkeys(Start._fields), **dict(zip(self.inputs, given, strict=True))})
        decoder = self.model.decoder
        x = decoder.embed_tokens(prev_tokens.unsqueeze(1))
        out = decoder.decoder(
            x,
            EncoderState(start.memory, start.padding_mask, None),
            DecoderState(start.hidden, start.cell, start.keys, start.values, start.coverage, start.attn_prev),
        )
        y = decoder.output_layer(out.features)
        if decoder.adaptive_softmax is not None:
            lprobs = decoder.adaptive_softmax.get_log_prob(y, None)
        elif out.gen_logit is not None:
            lprobs = copy_lprobs(y, out.gen_logit, out.attn, CopySource(start.copy_ids, None))
        else:
            lprobs = torch.log_softmax(y, dim=2)
        attn = None if out.attn is None else out.attn.squeeze(1)
        ends = out.state.hidden, out.state.cell, out.state.coverage, out.state.attn
        return tuple(tensor for tensor in (lprobs.squeeze(1), attn, *ends) if tensor is not None)
