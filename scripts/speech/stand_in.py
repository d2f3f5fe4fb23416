"""Made-up sound in the form of a corpus, to try a recipe with: a tone for each digit or word, for AN4 a noise.

usage: stand_in.py an4|speech_digits|librispeech|aishell FOLDER
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


def write_tones(path: Path, words: list[int], rng: numpy.random.Generator) -> None:
    """A recording at 16 kHz in which each word is a tone of its own."""
    import soundfile

    pieces = []
    for word in words:
        seconds = numpy.arange(int(rng.uniform(0.2, 0.35) * 16000)) / 16000
        pieces.append(0.2 * numpy.sin(2 * numpy.pi * (300 + 400 * word) * seconds))
    samples = numpy.concatenate(pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples + 0.01 * rng.standard_normal(len(samples)), 16000)


def make_librispeech(folder: Path) -> None:
    """Four speakers to train with, one for each other part."""
    rng = numpy.random.default_rng(1)
    words = "CHAPTER TWO SAID THE OLD HOUSE".split()
    for part, speakers in {"train-clean-100": 4, "dev-clean": 1, "test-clean": 1, "test-other": 1}.items():
        for speaker in range(speakers):
            chapter, lines = folder / part / f"{10 + speaker}" / "7", []
            for number in range(12):
                drawn = rng.integers(len(words), size=rng.integers(1, 4)).tolist()
                name = f"{10 + speaker}-7-{number:04}"
                write_tones(chapter / f"{name}.flac", drawn, rng)
                lines.append(f"{name} {' '.join(words[word] for word in drawn)}\n")
            (chapter / f"{10 + speaker}-7.trans.txt").write_text("".join(lines))


def make_aishell(folder: Path) -> None:
    """Four speakers to train with, one to validate and one to test."""
    rng = numpy.random.default_rng(1)
    words, lines = "\u4f60\u597d \u5317\u4eac \u5929\u6c14 \u5f88 \u597d \u5417".split(), []
    for split, speakers in {"train": 4, "dev": 1, "test": 1}.items():
        for speaker in range(speakers):
            for number in range(12):
                drawn = rng.integers(len(words), size=rng.integers(1, 4)).tolist()
                name = f"BAC009{split[0].upper()}{speaker:04}W{number:04}"
                write_tones(folder / "wav" / split / name[6:11] / f"{name}.wav", drawn, rng)
                lines.append(f"{name} {' '.join(words[word] for word in drawn)}\n")
    (folder / "transcript").mkdir(exist_ok=True)
    (folder / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    kinds = {"an4": make_an4, "speech_digits": make_digits, "librispeech": make_librispeech, "aishell": make_aishell}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    kinds[sys.argv[1]](folder)


if __name__ == "__main__":
    main()
