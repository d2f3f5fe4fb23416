"""Reads what fairseq-generate and fairseq-interactive print: sentences, their hypotheses, scores and alignments."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy


@dataclass
class Hypothesis:
    """One translation.

    Attributes:
        score: log-probability in bits, divided by a power of the length if the search did so.
        tokens: as the model gave them, space between; with --post-process they are words.
        text: `tokens` after fairseq's --bpe and --tokenizer, where given.
        token_scores: log-probabilities in bits, of each token and of the end.
        alignment: as printed with --print-alignment, see `parse_soft` and `parse_hard`; None without.
    """

    score: float
    tokens: str
    text: str = ""
    token_scores: list[float] = field(default_factory=list)
    alignment: str | None = None


@dataclass
class Sentence:
    """One source sentence, its reference (None where there is none), and hypotheses, best first."""

    source: str = ""
    target: str | None = None
    hypotheses: list[Hypothesis] = field(default_factory=list)


def read_sentences(lines: Iterable[str]) -> dict[int, Sentence]:
    """All sentences by their number in the corpus; lines of the log are passed over.

    Args:
        lines: of the output, as a file opened with `newline="\\n"` gives them: a text may hold other line ends.

    Raises:
        ValueError: a line that belongs to a hypothesis before any was read; the message has it.
    """
    sentences: dict[int, Sentence] = {}
    for line in lines:
        name, tab, rest = line.rstrip("\n").partition("\t")
        kind, dash, number = name.partition("-")
        if not (tab and dash and kind in ("S", "T", "H", "D", "P", "A") and number.isdecimal()):
            continue
        sentence = sentences.setdefault(int(number), Sentence())
        if kind == "S":
            sentence.source = rest
        elif kind == "T":
            sentence.target = rest
        elif kind == "H":
            score, _, tokens = rest.partition("\t")
            sentence.hypotheses.append(Hypothesis(float(score), tokens))
        elif not sentence.hypotheses:
            raise ValueError(f"line {name} comes before any hypothesis of its sentence: {line.rstrip()!r}")
        elif kind == "D":
            sentence.hypotheses[-1].text = rest.partition("\t")[2]
        elif kind == "P":
            sentence.hypotheses[-1].token_scores = [float(score) for score in rest.split()]
        else:
            sentence.hypotheses[-1].alignment = rest
    return sentences


def parse_soft(alignment: str) -> numpy.ndarray:
    """The weights (T, S) of --print-alignment soft: a row for each target token and the end, a column for each source
    token and its end.

    Raises:
        ValueError: not such a line, or rows of different lengths.
    """
    rows = [row.split(",") for row in alignment.split()]
    if not rows or any(len(row) != len(rows[0]) for row in rows) or "-" in alignment:
        raise ValueError(f"not a line of --print-alignment soft: {alignment[:60]!r}")
    return numpy.array(rows, dtype=float)


def parse_hard(alignment: str) -> list[tuple[int, int]]:
    """Pairs of source and target positions, from 0, of --print-alignment hard or a line in Pharaoh format (0-0 1-2).

    Raises:
        ValueError: anything else.
    """
    pairs = [pair.split("-") for pair in alignment.split()]
    if any(len(pair) != 2 or not pair[0].isdecimal() or not pair[1].isdecimal() for pair in pairs):
        raise ValueError(f"not a line of pairs 'source-target': {alignment[:60]!r}")
    return [(int(source), int(target)) for source, target in pairs]
