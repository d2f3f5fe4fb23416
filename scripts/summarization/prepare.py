"""From tables of documents and their summaries to the parallel text that the stages of the translation recipe read.

usage: prepare.py --data FOLDER --output FOLDER --splits train valid [test] --lead-words N [--with-name]

Reads {train,valid,test}.tsv, plain or gzipped (.gz): UTF-8, one document a line, three columns between tabs, which are
its name, its summary, the text. Writes SPLIT.doc and SPLIT.sum.
"""

import argparse
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LONGEST = 1 << 24
"""Bytes of a line, at most: a small gzip file can hold one that fills the memory."""


class BadInput(Exception):
    """Something about the user's files that only the user can mend."""


class Entry(NamedTuple):
    """One line of a table, white space cleaned."""

    name: str
    summary: str
    text: str


def find_table(data: Path, split: str) -> Path:
    """Raises BadInput where there is no such table."""
    for path in (data / f"{split}.tsv", data / f"{split}.tsv.gz"):
        if path.is_file():
            return path
    raise BadInput(f"{data}: no {split}.tsv there, neither plain nor as .gz")


def read_table(path: Path) -> Iterator[Entry]:
    """The entries of a table.

    Raises:
        BadInput: it is empty, broken or not UTF-8, or a line has not three columns with something in each; with the
            line's number.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
                if len(raw) == LONGEST:
                    raise BadInput(f"{path}, line {number}: longer than {LONGEST:,} bytes")
                try:
                    columns = raw.decode("utf-8-sig" if number == 1 else "utf-8").split("\t")
                except UnicodeDecodeError:
                    raise BadInput(f"{path}, line {number}: not UTF-8") from None
                columns = [" ".join(column.split()) for column in columns]
                if len(columns) != 3 or not all(columns):
                    raise BadInput(f"{path}, line {number}: must be a name, a summary and a text, with tabs between")
                yield Entry(*columns)
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInput(f"{path}, after line {number}: broken gzip file ({error})") from None
    if number == 0:
        raise BadInput(f"{path}: the file is empty")


def make_source(entry: Entry, lead_words: int, with_name: bool) -> str:
    """What a model reads: the first words of the text (0 for all), after the name where that is wanted."""
    words = entry.text.split(" ")
    text = " ".join(words[:lead_words] if lead_words else words)
    return f"{entry.name}: {text}" if with_name else text


def write_split(path: Path, output: Path, split: str, lead_words: int, with_name: bool) -> tuple[int, int]:
    """Writes both sides of a table; returns the numbers of documents and of those that were cut."""
    count = cut = 0
    with (
        (output / f"{split}.doc").open("w", encoding="utf-8", newline="\n") as documents,
        (output / f"{split}.sum").open("w", encoding="utf-8", newline="\n") as summaries,
    ):
        for entry in read_table(path):
            documents.write(make_source(entry, lead_words, with_name) + "\n")
            summaries.write(entry.summary + "\n")
            count += 1
            cut += bool(lead_words) and len(entry.text.split(" ")) > lead_words
    return count, cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", required=True, choices=("train", "valid", "test"))
    parser.add_argument("--lead-words", type=int, required=True, help="words of a text that are read; 0 for all")
    parser.add_argument("--with-name", action="store_true", help="the name and a colon stand before the text")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    said = []
    try:
        for split in args.splits:
            path = find_table(args.data, split)
            count, cut = write_split(path, args.output, split, args.lead_words, args.with_name)
            said.append(f"{count:,} {split}" + (f" ({cut:,} cut to {args.lead_words} words)" if cut else ""))
    except BadInput as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or args.output}: {error.strerror}")
    print(", ".join(said))


if __name__ == "__main__":
    main()
