"""Files that are written whole or not at all: beside, synced, then renamed over the old one.

A full disk, a short write, a kill or a power cut leaves the old file as it was. What a kill leaves behind, `FILE.new`,
is written over by the next attempt.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SaveError(OSError):
    """A file that could not be written; the message says which, why, and what to do. The file before it is whole.

    Attributes:
        errno: of what went wrong.
    """

    def __init__(self, path, error: OSError):
        todo = "; make room and run the same command again" if error.errno in NO_ROOM else ""
        super().__init__(f"cannot write {path}: {error.strerror or error}{todo}")
        self.errno = error.errno


@contextmanager
def in_one_step(path) -> Iterator[BinaryIO]:
    """Context that gives a file to write, which takes the place of `path` at its end.

    Raises:
        SaveError: it could not be written. Other errors of the context are raised as they are; neither leaves anything.
    """
    new = f"{path}.new"
    try:
        with open(new, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(Path(path).parent)
    except BaseException as error:
        Path(new).unlink(missing_ok=True)
        cause = _os_error_behind(error) if isinstance(error, Exception) else None
        if cause is None:
            raise
        raise SaveError(path, cause) from None


def save_in_one_step(state, path) -> None:
    """`torch.save(state, path)` that leaves the old file or the new one. Raises SaveError."""
    with in_one_step(path) as file:
        torch.save(state, file)


def write_text_in_one_step(path, text: str) -> None:
    """Writes a text in UTF-8, line ends as they are, that leaves the old file or the new one. Raises SaveError."""
    with in_one_step(path) as file:
        file.write(text.encode("utf-8"))


def copy_whole(source, path) -> None:
    """Copies a file so that a failure leaves the old `path` or the new one. Raises SaveError."""
    with open(source, "rb") as old, in_one_step(path) as file:
        shutil.copyfileobj(old, file, 1 << 20)


def link_in_one_step(source, path) -> None:
    """Gives a file a second name, in the place of what had it. Takes no room and no time.

    Raises OSError where the file system has no links.
    """
    new = f"{path}.new"
    Path(new).unlink(missing_ok=True)
    os.link(source, new)
    os.replace(new, path)
    # Of two names of one file, rename leaves both.
    Path(new).unlink(missing_ok=True)
    sync_folder(Path(path).parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder last over a power cut, where the system can."""
    with suppress(OSError):
        _sync(folder)


def sync_files(folder: Path) -> None:
    """Makes the files in a folder last over a power cut. Raises SaveError."""
    for path in folder.iterdir():
        try:
            _sync(path)
        except OSError as error:
            raise SaveError(path, error) from None
    sync_folder(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _os_error_behind(error: BaseException | None) -> OSError | None:
    """The error of the system that an error came of: torch.save raises its own after that of the file."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
