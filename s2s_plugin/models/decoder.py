"""The decoder as fairseq's beam search calls it, one token at a time."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqIncrementalDecoder
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from ..modules.cells import init_uniform
from ..modules.decoder import DecoderState, RNNDecoder
from ..modules.dropout import Dropout
from ..modules.encoder import EncoderState
from ..modules.linear import Linear, WeightCache, ready_linear
from ..modules.precision import compute_in
from ..ops.copying import copy_lprobs
from ..ops.devices import cast, on_cpu
from ..ops.products import pack
from ..ops.reference import CopySource
from ..ops.topk import first_and_best
from .encoder import MAX_POSITIONS, EncoderOut, Shortlist, same_rows
from .short_output import Part, ShortOutput

STATE = "decoder_state"
_AT_ONCE, _FEWEST_ROWS = 2**19, 32
"""Logits that `best_words` looks at together, 2 MB, and rows."""


class Copying(NamedTuple):
    """What the mixture of generating and copying takes beside the logits and the attention.

    Attributes:
        gen_logit: (B, T).
        source: of the B sentences.
    """

    gen_logit: Tensor
    source: CopySource


class AttnRNNDecoder(FairseqIncrementalDecoder):
    """Embeds the target, runs `RNNDecoder` and projects its features to the vocabulary.

    Args:
        dictionary: of the target.
        embed_tokens: (V, E).
        decoder: takes E, gives D.
        output_size: D.
        dropout_in: on the embeddings.   word_dropout: of whole embeddings.   is_variational: the first drops the same
            units at every position of a sentence.   dropout_out: inside an adaptive softmax.
        share_input_output_embed: project with the embedding, without bias.
        compute_dtype: `float32`, `bfloat16` or, to translate, `int8`, for the matrix products.
        adaptive_softmax_cutoff: cutoffs of an adaptive softmax (Grave et al. 2017), or None for the full one.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embed_tokens: nn.Embedding,
        decoder: RNNDecoder,
        *,
        output_size: int,
        dropout_in: float,
        word_dropout: float,
        is_variational: bool,
        dropout_out: float,
        share_input_output_embed: bool,
        adaptive_softmax_cutoff: list[int] | None,
        compute_dtype: str,
    ):
        super().__init__(dictionary)
        self.embed_tokens = embed_tokens
        self.decoder = decoder
        self.dropout_in = Dropout(dropout_in, shared_dim=1 if is_variational else None)
        self.word_dropout = Dropout(word_dropout, shared_dim=2)
        self.compute_dtype = compute_dtype
        self.cache = WeightCache()
        self.adaptive_softmax = self.output_projection = None
        if adaptive_softmax_cutoff is not None:
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary), output_size, adaptive_softmax_cutoff, dropout=dropout_out
            )
        elif not share_input_output_embed:
            self.output_projection = init_uniform(Linear(output_size, len(dictionary)))

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state=None,
        features_only: bool = False,
    ):
        """Teacher forcing over all of `prev_output_tokens`, or with `incremental_state` one step from its last column.

        Args:
            prev_output_tokens: (B, T) int64.
            encoder_out: of the same B rows.
            incremental_state: fairseq's dictionary of what the steps before left, or None.
            features_only: leave out the output projection.

        Returns:
            logits (B, T, V), where the model copies the mixture's log-probabilities, or features (B, T, D); and a dict
            with `attn`: [(B, T, S)], or None without attention, and `copying`: a Copying where the model copies.
        """
        past, shortlist = None, encoder_out.shortlist
        if incremental_state is not None:
            past = self.get_incremental_state(incremental_state, STATE)
            if past is not None:
                prev_output_tokens = prev_output_tokens[:, -1:]
        with compute_in(self.compute_dtype, prev_output_tokens.device):
            if past is not None:
                state = DecoderState(**_state_of(past))
            elif incremental_state is None:
                state = self.decoder.start(encoder_out.state)
            else:
                state = self._start_of_beams(encoder_out)
            words = prev_output_tokens if shortlist is None else shortlist.ids[prev_output_tokens]
            x = self.dropout_in(self.word_dropout(self.embed_tokens(words)))
            out = self.decoder(x, encoder_out.state, state)
            # Of a shortlist: made once a search, for all its words or, by `best_words`, for those of some sentences.
            projection, short_output = (None, None) if past is None else (past["projection"], past["short_output"])
            y = out.features
            if not features_only:
                if shortlist is not None and projection is None:
                    projection = self.short_projection(shortlist.ids)
                y = self.logits(y, projection, None if shortlist is None else ~shortlist.allowed.unsqueeze(1))
        # In one piece, as fairseq's criterion of guided alignment wants it.
        extra = {"attn": None if out.attn is None else [out.attn.contiguous()]}
        if out.gen_logit is not None:
            extra["copying"] = Copying(out.gen_logit, encoder_out.copy_source)
            if not features_only:
                y = copy_lprobs(y, out.gen_logit, out.attn, encoder_out.copy_source)
        if incremental_state is not None:
            saved = dict(out.state._asdict(), rows=encoder_out.rows, projection=projection, short_output=short_output)
            if saved["attn"] is not None:  # fairseq takes the mean of an ensemble in the tensor that it is given
                saved["attn"] = saved["attn"].clone()
            self.set_incremental_state(incremental_state, STATE, saved)
        return y, extra

    def _start_of_beams(self, encoder_out: EncoderOut) -> DecoderState:
        """The state before the first word, made once for the hypotheses of a sentence, which begin with one memory."""
        rows = encoder_out.rows
        if not on_cpu(rows):  # as in `same_rows`
            return self.decoder.start(encoder_out.state)
        sentences, place, counts = rows.unique_consecutive(return_inverse=True, return_counts=True)
        if len(sentences) == len(rows):
            return self.decoder.start(encoder_out.state)
        first = counts.cumsum(0) - counts
        state = self.decoder.start(EncoderState(*(x.index_select(0, first) for x in encoder_out.state)))
        dims = {"hidden": 1, "cell": 1}
        moved = {n: None if x is None else x.index_select(dims.get(n, 0), place) for n, x in state._asdict().items()}
        return DecoderState(**moved)

    def logits(self, features: Tensor, projection: tuple | None, forbidden: Tensor | None) -> Tensor:
        """Over all words, or over some.

        Args:
            features: (..., D).
            projection: of `short_projection`, or None.   forbidden: (..., V'), or None.

        Returns:
            (..., V), or (..., V') with -inf where forbidden.
        """
        if projection is None:
            return self.output_layer(features)
        y = ready_linear(features, *projection)
        return y.masked_fill_(forbidden, -math.inf)

    @property
    def has_best_words(self) -> bool:
        """Whether `best_words` can be asked for: the log-probabilities follow from the features alone, by a softmax."""
        return self.adaptive_softmax is None and self.decoder.pointer is None

    def best_words(
        self,
        features: Tensor,
        shortlist: Shortlist | None,
        incremental_state,
        first: int,
        count: int,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """The most probable words of each row, found in pieces that stay in the processor's cache.

        Args:
            features: (B, D), of `forward` with `features_only`.
            shortlist: of the encoder's output.   incremental_state: of the step that gave the features.
            first: words at the beginning of the dictionary that are returned in any case.
            count: of the others.
            temperature: logits are divided by it.

        Returns:
            lprobs (B, first + count) float32, log-probabilities (natural) among all words, and words (B, first + count)
            int64, places in the dictionary or the shortlist: the first, then the best others in any order.
        """
        found = []
        with compute_in(self.compute_dtype, features.device):
            for part in self._parts(len(features), shortlist, incremental_state, first + count):
                y = self.logits(features[part.rows], part.projection, part.forbidden)
                if temperature != 1:
                    y = y.div_(temperature)
                lprobs, words = first_and_best(torch.log_softmax(y, dim=1, dtype=torch.float32), first, count)
                found.append((lprobs, words if part.columns is None else part.columns[words]))
        lprobs, words = zip(*found, strict=True)
        return torch.cat(lprobs), torch.cat(words)

    def _parts(self, size: int, shortlist: Shortlist | None, incremental_state, fewest: int) -> Iterator[Part]:
        """Rows that are looked at together. Args: as in `best_words`; size, B; fewest, words of a part."""
        parts = [Part(slice(0, size))] if shortlist is None else self._short_parts(shortlist, incremental_state, fewest)
        for part in parts:
            width = len(self.dictionary if part.columns is None else part.columns)
            yield from part.split(max(_FEWEST_ROWS, _AT_ONCE // width))

    def _short_parts(self, shortlist: Shortlist, incremental_state, fewest: int) -> list[Part]:
        state = self.get_incremental_state(incremental_state, STATE)
        if state["short_output"] is None:

            def project(columns: Tensor) -> tuple:
                return self.short_projection(shortlist.ids[columns])

            state["short_output"] = ShortOutput(project, shortlist, state["rows"], fewest)
        return state["short_output"].of_rows(state["rows"])

    def output_layer(self, features: Tensor) -> Tensor:
        """Args: features (..., D). Returns logits (..., V), or the features where the softmax is adaptive."""
        if self.adaptive_softmax is not None:
            return features.float()
        if self.output_projection is not None:
            return self.output_projection(features)
        return self.cache.linear(features, self.embed_tokens.weight)

    def short_projection(self, ids: Tensor) -> tuple:
        """What `ready_linear` takes to give the logits of some words (V',): their rows of the output projection.

        Raises:
            ValueError: the softmax is adaptive.
        """
        if self.adaptive_softmax is not None:
            raise ValueError("--shortlist: a model with an adaptive softmax needs the whole vocabulary")
        bias = self.output_bias
        weight = pack(cast(self.output_weight.index_select(0, ids)))
        return weight, None if bias is None else cast(bias.index_select(0, ids))

    @property
    def output_weight(self) -> Tensor:
        """(V, D)."""
        return self.embed_tokens.weight if self.output_projection is None else self.output_projection.weight

    @property
    def output_bias(self) -> Tensor | None:
        """(V,), or None where the projection is the embedding."""
        return None if self.output_projection is None else self.output_projection.bias

    def reorder_incremental_state(self, incremental_state, new_order: Tensor) -> None:
        """Rows by `new_order` (B',) int64; the keys move only where a row changes its sentence."""
        past = self.get_incremental_state(incremental_state, STATE)
        if past is None:
            return
        moved = {name: past[name].index_select(1, new_order) for name in ("hidden", "cell") if past[name] is not None}
        past = dict(past, **moved)
        for name in ("coverage", "attn"):
            if past[name] is not None:
                past[name] = past[name].index_select(0, new_order)
        if not same_rows(past["rows"], new_order):
            for name in ("keys", "values", "rows"):
                if past[name] is not None:
                    past[name] = past[name].index_select(0, new_order)
        self.set_incremental_state(incremental_state, STATE, past)

    def upgrade_state_dict_named(self, state_dict, name: str):
        """Checkpoints of version 0.1 know one cell a step, whose matrix had another name."""
        former, present = f"{name}.decoder.first_layer.hidden_proj.", f"{name}.decoder.first_layer.cells.0.hidden_proj."
        for key in [key for key in state_dict if key.startswith(former)]:
            state_dict[present + key.removeprefix(former)] = state_dict.pop(key)
        return state_dict

    def max_positions(self) -> int:
        return MAX_POSITIONS


def _state_of(past) -> dict:
    return {name: past[name] for name in DecoderState._fields}
