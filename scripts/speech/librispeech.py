"""Tables of LibriSpeech's recordings, for prepare.py.

usage: librispeech.py --data LibriSpeech --output FOLDER [--train PART ...] [--valid PART] [--test PART ...]

LibriSpeech has a folder for each part of the corpus (Panayotov et al. 2015), PART/speaker/chapter/, with a flac file
for each recording and speaker-chapter.trans.txt. Writes train.tsv, of one part or several, valid.tsv, and PART.tsv for
each --test.
"""

import argparse
import sys
from pathlib import Path

from manifest import Utterance, write_table
from prepare import Parser


def read_part(data: Path, part: str) -> list[Utterance]:
    """Raises ValueError where there is no such part, no transcript in it, or a line that is none."""
    if not (data / part).is_dir():
        found = ", ".join(sorted(path.name for path in data.iterdir() if path.is_dir())) or "none"
        raise ValueError(f"--data {data}: there is no part {part}; the folders in it: {found}")
    rows = []
    for transcripts in sorted((data / part).glob("*/*/*.trans.txt")):
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            if not text.strip() or name.count("-") != 2 or Path(name).name != name:
                raise ValueError(f"{transcripts}: {line!r} is no line of an id and its transcript")
            rows.append(Utterance(name, transcripts.parent / f"{name}.flac", text.strip(), name.split("-")[0]))
    if not rows:
        raise ValueError(f"{data / part}: no transcripts, speaker/chapter/*.trans.txt")
    return rows


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder LibriSpeech")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", nargs="+", default=["train-clean-100"], help="parts")
    parser.add_argument("--valid", default="dev-clean", help="part")
    parser.add_argument("--test", nargs="*", default=["test-clean", "test-other"], help="parts")
    args = parser.parse_args()
    tables = {
        "train": [row for part in dict.fromkeys(args.train) for row in read_part(args.data, part)],
        "valid": read_part(args.data, args.valid),
        **{part: read_part(args.data, part) for part in args.test},
    }
    for name, rows in tables.items():
        write_table(args.output / f"{name}.tsv", rows)
    print(", ".join(f"{name} {len(rows):,}" for name, rows in tables.items()))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
