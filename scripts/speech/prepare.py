"""From recordings and a table of transcripts to the folder that fairseq's task speech_to_text reads.

usage: prepare.py --output FOLDER --train TABLE --valid TABLE [--test TABLE ...] [--units char|word|piece] ...

A table has a first line of names and a recording a line, with tabs between: id, audio (a wav, flac or ogg file, below
the table's folder or --audio-root), text, and perhaps speaker. Writes features.zip with the log-mel filterbanks of all
recordings, SPLIT.tsv for each table (named after its file for --test), dict.txt, config.yaml, statistics.npz with the
training's mean and deviation of each band, and for --units piece the sentencepiece model pieces.model, of the
training's transcripts.

All recordings are read before anything is written over. One that is missing, empty, no audio, or of another sample
rate than --sample-rate, or than the first one, is named; then the run fails, or with --bad-files skip goes on
without it.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
from audio import Filterbank
from manifest import (
    UNITS,
    Statistics,
    Utterance,
    is_manifest,
    learn_pieces,
    read_table,
    write_dictionary,
    write_features,
    write_manifest,
)
from tqdm import tqdm

SPECAUGMENT = {
    "none": None,
    # LibriSpeech double of Park et al. (2019, table 1); `small` halves the masks, for short recordings and little data.
    "ld": {"freq_mask_N": 2, "freq_mask_F": 27, "time_mask_N": 2, "time_mask_T": 100, "time_mask_p": 1.0},
    "small": {"freq_mask_N": 2, "freq_mask_F": 13, "time_mask_N": 2, "time_mask_T": 20, "time_mask_p": 0.3},
}
CMVN = ("global", "utterance")


def features_of(
    splits: dict[str, list[Utterance]], extract, skips: bool, statistics: Statistics
) -> Iterator[tuple[str, numpy.ndarray]]:
    """The frames of all recordings, named `split/id`; those of the split `train` go into the statistics.

    Args:
        extract: from an `Utterance` to frames; raises ValueError for a file that it cannot read.
        skips: leave such files out and say so; else raise the ValueError.
    """
    total = sum(map(len, splits.values()))
    with tqdm(total=total, unit=" recordings", disable=None, mininterval=1) as bar:
        for split, utterances in splits.items():
            for utterance in utterances:
                bar.update()
                try:
                    frames = extract(utterance)
                except ValueError as error:
                    if not skips:
                        raise
                    bar.write(f"skipped: {error}", file=sys.stderr)
                    continue
                if split == "train":
                    statistics.add(frames)
                yield f"{split}/{utterance.name}", frames


def make_folder(
    output: Path, splits: dict[str, list[Utterance]], extract, *,
    units: str, cmvn: str, specaugment: str, skips: bool, size: int, pieces: int = 0,
) -> dict[str, int]:  # fmt: skip
    """Writes the folder. Returns how many recordings each split has got.

    Args:
        extract, skips: as in `features_of`.   size: F, numbers of a frame.
        units, cmvn, specaugment: as the options of these names.   pieces: that of --vocab-size.

    Raises:
        ValueError: a bad file, or a split that has none left.
    """
    output.mkdir(parents=True, exist_ok=True)
    statistics, by_name = Statistics(), {}
    names = ["features.zip", "dict.txt", "config.yaml"] + ["pieces.model"] * (units == "piece")
    new = {name: output / f"{name}.new" for name in names}
    new |= {f"{split}.tsv": output / f"{split}.tsv.new" for split in splits}
    try:
        for name, place, count in write_features(new["features.zip"], features_of(splits, extract, skips, statistics)):
            by_name[name] = place.replace("features.zip.new", "features.zip"), count
        kept = {split: [u for u in rows if f"{split}/{u.name}" in by_name] for split, rows in splits.items()}
        for split, rows in kept.items():
            if not rows:
                raise ValueError(f"{split}: none of its {len(splits[split])} recordings can be read")
            found = ((u, *by_name[f"{split}/{u.name}"]) for u in rows)
            write_manifest(
                new[f"{split}.tsv"], ((u.name, place, count, u.text, u.speaker) for u, place, count in found)
            )
        texts = (u.text for u in kept["train"])
        if units == "piece":
            learn_pieces(new["pieces.model"], new["dict.txt"], texts, pieces)
        else:
            write_dictionary(new["dict.txt"], texts, units)
        write_config(new["config.yaml"], output, units, cmvn, specaugment, size)
        # Manifests of other splits would point into features that are gone.
        for path in output.glob("*.tsv"):
            if is_manifest(path):
                path.unlink()
        statistics.save(output / "statistics.npz")
        for name, path in new.items():
            path.replace(output / name)
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)
    return {split: len(rows) for split, rows in kept.items()}


def write_config(path: Path, output: Path, units: str, cmvn: str, specaugment: str, size: int) -> None:
    """Writes the config.yaml of the folder `output`, whose absolute path is in it, as fairseq wants it."""
    import yaml

    config = {
        "vocab_filename": "dict.txt",
        "audio_root": str(output.resolve()),
        "input_feat_per_channel": size,
        "input_channels": 1,
        "feature_transforms": {"*": [f"{cmvn}_cmvn"]},
    }
    if cmvn == "global":
        config["global_cmvn"] = {"stats_npz_path": str((output / "statistics.npz").resolve())}
    if units == "char":
        config["bpe_tokenizer"] = {"bpe": "characters"}
    elif units == "piece":
        config["bpe_tokenizer"] = {
            "bpe": "sentencepiece",
            "sentencepiece_model": str((output / "pieces.model").resolve()),
        }
    if SPECAUGMENT[specaugment]:
        config["feature_transforms"]["_train"] = [f"{cmvn}_cmvn", "specaugment"]
        config["specaugment"] = SPECAUGMENT[specaugment]
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def find_sample_rate(utterances: list[Utterance]) -> int:
    """That of the first recording that can be read. Raises ValueError where none can."""
    import soundfile

    for utterance in utterances:
        if not utterance.audio.is_file():
            continue
        try:
            return soundfile.info(utterance.audio).samplerate
        except (soundfile.SoundFileError, OSError):
            continue
    raise ValueError(f"none of the {len(utterances)} recordings of the training can be read")


def check_output(output: Path, tables: dict[str, Path]) -> None:
    """Raises ValueError for a folder in which a manifest would be written over a table, or whose path fairseq misreads,
    or for a name of a table that fairseq takes for training."""
    for split, path in tables.items():
        if (output / f"{split}.tsv").resolve() == path.resolve():
            raise ValueError(f"--output {output}: {path} would be written over; name another folder")
        if split.startswith("train") and split != "train":
            raise ValueError(f"--test {path}: fairseq takes a name that begins with train for training data")
    if ":" in str(output.resolve()):
        raise ValueError(f"--output {output}: must not hold a colon, at which fairseq divides paths")


def check_bands(rate: int, bands: int, specaugment: str) -> None:
    """Raises ValueError for filters that hear nothing, or fewer bands than SpecAugment masks."""
    try:
        Filterbank(rate, bands).of_samples(numpy.zeros(rate, dtype=numpy.float32), "silence")
    except (RuntimeError, ValueError):
        raise ValueError(f"--bands {bands}: too few or too many for {rate} samples a second") from None
    masks = SPECAUGMENT[specaugment]
    if masks and bands < masks["freq_mask_F"]:
        raise ValueError(
            f"--specaugment {specaugment} masks up to {masks['freq_mask_F']} bands, but --bands is {bands}"
        )


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, help="table of the training")
    parser.add_argument("--valid", type=Path, required=True, help="table of the validation")
    parser.add_argument("--test", type=Path, nargs="*", default=[], help="other tables")
    parser.add_argument("--audio-root", type=Path, help="folder of the recordings (that of each table)")
    parser.add_argument("--units", choices=UNITS, default="char")
    parser.add_argument("--vocab-size", type=int, default=0, help="pieces, for --units piece")
    parser.add_argument("--bands", type=int, default=80, help="mel bands of a frame")
    parser.add_argument("--sample-rate", type=int, default=0, help="Hz; 0: that of the first recording")
    parser.add_argument(
        "--cmvn", choices=CMVN, default="global",
        help="features get the mean 0 and the deviation 1 over the training, or over each recording",
    )  # fmt: skip
    parser.add_argument("--specaugment", choices=list(SPECAUGMENT), default="none", help="of fairseq, in training")
    parser.add_argument("--bad-files", choices=["fail", "skip"], default="fail")
    args = parser.parse_args()
    if args.bands < 1:
        raise ValueError(f"--bands {args.bands}: must be at least 1")
    if (args.vocab_size > 0) != (args.units == "piece"):
        raise ValueError(f"--vocab-size {args.vocab_size} --units {args.units}: the first is the number of pieces")
    tables = {"train": args.train, "valid": args.valid, **{path.stem: path for path in args.test}}
    if len(tables) < 2 + len(args.test):
        raise ValueError("--test: tables of different names, and none that is called train or valid")
    check_output(args.output, tables)
    splits = {split: read_table(path, args.audio_root) for split, path in tables.items()}
    rate = args.sample_rate or find_sample_rate(splits["train"])
    check_bands(rate, args.bands, args.specaugment)
    bank = Filterbank(rate, args.bands)
    counts = make_folder(
        args.output, splits, lambda utterance: bank(utterance.audio), units=args.units, cmvn=args.cmvn,
        specaugment=args.specaugment, skips=args.bad_files == "skip", size=args.bands, pieces=args.vocab_size,
    )  # fmt: skip
    skipped = sum(map(len, splits.values())) - sum(counts.values())
    said = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    print(f"recordings at {rate} Hz: {said}" + (f"; {skipped} skipped" if skipped else ""))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
