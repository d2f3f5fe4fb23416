"""Models that former versions made and users still have: `data/VERSION/make.py` says how each was made."""

import tarfile
from pathlib import Path

from .helpers import ROOT

VERSIONS = ROOT / "tests" / "data"


def old_models() -> list[str]:
    """Their names: `v0.2/plain`."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in VERSIONS.glob("*/*.tsv"))


def unpack(version: str, folder: Path) -> Path:
    """Unpacks the models of a version, `v0.2`, a folder each. Returns where they are, below `folder`."""
    with tarfile.open(VERSIONS / version / "models.tar.xz") as archive:
        archive.extractall(folder / version, filter="data")
    return folder / version


def expected(name: str) -> list[tuple[str, str]]:
    """Sources, and what its own version made of them: translations, or phonemes, summaries, transcripts."""
    text = (VERSIONS / f"{name}.tsv").read_text(encoding="utf-8")
    return [tuple(line.split("\t")) for line in text.splitlines()]
