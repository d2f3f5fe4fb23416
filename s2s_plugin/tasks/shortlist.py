"""A vocabulary for each sentence: what its source words became in the training data, and the most frequent words.

As in Jean et al. (2015, sec. 3.3) and L'Hostis, Grangier and Auli (2016): the output projection, the softmax and the
search go over these words alone. A sentence's words do not depend on what shares its batch.
"""

from collections import defaultdict
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from ..models.encoder import AttnRNNEncoder, Shortlist

SIZE, FIRST = 50, 1000
"""Candidates of each source word, and most frequent words, where nothing else is said."""


class Lexicon:
    """Candidates of each source word.

    Args:
        table: (V of the source, K) int64, the best first; what is missing is the end of the sentence.
        first: words that are candidates everywhere, the first of the target's dictionary, its special symbols included.
        words: V of the target.
    """

    def __init__(self, table: Tensor, first: int, words: int):
        self.table, self.first, self.words = table, first, words

    @classmethod
    def read(
        cls, path: str | Path, source: Dictionary, target: Dictionary, size: int = SIZE, first: int = FIRST
    ) -> "Lexicon":
        """From lines `source target weight`, the `size` heaviest of each source word.

        Args:
            first: the most frequent words of the target that are candidates everywhere.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a line of another form, no line at all, another vocabulary, or `size` or `first` below 1.
        """
        for name, value in (("--shortlist-size", size), ("--shortlist-first", first)):
            if value < 1:
                raise ValueError(f"{name} {value}: must be at least 1")
        if not Path(path).is_file():
            raise FileNotFoundError(f"--shortlist {path}: there is no such file")
        candidates = defaultdict(list)
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    one, other, weight = line.decode("utf-8").split(" ")
                    candidates[one].append((float(weight), other))
                except ValueError:  # of the encoding, too
                    text = line[:200].decode("utf-8", errors="replace").rstrip()
                    raise ValueError(
                        f"--shortlist {path}, line {number}: {text!r} is no source, target and weight"
                    ) from None
        table = torch.full((len(source), size), target.eos())
        known = 0
        for one, found in candidates.items():
            heaviest = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:size]
            ids = [target.indices[other] for _, other in heaviest if other in target.indices]
            if one in source.indices and ids:
                table[source.indices[one], : len(ids)] = torch.tensor(ids)
                known += 1
        if known < 0.5 * len(candidates) or known == 0:
            raise ValueError(
                f"--shortlist {path} is of another vocabulary: of its {len(candidates)} source words {known} are known"
            )
        return cls(table, target.nspecial + first, len(target))

    def of_batch(self, src_tokens: Tensor) -> Shortlist:
        """Args: src_tokens (B, S) int64, padded on either side."""
        if self.table.device != src_tokens.device:
            self.table = self.table.to(src_tokens.device)
        allowed = src_tokens.new_zeros(src_tokens.size(0), self.words, dtype=torch.bool)
        allowed.scatter_(1, self.table[src_tokens].flatten(1), True)
        allowed[:, : self.first] = True
        ids = allowed.any(dim=0).nonzero().flatten()
        return Shortlist(ids, allowed[:, ids])


def check_short_search(generator, models, prefix_tokens, constraints) -> None:
    """Raises ValueError for what a search over a shortlist cannot do."""
    if not isinstance(generator, SequenceGenerator):
        raise ValueError("--shortlist is for a search, and --score-reference is none")
    if getattr(generator, "lm_model", None) is not None:
        raise ValueError("--shortlist: a language model (--lm-path) needs the whole vocabulary")
    if prefix_tokens is not None or constraints is not None:
        raise ValueError("--shortlist: prefixes and constraints may hold any word; leave one or the other out")
    if not all(isinstance(model.encoder, AttnRNNEncoder) for model in models):
        raise ValueError("--shortlist is for models of attn_rnn_s2s")
