"""Readies a folder of checkpoints to go on from: replaces one that was cut short, removes what a broken-off save left.

usage: repair_checkpoints.py FOLDER

With --user-dir s2s_plugin a kill, a full disk and a power cut leave whole files; what others wrote may be cut short,
and a restart would fail. The newest whole checkpoint takes the place of a broken checkpoint_last.pt or
checkpoint_best.pt.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path


def repair(folder: Path) -> list[str]:
    """Mends the checkpoints in a folder; returns a line to print for each that was mended."""
    for left in [*folder.glob("*.pt.new"), *folder.glob("*.pt.tmp")]:
        left.unlink()
    said = []
    # A file cut short lacks the zip directory, which is written last.
    whole = [path for path in folder.glob("checkpoint*.pt") if zipfile.is_zipfile(path)]
    newest = max(whole, key=lambda path: path.stat().st_mtime, default=None)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        path = folder / name
        missing = not path.exists() and newest is not None and name == "checkpoint_last.pt"
        if missing or (path.exists() and path not in whole):
            if newest is None:
                path.rename(path.with_suffix(".pt.damaged"))
                said.append(f"{name} was cut short and set aside; there is no other checkpoint to go on from")
            else:
                replace(newest, path)
                said.append(f"{name} was cut short or missing: going on from {newest.name}")
    return said


def replace(source: Path, path: Path) -> None:
    """Gives a file the name of another as well, in one step; where a file has one name only, a copy of it."""
    new = path.with_suffix(".pt.new")
    try:
        os.link(source, new)
    except OSError:
        shutil.copyfile(source, new)
    os.replace(new, path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        for message in repair(Path(sys.argv[1])):
            print(message)
    except OSError as error:
        sys.exit(f"error: {sys.argv[1]}: {error.strerror}")
