"""Made-up sound in the form of a corpus, to try a recipe with: tones for digits, for AN4 a noise for every word.

usage: stand_in.py an4|speech_digits FOLDER
"""

import sys
from pathlib import Path

import numpy

WORDS = ("YES", "NO", "GO", "STOP", "A B", "ONE TWO")


def make_digits(folder: Path) -> None:
    """Three speakers' digits, twelve recordings each; a digit is a tone, a speaker its pitch."""
    import soundfile

    rng = numpy.random.default_rng(1)
    for digit in range(10):
        for place, speaker in enumerate(("ann", "bob", "eve")):
            for index in range(12):
                seconds = numpy.arange(int(rng.uniform(0.2, 0.35) * 8000)) / 8000
                tone = numpy.sin(2 * numpy.pi * (300 + 250 * digit) * (1 + 0.03 * place) * seconds)
                samples = 0.2 * tone + 0.01 * rng.standard_normal(len(seconds))
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", samples, 8000)


def make_an4(folder: Path) -> None:
    """Eight speakers' words to train with, two speakers' to test."""
    rng = numpy.random.default_rng(1)
    means = 3 * rng.standard_normal((len(WORDS), 13))
    (folder / "etc").mkdir(exist_ok=True)
    for split, speakers in (("train", [f"s{k}" for k in range(8)]), ("test", ["t0", "t1"])):
        ids, lines = [], []
        for speaker in speakers:
            for number in range(12):
                word = number % len(WORDS)
                frames = means[word] + rng.standard_normal((rng.integers(40, 80), 13))
                name = f"an{number}-{speaker}-b"
                path = folder / "feat" / "an4" / speaker / f"{name}.mfc"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(frames.size.to_bytes(4, "big") + frames.astype(">f4").tobytes())
                ids.append(f"an4/{speaker}/{name}")
                lines.append(f"{WORDS[word]} ({name})")
        (folder / "etc" / f"an4_{split}.fileids").write_text("".join(f"{line}\n" for line in ids))
        (folder / "etc" / f"an4_{split}.transcription").write_text("".join(f"{line}\n" for line in lines))


def main() -> None:
    kinds = {"an4": make_an4, "speech_digits": make_digits}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    kinds[sys.argv[1]](folder)


if __name__ == "__main__":
    main()
