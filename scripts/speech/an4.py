"""From AN4's features and transcripts to what fairseq's task speech_to_text reads.

usage: an4.py --data FOLDER --output FOLDER [--tempos 0.9 1 1.1] [--warps 0.9 1 1.1] [--specaugment none|ld|small]

FOLDER has etc/ and feat/ of the corpus (CMU: spelled names, numbers, commands), 948 recordings to train with and 130 to
test, as Sphinx's 13 cepstra of 10 ms frames. To them come their first and second differences in time, which makes
39 numbers a frame. Every twelfth speaker of the training is set aside to validate with. --tempos adds the training's
recordings played faster (above 1) and slower, by interpolation between frames; --warps adds them with the formants of
a shorter vocal tract (above 1) and of a longer one. Each tempo is heard with each warp.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy
from audio import read_sphinx
from manifest import Utterance, within
from prepare import SPECAUGMENT, Parser, make_folder

COEFFICIENTS = 13
BAND = 133.33, 6855.5
"""Hz: the lowest and highest that Sphinx's mel filters hear."""
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
        found.append(Utterance(match[2], within(data / "feat", f"{file}.mfc"), match[1], Path(file).parent.name))
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


def vocal_tract(warp: float) -> numpy.ndarray:
    """The matrix (13, 13) from cepstra to those of the same voice with all frequencies times `warp`.

    Cepstra are the cosine series of a log spectrum over the mel scale: L(x) = c_0 + 2 sum_k c_k cos(pi k x), x from 0
    to 1. That of L(g(x)), where g divides frequencies by `warp`, is linear in them. As augmentation: Jaitly and Hinton
    (2013).
    """
    low, high = (2595 * numpy.log10(1 + hertz / 700) for hertz in BAND)
    x = (numpy.arange(512) + 0.5) / 512
    hertz = 700 * (10 ** ((low + x * (high - low)) / 2595) - 1)
    warped = (2595 * numpy.log10(1 + hertz / warp / 700) - low) / (high - low)
    order = numpy.arange(COEFFICIENTS)
    series = numpy.where(order > 0, 2, 1) * numpy.cos(numpy.pi * order * warped.clip(0, 1)[:, None])
    return numpy.cos(numpy.pi * order[:, None] * x) @ series / len(x)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder an4")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tempos", type=float, nargs="+", default=[0.9, 1.0, 1.1], help="of the training")
    parser.add_argument("--warps", type=float, nargs="+", default=[1.0], help="of the training")
    parser.add_argument("--specaugment", choices=list(SPECAUGMENT), default="none", help="of fairseq, in training")
    args = parser.parse_args()
    for name in ("tempos", "warps"):
        if not all(0.5 <= factor <= 2 for factor in getattr(args, name)):
            raise ValueError(f"--{name} {' '.join(map(str, getattr(args, name)))}: numbers from 0.5 to 2")
    heard = read_split(args.data, "train")
    speakers = sorted({utterance.speaker for utterance in heard})[VALIDATION_EVERY // 2 :: VALIDATION_EVERY]
    splits = {
        "train": [
            utterance._replace(name=f"{utterance.name}@{tempo}@{warp}")
            for utterance in heard if utterance.speaker not in speakers
            for tempo in dict.fromkeys(args.tempos) for warp in dict.fromkeys(args.warps)
        ],
        "valid": [utterance for utterance in heard if utterance.speaker in speakers],
        "test": read_split(args.data, "test"),
    }  # fmt: skip

    tracts = {warp: vocal_tract(warp).astype(numpy.float32) for warp in args.warps}

    def extract(utterance: Utterance) -> numpy.ndarray:
        frames = read_sphinx(utterance.audio, COEFFICIENTS)
        if "@" in utterance.name:
            tempo, warp = map(float, utterance.name.split("@")[1:])
            frames = stretch(frames, tempo) @ tracts[warp].T
        first = differences(frames)
        return numpy.concatenate([frames, first, differences(first)], axis=1)

    counts = make_folder(
        args.output, splits, extract, units="char", cmvn="utterance", specaugment=args.specaugment, skips=False,
        size=3 * COEFFICIENTS,
    )  # fmt: skip
    print(", ".join(f"{split} {count:,}" for split, count in counts.items()))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
