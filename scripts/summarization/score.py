"""Scores summaries: ROUGE, and what they repeat and copy, with the references' own figures beside.

usage: score.py --summaries FILE --references FILE --sources FILE

Files are UTF-8, one text a line, in the same order. Words are those of the package `rouge-score`: runs of a-z and 0-9
after lower-casing.

    ROUGE-1/2/L         F1 of words, of pairs of words, of the longest common subsequence (Lin 2004), after the Porter
                        stemmer; the mean of all summaries
    repeated trigrams   the share of the trigrams that occurred before in the same summary
    repeated words      the same of words
    copied words        the share of the words that occur in the source; all others are novel
    words               mean length

The row `lead` is the first words of each source, as many as a reference has on average.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

ROUGE = ("rouge1", "rouge2", "rougeL")


class Figures(NamedTuple):
    """Of many summaries; all but `words` in percent, None where there is nothing to compare with or to count."""

    rouge1: float | None
    rouge2: float | None
    rougeL: float | None  # noqa: N815  # the package's name of it
    repeated_trigrams: float | None
    repeated_words: float | None
    copied_words: float | None
    novel_words: float | None
    words: float


def split_words(text: str) -> list[str]:
    """The words that all figures but ROUGE count, not stemmed."""
    return tokenize(text, None)


def count_repeated(words: Sequence[str], n: int) -> tuple[int, int]:
    """How many n-grams occurred before, and how many there are: ("a b a b a", 2) gives 2 of 4."""
    ngrams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return len(ngrams) - len(set(ngrams)), len(ngrams)


def count_copied(words: Sequence[str], source: Sequence[str]) -> tuple[int, int]:
    """How many words occur in the source, and how many there are."""
    known = set(source)
    return sum(word in known for word in words), len(words)


def share(counts: Sequence[tuple[int, int]]) -> float | None:
    """Sum of the first numbers by sum of the second, in percent; None of nothing."""
    part, total = (sum(column) for column in zip(*counts, strict=True))
    return 100 * part / total if total else None


def rouge_scores(summaries: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, F1 in percent, means of the summaries."""
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    scores = [scorer.score(reference, summary) for summary, reference in zip(summaries, references, strict=True)]
    return [100 * statistics.fmean(score[name].fmeasure for score in scores) for name in ROUGE]


def measure(summaries: Sequence[str], sources: Sequence[str], references: Sequence[str] | None) -> Figures:
    """All figures of summaries; ROUGE only where references are given."""
    words = [split_words(text) for text in summaries]
    rouge = rouge_scores(summaries, references) if references is not None else [None] * len(ROUGE)
    pairs = zip(words, map(split_words, sources), strict=True)
    copied = share([count_copied(summary, source) for summary, source in pairs])
    return Figures(
        *rouge,
        repeated_trigrams=share([count_repeated(summary, 3) for summary in words]),
        repeated_words=share([count_repeated(summary, 1) for summary in words]),
        copied_words=copied,
        novel_words=None if copied is None else 100 - copied,
        words=statistics.fmean(map(len, words)),
    )


def make_lead(sources: Sequence[str], count: int) -> list[str]:
    """The first words of each source."""
    return [" ".join(split_words(source)[:count]) for source in sources]


def format_table(rows: dict[str, Figures]) -> str:
    """A line for each row below one of headings, in aligned columns."""
    headings = ("", "ROUGE-1", "ROUGE-2", "ROUGE-L", "repeated trigrams %", "repeated words %", "copied words %")
    cells = [(*headings, "novel words %", "words")]
    for name, figures in rows.items():
        cells.append((name, *("" if value is None else f"{value:.2f}" for value in figures)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    )


def format_scores(figures: Figures, count: int) -> list[str]:
    """Lines in sacreBLEU's way, with what makes scores comparable, which scripts/seeds.sh reads."""
    rouge = f"F1|stemmer:porter|rouge-score:{version('rouge-score')}|summaries:{count}"
    signatures = {"rouge1": rouge, "rouge2": rouge, "rougeL": rouge}
    signatures |= dict.fromkeys(("repeated_trigrams", "copied_words"), f"percent|summaries:{count}")
    values = {name: getattr(figures, name) for name in signatures}
    return [f"{name}|{signatures[name]} = {value:.2f}" for name, value in values.items() if value is not None]


def read_texts(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("summaries", "references", "sources"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    summaries, references, sources = map(read_texts, (args.summaries, args.references, args.sources))
    if not len(summaries) == len(references) == len(sources):
        counts = f"{len(summaries)} summaries, {len(references)} references, {len(sources)} sources"
        sys.exit(f"error: {counts}: line N of one file must belong to line N of the others")
    of_references = measure(references, sources, None)
    rows = {
        "summaries": measure(summaries, sources, references),
        "references": of_references,
        "lead": measure(make_lead(sources, round(of_references.words)), sources, references),
    }
    print(format_table(rows), *format_scores(rows["summaries"], len(summaries)), sep="\n")


if __name__ == "__main__":
    main()
