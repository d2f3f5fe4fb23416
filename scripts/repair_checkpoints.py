"""Replaces a checkpoint that was cut short.

usage: repair_checkpoints.py FOLDER

With --user-dir s2s_plugin a kill leaves whole files; a full disk or a power cut may not, and a restart would fail. The
newest whole checkpoint takes the place of a broken checkpoint_last.pt or checkpoint_best.pt.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path


def repair(folder: Path) -> list[str]:
    """Mends the checkpoints in a folder; returns a line to print for each that was mended."""
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
                shutil.copyfile(newest, path.with_suffix(".pt.new"))
                os.replace(path.with_suffix(".pt.new"), path)
                said.append(f"{name} was cut short or missing: going on from {newest.name}")
    return said


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for message in repair(Path(sys.argv[1])):
        print(message)
