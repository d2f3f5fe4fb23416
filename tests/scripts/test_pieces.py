"""Which pieces make up a word: by hand, as fairseq joins them, and as the task of the package says it."""

import random

import pytest
from fairseq.data.data_utils import post_process

from s2s_plugin.tasks import alignments

from .loading import load_script

pieces = load_script("pieces.py")


@pytest.mark.parametrize(
    "scheme, text, numbers",
    [
        ("sentencepiece", "▁a b ▁ c ▁d", [0, 0, 1, 1, 2, 3]),
        ("sentencepiece", "a ▁b <unk> ▁", [0, 1, 1, 2, 2]),
        ("sentencepiece", "▁ ▁", [0, 0, 0]),
        ("sentencepiece", "", [0]),
        ("subword_nmt", "a@@ b c d@@ e", [0, 0, 1, 2, 2, 3]),
        ("@@", "a b@@", [0, 1, 2]),
        ("subword_nmt", "", [0]),
        ("none", "▁a b@@", [0, 1, 2]),
    ],
)
def test_by_hand(scheme, text, numbers):
    assert pieces.word_numbers(text.split(), scheme) == numbers


def test_scripts_without_spaces():
    assert pieces.word_numbers("▁ 我 用 Python 3 。".split(), "sentencepiece", by_script=True) == [0, 0, 1, 2, 2, 3, 4]
    assert pieces.word_numbers("▁ 我 用 Python 3 。".split(), "sentencepiece") == [0, 0, 0, 0, 0, 0, 1]


def test_another_scheme():
    with pytest.raises(ValueError, match="--post-process bpe: choose from none, sentencepiece, subword_nmt, @@"):
        pieces.word_numbers(["a"], "bpe")


@pytest.mark.parametrize("scheme", ["sentencepiece", "subword_nmt"])
def test_words_are_those_that_fairseq_prints(scheme):
    rng = random.Random(8)
    symbols = ["▁a", "b", "▁", "▁c", "▁▁d"] if scheme == "sentencepiece" else ["a", "b@@", "@@", "c@@"]
    for _ in range(500):
        sentence = rng.choices(symbols, k=rng.randint(0, 7))
        numbers = pieces.word_numbers(sentence, scheme)
        assert numbers == alignments.word_numbers(sentence, scheme)
        if scheme == "subword_nmt" and sentence and sentence[-1].endswith("@@"):
            continue  # a word that goes on, where the sentence ends
        printed = post_process(" ".join(sentence), scheme).split()
        assert pieces.join(sentence, numbers, scheme) == printed
