"""From tables of words and phonemes to the parallel text that fairseq-preprocess reads.

    prepare.py text     checks the tables of all languages, then writes OUTPUT/LANG/text/{train,dev,test}.{word,phoneme}
    prepare.py letters  spells the words of the standard input, a line each, as a model wants to read them

A table is {LANG}_{train,dev,test}.tsv in the folder of data, or in a folder train, dev or test there, as in
github.com/sigmorphon/2020, task1/data. Its lines are a word, a tab, and phonemes between spaces, in UTF-8.
"""

import argparse
import hashlib
import sys
import unicodedata
from pathlib import Path

# Stands for a space inside a word: fairseq's own spaces are between letters.
SPACE = "▁"
Entry = tuple[str, str]


class BadInput(Exception):
    """Something about the user's files that only the user can mend."""


def spell(word: str, split_marks: bool = False) -> str:
    """The letters of a word between spaces, a space as `▁`.

    Letters are Unicode's code points: `é` is one. With `split_marks`, marks are letters of their own (form NFD of
    Unicode): `ế` is then `e`, a circumflex and an acute, and a model can read it that has seen each of them.
    """
    word = SPACE.join(word.split())
    return " ".join(unicodedata.normalize("NFD", word) if split_marks else word)


def find_table(data: Path, language: str, split: str) -> Path:
    """Raises BadInput where there is no such table."""
    name = f"{language}_{split}.tsv"
    for path in (data / name, data / split / name):
        if path.is_file():
            return path
    raise BadInput(f"{data}: no {name} there, and none in {data / split}")


def read_sums(path: Path) -> dict[str, str]:
    """Checksums by the name of the file, from a list as sha256sum writes it."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {name: checksum for checksum, name in rows}


def check_sum(path: Path, sums: dict[str, str]) -> None:
    """Raises BadInput unless the table is the one that is meant."""
    if path.name not in sums:
        known = ", ".join(sorted({name.split("_")[0] for name in sums}))
        raise BadInput(f"{path}: no table of the shared task; its languages are {known}. For other data say --any-data")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sums[path.name]:
        raise BadInput(f"{path}: not the table of the shared task, by its SHA-256. If that is meant, say --any-data")


def read_table(path: Path) -> list[Entry]:
    """The words and their phonemes, both between single spaces.

    Raises:
        BadInput: the table is empty or not UTF-8, or a line is not a word, a tab and phonemes; with the line's number.
    """
    entries = []
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        place = f"{path}, line {number}"
        try:
            columns = raw.decode("utf-8-sig" if number == 1 else "utf-8").split("\t")
        except UnicodeDecodeError:
            raise BadInput(f"{place}: not UTF-8") from None
        columns = [" ".join(column.split()) for column in columns]
        if len(columns) != 2 or not all(columns):
            raise BadInput(f"{place}: must be a word, a tab, and phonemes between spaces")
        if SPACE in columns[0]:
            raise BadInput(f"{place}: the word holds {SPACE}, which stands for a space here")
        entries.append((columns[0], columns[1]))
    if not entries:
        raise BadInput(f"{path}: the file is empty")
    return entries


def write_entries(entries: list[Entry], folder: Path, split: str, split_marks: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words, phonemes = [spell(word, split_marks) for word, _ in entries], [text for _, text in entries]
    for name, lines in (("word", words), ("phoneme", phonemes)):
        text = "".join(line + "\n" for line in lines)
        (folder / f"{split}.{name}").write_text(text, encoding="utf-8", newline="\n")


def describe(language: str, tables: dict[str, list[Entry]]) -> str:
    counts = ", ".join(f"{len(entries):,} {split}" for split, entries in tables.items())
    trained = {word for word, _ in tables["train"]}
    seen = [
        f"{count} of {split}"
        for split in tables
        if split != "train" and (count := sum(word in trained for word, _ in tables[split]))
    ]
    return f"{language}: {counts} words" + (f"; trained on as well: {', '.join(seen)}" if seen else "")


def make_text(args) -> None:
    sums = read_sums(args.sums) if args.sums else None
    tables = {}
    # All are checked before anything is written: a mistake in the last language must not show after hours.
    for language in args.languages:
        for split in args.splits:
            path = find_table(args.data, language, split)
            if sums is not None:
                check_sum(path, sums)
            tables.setdefault(language, {})[split] = read_table(path)
    for language, splits in tables.items():
        for split, entries in splits.items():
            write_entries(entries, args.output / language / "text", split, language in args.split_marks)
        print(describe(language, splits))


def spell_lines(args) -> None:
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write((spell(line.decode("utf-8"), args.split_marks) + "\n").encode("utf-8"))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    text = steps.add_parser("text")
    text.add_argument("--data", type=Path, required=True)
    text.add_argument("--output", type=Path, required=True)
    text.add_argument("--languages", nargs="+", required=True)
    text.add_argument("--splits", nargs="+", required=True, choices=("train", "dev", "test"))
    text.add_argument("--split-marks", nargs="*", default=[], help="languages whose marks are letters of their own")
    text.add_argument("--sums", type=Path, help="checksums that the tables must have")
    text.set_defaults(run=make_text)
    letters = steps.add_parser("letters")
    letters.add_argument("--split-marks", action="store_true", help="marks are letters of their own")
    letters.set_defaults(run=spell_lines)
    return parser.parse_args(argv)


def main() -> None:
    args = parse(sys.argv[1:])
    try:
        args.run(args)
    except BadInput as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or args.output}: {error.strerror}")


if __name__ == "__main__":
    main()
