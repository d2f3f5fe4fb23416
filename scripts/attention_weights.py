"""Attention weights out of what fairseq printed, and how weights of pieces become weights of words."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
from generate_output import Hypothesis, Sentence, parse_hard, parse_soft, read_sentences
from pieces import join, word_numbers

END = "</s>"


@dataclass
class Attention:
    """What one hypothesis attended to.

    Attributes:
        number: of the sentence in the corpus.
        rank: of the hypothesis among those of the sentence, from 1.
        score: of the hypothesis.
        source: S words or pieces, the end with them.
        target: T words or pieces, the end with them.
        weights: (T, S), rows sum to 1.
    """

    number: int
    rank: int
    score: float
    source: list[str]
    target: list[str]
    weights: numpy.ndarray


def read_attentions(lines: Iterable[str], numbers: list[int] | None = None, nbest: int = 1) -> list[Attention]:
    """Attention of the `nbest` best hypotheses of the sentences `numbers`, in their order; None: of all.

    Args:
        lines: of fairseq-generate or fairseq-interactive with --print-alignment soft.

    Raises:
        ValueError: no alignment or a hard one, a sentence that is not there, weights that do not fit the words.
    """
    sentences = {number: sentence for number, sentence in read_sentences(lines).items() if sentence.hypotheses}
    if not any(hypothesis.alignment for sentence in sentences.values() for hypothesis in sentence.hypotheses):
        raise ValueError("it holds no line with weights (A-0): generate with --print-alignment soft")
    missing = [number for number in numbers or [] if number not in sentences]
    if missing:
        raise ValueError(f"it has no sentence {missing[0]}; it has {ranges(sentences)}")
    found = []
    for number in sorted(sentences) if numbers is None else numbers:
        for rank, hypothesis in enumerate(sentences[number].hypotheses[:nbest], start=1):
            try:
                found.append(attention_of(number, rank, sentences[number], hypothesis))
            except ValueError as error:
                raise ValueError(f"sentence {number}: {error}") from error
    return found


def attention_of(number: int, rank: int, sentence: Sentence, hypothesis: Hypothesis) -> Attention:
    """Raises ValueError for weights that are none or that do not fit the words."""
    if not hypothesis.alignment:
        raise ValueError("it has no line with weights (A-): generate with --print-alignment soft")
    if is_hard(hypothesis.alignment):
        raise ValueError(f"its alignment is hard ({hypothesis.alignment[:20]}): generate with --print-alignment soft")
    weights = parse_soft(hypothesis.alignment)
    if not numpy.isfinite(weights).all():
        raise ValueError("its weights are no finite numbers")
    words = [[*(text.split(" ") if text else []), END] for text in (hypothesis.tokens, sentence.source)]
    shape = tuple(len(side) for side in words)
    if weights.shape != shape:
        raise ValueError(
            f"weights for {weights.shape[0]} target and {weights.shape[1]} source tokens, but {shape[0]} and "
            f"{shape[1]} words, ends included: generate without --post-process (--remove-bpe), and give it here"
        )
    return Attention(number, rank, hypothesis.score, words[1], words[0], weights)


def printable(text: str) -> str:
    """The text with a mark in the place of what files of text and pictures cannot hold: controls, halves of characters
    outside the Basic Multilingual Plane, and what is no character."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Cn") else c for c in text)


def is_hard(alignment: str) -> bool:
    try:
        return bool(parse_hard(alignment))
    except ValueError:
        return False


def ranges(numbers: Iterable[int]) -> str:
    """What numbers there are, in short: 0 to 4, 7, 9 to 12."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in runs]
    return ", ".join(texts[:5] + ["..."] * (len(texts) > 5))


def merge_pieces(attention: Attention, scheme: str) -> Attention:
    """The same of words: a source word has the sum of its pieces' weights, a target word their mean, so that rows still
    sum to 1.

    Args:
        scheme: how pieces are marked, one of `pieces.SCHEMES`; `none` changes nothing.

    Raises:
        ValueError: another scheme.
    """
    if scheme == "none":
        return attention
    sides, numbers = [], []
    for tokens in (attention.source[:-1], attention.target[:-1]):
        numbers.append(word_numbers(tokens, scheme, by_script=True))
        sides.append([*join(tokens, numbers[-1], scheme), END])
    (sources, targets), (source, target) = numbers, sides
    by_source = numpy.zeros((len(targets), len(source)))
    numpy.add.at(by_source, (slice(None), sources), attention.weights)
    weights = numpy.zeros((len(target), len(source)))
    numpy.add.at(weights, targets, by_source)
    weights /= numpy.bincount(targets)[:, None]
    return Attention(attention.number, attention.rank, attention.score, source, target, weights)
