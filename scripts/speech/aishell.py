"""Tables of AISHELL-1's recordings, for prepare.py.

usage: aishell.py --data data_aishell --output FOLDER

FOLDER is that of the corpus (Bu et al. 2017), its archives by speaker unpacked: wav/{train,dev,test}/speaker/*.wav and
transcript/aishell_transcript_v0.8.txt. Writes train.tsv, valid.tsv (dev) and test.tsv. A transcript loses the spaces
that stand between its words there: Chinese is scored by characters. Recordings without a transcript, of which the
corpus has some, are left out and counted.
"""

import argparse
import sys
from pathlib import Path

from manifest import Utterance, write_table
from prepare import Parser

SPLITS = {"train": "train", "valid": "dev", "test": "test"}


def read_transcripts(path: Path) -> dict[str, str]:
    """By id. Raises ValueError for a line that is none."""
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, *words = line.split() or [""]
        if not words:
            raise ValueError(f"{path}, line {number}: {line!r} is no id with a transcript")
        texts[name] = "".join(words)
    return texts


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder data_aishell")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    texts = read_transcripts(args.data / "transcript" / "aishell_transcript_v0.8.txt")
    tables, silent = {}, 0
    for name, folder in SPLITS.items():
        files = sorted((args.data / "wav" / folder).glob("*/*.wav"))
        tables[name] = [Utterance(p.stem, p, texts[p.stem], p.parent.name) for p in files if p.stem in texts]
        if not tables[name]:
            raise ValueError(f"{args.data / 'wav' / folder}: no recording speaker/*.wav that has a transcript")
        silent += len(files) - len(tables[name])
    for name, rows in tables.items():
        write_table(args.output / f"{name}.tsv", rows)
    print(", ".join(f"{name} {len(rows):,}" for name, rows in tables.items()) + f"; without a transcript {silent:,}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
