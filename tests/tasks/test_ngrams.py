"""Which words would repeat an n-gram, by hand; the commands are in tests/cli."""

import math

import pytest
import torch

from s2s_plugin.tasks.ngrams import NGramBlocker

EOS, PAD = 2, 1


@pytest.mark.parametrize(
    "size, words, forbidden",
    [
        (2, [], []),
        (2, [5], []),
        (2, [5, 5], [5]),
        (2, [5, 6, 5, 7, 5], [6, 7]),
        (2, [5, 6, 7], []),
        (3, [5, 6, 7, 5, 6], [7]),
        (3, [5, 6, 5], []),
        (1, [5, 6], [5, 6]),
    ],
)
def test_what_is_forbidden(size, words, forbidden):
    tokens = torch.full((2, 12), PAD)
    tokens[:, 0] = EOS
    tokens[1, 1 : 1 + len(words)] = torch.tensor(words, dtype=torch.int64)
    tokens[0, 1 : 1 + len(words)] = torch.arange(4, 4 + len(words))  # another row, without a repeated word
    lprobs = NGramBlocker(size)(tokens, torch.zeros(2, 10), 1, 2, len(words))
    assert (lprobs[1] == -math.inf).nonzero().flatten().tolist() == forbidden
    if size > 1:
        assert (lprobs[0] == 0).all()
