"""Tables for the summarization recipe from Debian's descriptions of its packages.

usage: debian_tables.py --descriptions FILE --output FOLDER

FILE is a `Translation-en` of Debian's package index, as mirrors have it in dists/bookworm/main/i18n/, plain or packed
(.xz, .gz, .bz2). Writes {train,valid,test}.tsv.gz, columns package, synopsis, description. What is left out:
descriptions of fewer than 20 or more than 200 words, and all but four packages whose descriptions begin with the same
words; such packages are in the same table. The same FILE always gives the same tables.
"""

import argparse
import bz2
import gzip
import hashlib
import lzma
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

OPENERS = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
SHORTEST, LONGEST = 20, 200
OF_A_FAMILY = 4
HELD_OUT = 1000
Row = tuple[str, str, str]


def read_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Package, synopsis and description, each in one line, of the stanzas of a Translation-en."""
    package, description, inside = "", [], False
    for line in [*lines, ""]:
        line = line.rstrip("\n")
        if not line:
            if package and len(description) > 1:
                yield package, clean(description[:1]), clean(description[1:])
            package, description, inside = "", [], False
        elif line.startswith(" "):
            if inside:
                description.append("" if line == " ." else line)
        else:
            name, _, value = line.partition(":")
            inside = name == "Description-en"
            if name == "Package":
                package = value.strip()
            elif inside:
                description = [value]


def clean(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def family(row: Row) -> str:
    """The first words of a description: `foo-dev` and `foo-doc` mostly begin alike."""
    return " ".join(row[2].lower().split()[:8])


def choose(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each family that are kept, in the order of the names of their packages."""
    families: dict[str, list[Row]] = {}
    for row in sorted(set(rows)):
        members = families.setdefault(family(row), [])
        if row[1] and SHORTEST <= len(row[2].split()) <= LONGEST and len(members) < OF_A_FAMILY:
            members.append(row)
    return families


def split(families: dict[str, list[Row]], held_out: int) -> dict[str, list[Row]]:
    """The tables: whole families for validation, then for testing, until these have so many rows; the rest trains."""
    tables: dict[str, list[Row]] = {"valid": [], "test": [], "train": []}
    for name in sorted(families, key=lambda name: hashlib.sha256(name.encode()).digest()):
        table = next(rows for split, rows in tables.items() if split == "train" or len(rows) < held_out)
        table.extend(families[name])
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--descriptions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    try:
        with OPENERS.get(args.descriptions.suffix, open)(args.descriptions, "rt", encoding="utf-8") as lines:
            families = choose(read_rows(lines))
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        sys.exit(f"error: {args.descriptions} cannot be read: {error}")
    tables = split(families, HELD_OUT)
    if not tables["train"]:
        sys.exit(
            f"error: {args.descriptions}: only {sum(map(len, tables.values()))} descriptions of a fit length there"
        )
    args.output.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with gzip.open(args.output / f"{name}.tsv.gz", "wt", encoding="utf-8", newline="\n") as file:
            file.writelines("\t".join(row) + "\n" for row in rows)
    print(", ".join(f"{len(tables[name]):,} {name}" for name in ("train", "valid", "test")))


if __name__ == "__main__":
    main()
