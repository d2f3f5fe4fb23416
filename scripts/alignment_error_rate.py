"""Compares the attention of a model with word alignments made by hand.

usage: fairseq-generate ... --score-reference --print-alignment hard --results-path FOLDER
       alignment_error_rate.py FOLDER/generate-test.txt --gold FILE [--one-based] [--reverse]

The links A of a model, the sure links S of the gold and its possible ones P, which hold the sure ones, are those of all
sentences (Och and Ney 2003, https://aclanthology.org/J03-1002, section 6):

    precision = |A & P| / |A|    recall = |A & S| / |S|    AER = 1 - (|A & S| + |A & P|) / (|A| + |S|)

The links of a model are those of the first hypothesis in the output of fairseq-generate, or lines in Pharaoh format,
`source-target`, from 0. --print-alignment hard links each target token to the source token that it attends to most;
soft weights are taken so too, or with --threshold every pair that has at least that weight; the ends have no links.
Line N of the gold is the sentence N of the output, from 0: `3-4` is a sure link, `3?4` or `3p4` a possible one. A line
without links is a sentence that nobody aligned.

The positions of the output are the model's tokens. Where these are pieces and the gold is of words, generate without
--remove-bpe and say which pieces they are: two words are linked where any of their pieces are. Of a piece that is
printed as <unk> it is not known whether a word begins or ends there: it begins none (sentencepiece), or ends one
(subword_nmt).
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

from generate_output import Sentence, parse_hard, parse_soft, read_sentences
from pieces import word_numbers

LINK = re.compile(r"(\d+)([-?p])(\d+)", re.ASCII)
Links = set[tuple[int, int]]


class Gold(NamedTuple):
    sure: Links
    possible: Links


def parse_gold(line: str, one_based: bool = False, reverse: bool = False) -> Gold:
    """Args: a line such as `0-0 1?2`; with `reverse` the target's position is the first.

    Raises:
        ValueError: a link that is none, or a position 0 where they are from 1.
    """
    gold = Gold(set(), set())
    for word in line.split():
        link = LINK.fullmatch(word)
        if link is None:
            raise ValueError(f"{word!r} is no link: a sure one is 3-4, a possible one 3?4 or 3p4")
        positions = int(link[1]) - one_based, int(link[3]) - one_based
        if min(positions) < 0:
            raise ValueError(f"link {word}: with --one-based positions are from 1")
        pair = positions[::-1] if reverse else positions
        gold.possible.add(pair)
        if link[2] == "-":
            gold.sure.add(pair)
    return gold


def parse_links(alignment: str, threshold: float | None = None) -> Links:
    """Links of --print-alignment, hard or soft, or of a line in Pharaoh format.

    Raises:
        ValueError: it is neither, or a threshold is given for links that have no weights.
    """
    # Weights are printed with decimals.
    if "." not in alignment:
        if threshold is not None and alignment.strip():
            raise ValueError("--threshold is for --print-alignment soft: these links have no weights")
        return set(parse_hard(alignment))
    weights = parse_soft(alignment)[:-1, :-1]
    if not weights.size:
        return set()
    if threshold is None:
        return {(int(source), target) for target, source in enumerate(weights.argmax(1))}
    return {(source, target) for target, source in zip(*map(list, (weights >= threshold).nonzero()), strict=True)}


def link_words(links: Links, sentence: Sentence, pieces: str) -> Links:
    """Links of words from links of pieces.

    Raises:
        ValueError: a link past the tokens that are printed, which then are not those of the model.
    """
    source, target = (word_numbers(text.split(), pieces) for text in (sentence.source, sentence.hypotheses[0].tokens))
    ends = source.pop(), target.pop()
    for i, j in links:
        if i >= len(source) or j >= len(target):
            raise ValueError(f"link {i}-{j} of {len(source)} and {len(target)} tokens: generate without --remove-bpe")
    return {(source[i], target[j]) for i, j in links if source[i] < ends[0] and target[j] < ends[1]}


def read_links(path: Path, threshold: float | None, pieces: str | None) -> dict[int, Links]:
    """The links of each sentence of fairseq-generate's output, or of each line in Pharaoh format."""
    with path.open(encoding="utf-8", newline="\n") as file:
        lines = file.read().removesuffix("\n").split("\n")
    sentences = read_sentences(lines)
    if not sentences and pieces is not None:
        raise ValueError(f"--pieces {pieces}: {path} has no tokens, which only the output of fairseq-generate has")
    if not sentences:
        return {number: parse(path, number, line, threshold) for number, line in enumerate(lines)}
    found = {}
    for number, sentence in sentences.items():
        if not sentence.hypotheses or sentence.hypotheses[0].alignment is None:
            raise ValueError(
                f"{path}: sentence {number} has no alignment: give fairseq-generate --print-alignment hard"
            )
        found[number] = parse(path, number, sentence.hypotheses[0].alignment, threshold)
        if pieces is not None:
            found[number] = link_words(found[number], sentence, pieces)
    return found


def parse(path: Path, number: int, alignment: str, threshold: float | None) -> Links:
    try:
        return parse_links(alignment, threshold)
    except ValueError as error:
        raise ValueError(f"{path}: sentence {number}: {error}") from None


def read_gold(path: Path, one_based: bool, reverse: bool) -> list[Gold]:
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(parse_gold(line, one_based, reverse))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return found


def error_rate(links: dict[int, Links], gold: list[Gold]) -> str:
    """The three rates in percent, and what they were counted from.

    Raises:
        ValueError: the sentences are not those of the gold, or none has gold links.
    """
    if set(links) != set(range(len(gold))):
        lacking = sorted(set(range(len(gold))) ^ set(links))
        raise ValueError(
            f"{len(links)} sentences with links, {len(gold)} lines of gold; number {lacking[0]}, from 0, is only in "
            + ("the gold" if lacking[0] < len(gold) else "the links")
        )
    aligned = [number for number, of_sentence in enumerate(gold) if of_sentence.possible]
    if not aligned:
        raise ValueError("no line of the gold has links")
    found = sum(len(links[number]) for number in aligned)
    sure = sum(len(gold[number].sure) for number in aligned)
    possible = sum(len(gold[number].possible) for number in aligned)
    right_sure = sum(len(links[number] & gold[number].sure) for number in aligned)
    right = sum(len(links[number] & gold[number].possible) for number in aligned)
    rate = 100 - percent(right_sure + right, found + sure)
    said = f"AER {rate:.1f}  precision {percent(right, found):.1f}  recall {percent(right_sure, sure):.1f}"
    said += f"  links {found} ({sure} sure and {possible - sure} possible in the gold)  sentences {len(aligned)}"
    skipped = len(gold) - len(aligned)
    return said + (f"; {skipped} more without links in the gold are not counted" if skipped else "")


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("links", type=Path, help="output of fairseq-generate, or a file in Pharaoh format")
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--one-based", action="store_true", help="the gold counts from 1")
    parser.add_argument("--reverse", action="store_true", help="the gold's links are target-source")
    parser.add_argument("--threshold", type=float, help="of soft weights (the largest one of each target token)")
    parser.add_argument("--pieces", choices=["sentencepiece", "subword_nmt"], help="the tokens are pieces of words")
    args = parser.parse_args()
    if args.threshold is not None and not 0 < args.threshold <= 1:
        raise ValueError(f"--threshold {args.threshold}: must be more than 0 and at most 1")
    gold = read_gold(args.gold, args.one_based, args.reverse)
    print(error_rate(read_links(args.links, args.threshold, args.pieces), gold))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
