"""Attention weights out of what fairseq printed, and how weights of pieces become weights of words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
from generate_output import Hypothesis, Sentence, parse_hard, parse_soft, read_sentences

END = "</s>"
SCHEMES = ("none", "sentencepiece", "subword_nmt", "@@")
# Scripts that are written without spaces, so that no space says where a word ends: Thai, Lao, Burmese, Khmer, Chinese
# and Japanese with their punctuation and full-width forms. Korean has spaces.
WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f"
    "\U00020000-\U0003ffff]"
)


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
        scheme: how pieces are marked, one of `SCHEMES`; `none` changes nothing.

    Raises:
        ValueError: another scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"--post-process {scheme}: choose from {', '.join(SCHEMES)}")
    if scheme == "none":
        return attention
    divide = words_of_sentencepiece if scheme == "sentencepiece" else words_of_subword_nmt
    source, source_starts = divide(attention.source[:-1])
    target, target_starts = divide(attention.target[:-1])
    source_starts.append(len(attention.source) - 1)
    target_starts.append(len(attention.target) - 1)
    sums = numpy.add.reduceat(numpy.add.reduceat(attention.weights, source_starts, axis=1), target_starts, axis=0)
    sizes = numpy.diff([*target_starts, len(attention.target)])
    weights = sums / sizes[:, None]
    return Attention(attention.number, attention.rank, attention.score, [*source, END], [*target, END], weights)


def words_of_sentencepiece(pieces: list[str]) -> tuple[list[str], list[int]]:
    """Words, and where the first piece of each stands; ▁ marks a space before.

    Pieces of scripts without spaces stay by themselves: a sentence would be one word else.
    """
    words, starts = [], []
    for place, piece in enumerate(pieces):
        text = piece.lstrip("▁")
        without_spaces = words and (WITHOUT_SPACES.match(text) or WITHOUT_SPACES.match(words[-1][-1:]))
        # A lone ▁ waits for the piece that it belongs to.
        if not words or (words[-1] and (piece.startswith("▁") or without_spaces)):
            words.append(text)
            starts.append(place)
        else:
            words[-1] += text
    return words, starts


def words_of_subword_nmt(pieces: list[str]) -> tuple[list[str], list[int]]:
    """Words, and where the first piece of each stands; @@ at the end of a piece says that the word goes on."""
    words, starts, goes_on = [], [], False
    for place, piece in enumerate(pieces):
        text = piece.removesuffix("@@")
        if goes_on:
            words[-1] += text
        else:
            words.append(text)
            starts.append(place)
        goes_on = piece.endswith("@@")
    return words, starts
