"""fairseq's beam search over the best words of each hypothesis, in place of all words, with the same result.

Of the B * beam * V log-probabilities of a step, a search takes the 2 * beam best of each sentence. fairseq's makes
about eight passes over all of them; yet they are among the 2 * beam best words of each row and the special symbols,
whose log-probabilities a search may change. So the decoder finds these, some rows at a time, and fairseq's search sees
no others. Of words with one log-probability, as bfloat16 makes them, either may be taken: `torch.topk` promises none.
"""

import copy

from fairseq.models import FairseqEncoderDecoderModel
from fairseq.search import BeamSearch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from ..models.decoder import AttnRNNDecoder
from ..ops.devices import on_cpu
from .own_limits import own_limits

SPECIAL = 4
"""Symbols that every dictionary of fairseq begins with: <s>, <pad>, </s>, <unk>."""


def changed(generator: SequenceGenerator, **parts) -> SequenceGenerator:
    """One with other attributes, which shares the rest; the given one stays as it is, for other threads."""
    own = copy.copy(generator)
    own._modules = dict(generator._modules)
    for name, part in parts.items():
        setattr(own, name, part)
    return own


class BestWords(EnsembleModel):
    """A model whose words are the columns of `words`: the special symbols and the best `count` others of each row.

    Args:
        former: fairseq's ensemble of one model.
        count: words of a row beside the special symbols.
    """

    def __init__(self, former: EnsembleModel, count: int):
        super().__init__(former.models)
        self.count, self.words = count, None

    def forward_decoder(self, tokens, encoder_outs, incremental_states, temperature: float = 1.0):
        """One step, as fairseq's search asks for it.

        Returns:
            lprobs (B * beam, SPECIAL + count) and the attention weights (B * beam, S), or None.
        """
        decoder, state = self.single_model.decoder, incremental_states[0]
        features, extra = decoder(tokens, encoder_outs[0], state, features_only=True)
        lprobs, self.words = decoder.best_words(
            features[:, -1], encoder_outs[0].shortlist, state, SPECIAL, self.count, temperature
        )
        return lprobs, None if extra["attn"] is None else extra["attn"][0][:, -1]


class BestWordsSearch(BeamSearch):
    """Beam search over the columns of `BestWords`, which gives words."""

    def __init__(self, tgt_dict, model: BestWords):
        super().__init__(tgt_dict)
        # In a tuple, so that the model is not a part of it.
        self.model = (model,)

    def step(self, step: int, lprobs: Tensor, scores: Tensor, *others):
        scores, columns, beams = super().step(step, lprobs, scores, *others)
        words = self.model[0].words.view(lprobs.size(0), -1)
        return scores, words.gather(1, beams * lprobs.size(2) + columns), beams


class BestWordsGenerator(SequenceGenerator):
    """fairseq's generator, which searches over the best words where it can: see `has_best_words`; and in which every
    line has a longest translation of its own: see `own_limits.py`."""

    def _generate(self, sample, prefix_tokens=None, constraints=None, bos_token=None):
        generator = self
        if prefix_tokens is None and constraints is None and self.has_best_words(sample):
            generator = self.over_best_words()
        limits = own_limits(self, sample, 0 if prefix_tokens is None else prefix_tokens.size(1))
        if limits is not None:
            generator = changed(generator)
            limits.hold(generator)
        return SequenceGenerator._generate(generator, sample, prefix_tokens, constraints, bos_token)

    def has_best_words(self, sample: dict) -> bool:
        """Whether nothing needs all words: one model of `attn_rnn_s2s` without copying or adaptive softmax, on a CPU
        (a GPU does those passes in no time), plain beam search, and no option that looks at or changes other words."""
        decoder = getattr(self.model.single_model, "decoder", None)
        return (
            type(self.model) is EnsembleModel
            and self.model.models_size == 1
            and type(decoder) is AttnRNNDecoder
            and decoder.has_best_words
            and type(self.model.single_model).get_normalized_probs is FairseqEncoderDecoderModel.get_normalized_probs
            and self.vocab_size > SPECIAL
            and on_cpu(sample["net_input"]["src_tokens"])
            and type(self.search) is BeamSearch
            and self.lm_model is None
            and self.repeat_ngram_blocker is None
            and self.token_indices_to_suppress is None
            and max(self.eos, self.pad, self.unk) < SPECIAL
        )

    def over_best_words(self) -> "BestWordsGenerator":
        """One like this that searches over the best words."""
        count = min(2 * self.beam_size, self.vocab_size - SPECIAL)
        model = BestWords(self.model, count)
        search = BestWordsSearch(self.tgt_dict, model)
        return changed(self, model=model, search=search, vocab_size=SPECIAL + count)
