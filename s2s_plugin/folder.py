"""What lies in a model's folder, by which names, and the SHA-256 sums that tell whether it is still what was written.

Standard library only, so that recipes need not wait for torch and fairseq: `python s2s_plugin/folder.py FOLDER` writes
FOLDER/SHA256SUMS, last of all, when the folder is done, or after a file of it was changed by hand.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

MODEL, LANGUAGES, SEARCH, SHORTLIST = "model.pt", "languages", "search", "shortlist"
"""The checkpoint, `src_lang=` and `tgt_lang=`, options of fairseq's search, words to search over."""

SUMS = "SHA256SUMS"
"""As `sha256sum` writes it: `sha256sum -c SHA256SUMS` checks a folder, too."""

FILES = (
    *(MODEL, LANGUAGES, SEARCH, SHORTLIST, "dict.*.txt", "*.model"),
    *("encoder.onnx", "step.onnx", "model.json", "words.*", "translate.py"),
)
"""All that belongs to a model, or to one that was exported; a folder may hold more, which has no sums."""

LONGEST = 1 << 16
"""Bytes of a file of settings, at most."""


def read_settings(path: Path) -> str:
    """The text of a small file. Raises ValueError where it is none."""
    with path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"{path}: more than {LONGEST:,} bytes are no settings")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None


def read_languages(path: Path) -> tuple[str, str]:
    """Source and target. Raises ValueError where one is not said, or is no name for a part of a file's name."""
    said = dict(line.partition("=")[::2] for line in read_settings(path).split())
    for name in ("src_lang", "tgt_lang"):
        if not said.get(name):
            raise ValueError(f"{path}: no line {name}=LANG")
        if not re.fullmatch(r"\w[\w.@+-]{0,99}", said[name]):
            raise ValueError(f"{path}: {name}={said[name]!r} is no name of letters, digits and . _ @ + -")
    return said["src_lang"], said["tgt_lang"]


def is_of_model(name: str) -> bool:
    # `sha256sum` has an own way to write a name with the end of a line or a backslash.
    is_plain = name.isprintable() and "\\" not in name
    return is_plain and any(fnmatchcase(name, pattern) for pattern in FILES)


def leads_out(path: Path) -> bool:
    """Whether a file is a link to one outside its folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())


def check_folder(folder: Path) -> None:
    """Compares the files of a model with their sums, where there are sums, which older folders lack.

    What is in a linked file can come out as text of the model. So a link out of the folder counts only where the sums
    say what it has to hold, or for model.pt, which is read as weights or not at all.

    Raises:
        FileNotFoundError: the sums list a file that is not there.
        ValueError: a file differs from its sum, the sums are none, or a file without a sum is a link out of the folder.
    """
    sums = read_sums(folder / SUMS) if (folder / SUMS).is_file() else {}
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: there is no {name}, which {SUMS} lists")
        if sha256(folder / name) != expected:
            raise ValueError(
                f"{folder / name}: broken or changed, by {SUMS}; if the change is meant, renew the sums: "
                f"python {__file__} {folder}"
            )
    for path in sorted(folder.iterdir()):
        if is_of_model(path.name) and path.name not in (MODEL, *sums) and leads_out(path):
            raise ValueError(f"{path}: a link to {os.readlink(path)}, out of the folder; put the file itself there")


def read_sums(path: Path) -> dict[str, str]:
    """The sum of each name. Raises ValueError for a line that is none, and a name that is not of a file beside it."""
    sums = {}
    for number, line in enumerate(read_settings(path).removesuffix("\n").split("\n"), start=1):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+?)\r?", line)
        if not found:
            raise ValueError(f"{path}, line {number}: {line[:100]!r} is no sum with a name")
        if found[2] in (".", "..") or re.search(r"[/\\\0]", found[2]):
            raise ValueError(f"{path}, line {number}: {found[2]!r} is no name of a file in the folder")
        sums[found[2]] = found[1]
    return sums


def write_sums(folder: Path) -> None:
    """Writes the sums of the model's files that are there, in one step."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and is_of_model(path.name))
    new = folder / f"{SUMS}.new"
    with new.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{sha256(folder / name)}  {name}\n" for name in names)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / SUMS)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_sum(path: Path) -> None:
    """Removes the sums of a folder where they list a file that is about to change."""
    sums = path.with_name(SUMS)
    if sums.is_file() and path.name in read_sums(sums):
        sums.unlink()


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Context in which a model's folder is changed: its sums are gone meanwhile, so that it loads at every point."""
    has_sums = (folder / MODEL).is_file() and (folder / SUMS).is_file()
    if has_sums:
        (folder / SUMS).unlink()
    yield
    if has_sums:
        write_sums(folder)


if __name__ == "__main__":
    try:
        write_sums(Path(*sys.argv[1:2]))
    except OSError as error:
        sys.exit(f"error: {error}")
