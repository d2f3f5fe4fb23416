"""--no-repeat-ngram-size as it is meant; fairseq's own compares with the end of its buffer and so blocks nothing."""

import math

from torch import Tensor, nn


class NGramBlocker(nn.Module):
    """Forbids what would make an n-gram that the hypothesis has already (Paulus, Xiong and Socher 2018, sec. 2.5).

    Args:
        size: n, 1 or more.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
        """What fairseq's search calls at each step.

        Args:
            tokens: (B * beam, longest), of which 1 to `step` are words.
            lprobs: (B * beam, V), in which the forbidden words are set to -inf.
        """
        before = self.size - 1
        for row, words in enumerate(tokens[:, 1 : step + 1].tolist()):
            last = words[len(words) - before :]
            forbidden = [words[i + before] for i in range(len(words) - before) if words[i : i + before] == last]
            if forbidden:
                lprobs[row, forbidden] = -math.inf
        return lprobs
