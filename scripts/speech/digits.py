"""Strings of spoken digits, made of recordings of single ones, to what fairseq's task speech_to_text reads.

usage: digits.py --data FOLDER --output FOLDER [--unseen SPEAKER] [--strings 4000] ...

FOLDER holds the recordings of the Free Spoken Digit Dataset, {digit}_{speaker}_{index}.wav at 8 kHz. A string is one to
seven digits of one speaker, with up to 0.15 s of quiet between them. Of every speaker and digit, the recordings 0 to 4
are those of the test, as the corpus says, 5 to 9 validate, the others train. With --unseen, one speaker's are the test,
all of them, and the other speakers' 0 to 9 validate. The test's recordings are dealt into strings four times, each once
a time. In training a string is played up to a tenth faster or slower, pitch and all.
"""

import argparse
import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy
from audio import Filterbank, read_samples
from manifest import Utterance
from prepare import SPECAUGMENT, Parser, make_folder

SAMPLE_RATE, LONGEST, LONGEST_GAP = 8000, 7, 0.15
WORDS = "zero one two three four five six seven eight nine".split()
SPEEDS, DEALS = (0.9, 1.0, 1.1), 4
HISS = 1e-4
"""Amplitude of the noise under a string, so that the quiet between its digits is not that of no recording at all."""


def find_recordings(data: Path) -> dict[str, list[tuple[int, int, Path]]]:
    """By speaker the digit, the index and the file of each recording. Raises ValueError where there are none."""
    found = defaultdict(list)
    for path in sorted(data.glob("*_*_*.wav")):
        digit, _, rest = path.stem.partition("_")
        speaker, _, index = rest.rpartition("_")
        if not (digit in list("0123456789") and speaker and index.isdecimal()):
            raise ValueError(f"{path}: the name is not of the form digit_speaker_index.wav")
        found[speaker].append((int(digit), int(index), path))
    if not found:
        raise ValueError(f"{data}: no recordings of the form digit_speaker_index.wav")
    return found


def share_out(recordings: dict, unseen: str | None) -> dict[str, dict[str, list]]:
    """By split and speaker the (digit, file) of each recording. Raises ValueError for an unknown speaker."""
    if unseen is not None and unseen not in recordings:
        raise ValueError(f"--unseen {unseen}: choose from {', '.join(recordings)}")
    pools = {split: defaultdict(list) for split in ("train", "valid", "test")}
    for speaker, rows in recordings.items():
        for digit, index, path in rows:
            if unseen is None:
                split = "test" if index < 5 else "valid" if index < 10 else "train"
            else:
                split = "test" if speaker == unseen else "valid" if index < 10 else "train"
            pools[split][speaker].append((digit, path))
    for split, pool in pools.items():
        if not pool:
            raise ValueError(f"{split}: no recordings are left for it")
    return pools


def draw_strings(pool: dict[str, list], count: int, rng: random.Random) -> list[tuple[str, list]]:
    """`count` strings, each a speaker and some of the recordings, which may be in several."""
    speakers = sorted(pool)
    strings = []
    for _ in range(count):
        speaker = rng.choice(speakers)
        strings.append((speaker, rng.choices(pool[speaker], k=rng.randint(1, LONGEST))))
    return strings


def deal_strings(pool: dict[str, list], rng: random.Random) -> list[tuple[str, list]]:
    """Strings in which each recording is once."""
    strings = []
    for speaker in sorted(pool):
        rows = rng.sample(pool[speaker], len(pool[speaker]))
        while rows:
            size = rng.randint(1, LONGEST)
            strings.append((speaker, rows[:size]))
            rows = rows[size:]
    return strings


class Strings:
    """The frames of strings, from their recordings.

    Args:
        bank: makes frames of samples.
    """

    def __init__(self, bank: Filterbank):
        self.bank, self.parts, self.samples = bank, {}, {}

    def add(self, name: str, speaker: str, rows: list, speed: float, rng: random.Random) -> Utterance:
        """Keeps what the string `name` is made of."""
        gaps = [int(rng.uniform(0, LONGEST_GAP) * SAMPLE_RATE) for _ in range(len(rows) + 1)]
        self.parts[name] = [path for _, path in rows], gaps, speed, rng.getrandbits(32)
        return Utterance(name, rows[0][1], " ".join(WORDS[digit] for digit, _ in rows), speaker)

    def __call__(self, utterance: Utterance) -> numpy.ndarray:
        """The frames (N, F). Raises ValueError for a recording that cannot be read."""
        paths, gaps, speed, seed = self.parts[utterance.name]
        pieces = [numpy.zeros(gaps[0], dtype=numpy.float32)]
        for path, gap in zip(paths, gaps[1:], strict=True):
            if path not in self.samples:
                self.samples[path] = read_samples(path, SAMPLE_RATE)
            pieces += [self.samples[path], numpy.zeros(gap, dtype=numpy.float32)]
        samples = numpy.concatenate(pieces)
        if speed != 1.0:
            places = numpy.arange(0, len(samples) - 1, speed)
            samples = numpy.interp(places, numpy.arange(len(samples)), samples)
        hiss = HISS * numpy.random.default_rng(seed).standard_normal(len(samples))
        return self.bank.of_samples(samples + hiss, utterance.name)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the recordings")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--unseen", help="speaker of the test alone")
    parser.add_argument("--strings", type=int, default=4000, help="of the training")
    parser.add_argument("--valid-strings", type=int, default=300)
    parser.add_argument("--bands", type=int, default=40, help="mel bands of a frame")
    parser.add_argument("--specaugment", choices=list(SPECAUGMENT), default="small")
    parser.add_argument("--seed", type=int, default=1, help="of the strings")
    args = parser.parse_args()
    for option in ("strings", "valid_strings", "bands"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)}: must be at least 1")
    strings = Strings(Filterbank(SAMPLE_RATE, args.bands))
    pools = share_out(find_recordings(args.data), args.unseen)
    # Each split by a generator of its own: more strings to train with leave those of the test as they are.
    rngs = {split: random.Random(f"{split} {args.seed}") for split in pools}
    drawn = {
        "train": draw_strings(pools["train"], args.strings, rngs["train"]),
        "valid": draw_strings(pools["valid"], args.valid_strings, rngs["valid"]),
        "test": [string for _ in range(DEALS) for string in deal_strings(pools["test"], rngs["test"])],
    }
    splits = {
        split: [
            strings.add(
                f"{split}-{number}", *string, rngs[split].choice(SPEEDS) if split == "train" else 1.0, rngs[split]
            )
            for number, string in enumerate(rows)
        ]
        for split, rows in drawn.items()
    }
    counts = make_folder(
        args.output, splits, strings, units="word", cmvn="utterance", specaugment=args.specaugment, skips=False,
        size=args.bands,
    )  # fmt: skip
    print("strings: " + ", ".join(f"{split} {count:,}" for split, count in counts.items()))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
