"""From AN4's features and transcripts to what fairseq's task speech_to_text reads.

usage: an4.py --data FOLDER --output FOLDER [--tempos 0.9 1 1.1]

FOLDER has etc/ and feat/ of the corpus (CMU: spelled names, numbers, commands), 948 recordings to train with and 130 to
test, as Sphinx's 13 cepstra of 10 ms frames. To them come their first and second differences in time, which makes
39 numbers a frame. Every twelfth speaker of the training is set aside to validate with. --tempos adds the training's
recordings played faster (above 1) and slower, by interpolation between frames.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy
from audio import read_sphinx
from manifest import Utterance
from prepare import Parser, make_folder

COEFFICIENTS = 13
VALIDATION_EVERY = 12
"""Speakers: their names say who is a woman and who a man, so a run of them in their order would be of one kind."""


def read_split(data: Path, split: str) -> list[Utterance]:
    """Args: split, `train` or `test`. Raises ValueError or OSError where the corpus is not as it should be."""
    files = (data / "etc" / f"an4_{split}.fileids").read_text().split()
    lines = (data / "etc" / f"an4_{split}.transcription").read_text().splitlines()
    if len(files) != len(lines):
        raise ValueError(f"{data}/etc: {len(files)} file ids and {len(lines)} transcriptions of the {split}")
    found = []
    for file, line in zip(files, lines, strict=True):
        match = re.fullmatch(r"(?:<s> )?(.+?)(?: </s>)? \((\S+)\)", line.strip())
        if match is None or match[2] != file.rsplit("/", 1)[-1]:
            raise ValueError(f"{data}/etc/an4_{split}.transcription: {line!r} is not the transcription of {file}")
        found.append(Utterance(match[2], data / "feat" / f"{file}.mfc", match[1], Path(file).parent.name))
    return found


def differences(frames: numpy.ndarray) -> numpy.ndarray:
    """How the frames (N, F) change, by the regression over two frames to either side (HTK book, eq. 5.16)."""
    padded = numpy.pad(frames, ((2, 2), (0, 0)), mode="edge")
    count = len(frames)
    return sum(k * (padded[2 + k : 2 + k + count] - padded[2 - k : 2 - k + count]) for k in (1, 2)) / 10


def stretch(frames: numpy.ndarray, tempo: float) -> numpy.ndarray:
    """The frames of a recording played `tempo` times as fast, by interpolation: (N / tempo, F)."""
    places = numpy.arange(0, len(frames) - 1 + 1e-9, tempo)
    before = numpy.minimum(places.astype(int), max(len(frames) - 2, 0))
    share = (places - before)[:, None].astype(frames.dtype)
    return (1 - share) * frames[before] + share * frames[numpy.minimum(before + 1, len(frames) - 1)]


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder an4")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tempos", type=float, nargs="+", default=[0.9, 1.0, 1.1], help="of the training")
    args = parser.parse_args()
    if not all(0.5 <= tempo <= 2 for tempo in args.tempos):
        raise ValueError(f"--tempos {' '.join(map(str, args.tempos))}: numbers from 0.5 to 2")
    heard = read_split(args.data, "train")
    speakers = sorted({utterance.speaker for utterance in heard})[VALIDATION_EVERY // 2 :: VALIDATION_EVERY]
    splits = {
        "train": [
            utterance._replace(name=f"{utterance.name}@{tempo}")
            for utterance in heard if utterance.speaker not in speakers for tempo in dict.fromkeys(args.tempos)
        ],
        "valid": [utterance for utterance in heard if utterance.speaker in speakers],
        "test": read_split(args.data, "test"),
    }  # fmt: skip

    def extract(utterance: Utterance) -> numpy.ndarray:
        frames = read_sphinx(utterance.audio, COEFFICIENTS)
        tempo = utterance.name.partition("@")[2]
        frames = stretch(frames, float(tempo)) if tempo else frames
        first = differences(frames)
        return numpy.concatenate([frames, first, differences(first)], axis=1)

    counts = make_folder(
        args.output, splits, extract, units="char", cmvn="utterance", specaugment="none", skips=False,
        size=3 * COEFFICIENTS,
    )  # fmt: skip
    print(", ".join(f"{split} {count:,}" for split, count in counts.items()))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
