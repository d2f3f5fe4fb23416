"""Checks that text files are the ones that a recipe was made for.

usage: check_files.py CHECKSUMS FILE [FILE ...]

CHECKSUMS has a line `sha256  name` for each, as sha256sum writes it. A FILE may be gzipped, with the ending .gz: what
counts is the text inside, since packing the same text twice can give different files.
"""

import gzip
import hashlib
import sys
import zlib
from pathlib import Path


def text_sha256(path: Path) -> str:
    """SHA-256 of a file, unpacked if its name ends in .gz. Raises OSError, EOFError or zlib.error for a broken one."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def faults(checksums: Path, paths: list[Path]) -> list[str]:
    """What is wrong, a message for each file that is not as it should be."""
    lines = (line.split() for line in checksums.read_text().splitlines())
    expected = {name: value for value, name in lines}
    said = []
    for path in paths:
        name = path.name.removesuffix(".gz")
        if name not in expected:
            said.append(f"{path}: {checksums} knows no file of this name")
            continue
        try:
            found = text_sha256(path)
        except (OSError, EOFError, zlib.error) as error:
            said.append(f"{path} cannot be read: {error}")
            continue
        if found != expected[name]:
            said.append(f"{path} is not the expected text\n  sha256 of it  {found}\n  expected      {expected[name]}")
    return said


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    messages = faults(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    if messages:
        sys.exit("error: " + "\nerror: ".join(messages))
