"""Disks that are too small: what is written to them fails as on a full one."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory of its own.

    Attributes:
        path: the folder where it is mounted.
    """

    def __init__(self, path: Path):
        self.path = path

    def resize(self, kilobytes: int) -> None:
        """Gives it another size; not below what is in it."""
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", self.path], check=True)

    def free(self) -> int:
        """Bytes that are free."""
        return shutil.disk_usage(self.path).free

    def fill(self, leave: int = 0) -> None:
        """Takes all its room but for so many kilobytes, until `empty` is called."""
        with contextlib.suppress(OSError), (self.path / "filler").open("ab") as file:
            file.write(bytes(max(0, self.free() - leave * 1024)))

    def empty(self) -> None:
        (self.path / "filler").unlink()


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[SmallDisk]:
    """Context that gives a disk of so many kilobytes, in a folder that it makes. Skips the test where there is none."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "small-disk", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no command `mount` here")
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
