"""Sequence and token error rate, by exact match and by edit distance: `fairseq-generate --scoring error_rate`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairseq.dataclass import FairseqDataclass
from fairseq.scoring import BaseScorer, register_scorer


def edit_distance(reference: Sequence, hypothesis: Sequence) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence the other (Levenshtein 1966)."""
    # distances[j]: between what was read of the reference and the first j items of the hypothesis.
    distances = list(range(len(hypothesis) + 1))
    for read, expected in enumerate(reference, start=1):
        diagonal, distances[0] = distances[0], read
        for j, found in enumerate(hypothesis, start=1):
            substituted = diagonal + (expected != found)
            diagonal = distances[j]
            distances[j] = min(substituted, distances[j] + 1, distances[j - 1] + 1)
    return distances[-1]


@dataclass
class ErrorRateConfig(FairseqDataclass):
    """It has no options: what counts as a token is what stands between spaces, after --remove-bpe."""


@register_scorer("error_rate", dataclass=ErrorRateConfig)
class ErrorRateScorer(BaseScorer):
    """The word and phoneme error rate of Gorman et al. (2020, section 5, https://aclanthology.org/2020.sigmorphon-1.2).

        sequence error rate = 100 * (sequences that are not right to the last token) / sequences
        token error rate    = 100 * (edit distances, summed) / (tokens of the references, summed)

    The token error rate exceeds 100 where much too much is generated. Both are nan before anything was added.
    """

    def __init__(self, cfg: ErrorRateConfig):
        super().__init__(cfg)
        self.sequences = self.wrong_sequences = self.tokens = self.edits = 0

    def add_string(self, ref: str, pred: str) -> None:
        """Counts one sequence. fairseq-generate calls it with the best hypothesis, in the order of its batches.

        An unknown symbol is `<<unk>>` in a reference and `<unk>` in a hypothesis, and so never right.
        """
        reference, hypothesis = ref.split(), pred.split()
        self.sequences += 1
        self.wrong_sequences += reference != hypothesis
        self.tokens += len(reference)
        self.edits += edit_distance(reference, hypothesis)

    def score(self) -> float:
        """The sequence error rate in percent."""
        return percent(self.wrong_sequences, self.sequences)

    def token_error_rate(self) -> float:
        """The token error rate in percent."""
        return percent(self.edits, self.tokens)

    def result_string(self) -> str:
        return (
            f"sequence error rate {self.score():.2f} % ({self.wrong_sequences}/{self.sequences}), "
            f"token error rate {self.token_error_rate():.2f} % ({self.edits}/{self.tokens})"
        )


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
