"""The folder that fairseq's task speech_to_text reads: features in one zip, manifests, dictionary, config.yaml."""

import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

UNITS = ("char", "word", "piece")
SPACE = "\u2581"  # which fairseq's `characters` writes for a space
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


class Utterance(NamedTuple):
    """One recording and what is said in it.

    Attributes:
        name: its id, unique in its split.   audio: its file.   text: the transcript.   speaker: or an empty string.
    """

    name: str
    audio: Path
    text: str
    speaker: str


def within(root: Path, name: str) -> Path:
    """The path of a name below a folder. Raises ValueError for one that leads out of it.

    What counts is the name: a folder of recordings may well be a link to another disk.
    """
    if not Path(os.path.abspath(root / name)).is_relative_to(os.path.abspath(root)):
        raise ValueError(f"{name!r} is outside {root}")
    return root / name


def read_table(path: Path, audio_root: Path | None = None) -> list[Utterance]:
    """The rows of a table with a first line of names: id, audio, text and perhaps speaker, between tabs.

    Args:
        audio_root: folder of the recordings; that of the table, if None.

    Raises:
        ValueError: a column or a field is missing, an id is there twice, there is no row, or a recording is outside its
            folder.
    """
    lines = path.read_text(encoding="utf-8-sig").rstrip("\r\n").split("\n")
    names = lines[0].rstrip("\r").split("\t")
    missing = [name for name in ("id", "audio", "text") if name not in names]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r} in its first line; it has {', '.join(names)}")
    found, seen = [], {}
    for number, line in enumerate(lines[1:], start=2):
        values = line.rstrip("\r").split("\t")
        if len(values) != len(names):
            raise ValueError(f"{path}, line {number}: {len(values)} fields for {len(names)} columns")
        fields = dict(zip(names, values, strict=True))
        name, text = fields["id"], " ".join(fields["text"].split())
        if name in seen:
            raise ValueError(f"{path}, line {number}: the id {name!r} stands in line {seen[name]} too")
        if not text:
            raise ValueError(f"{path}, line {number}: {name!r} has no transcript")
        seen[name] = number
        try:
            within(Path("features.zip"), name)
        except ValueError:
            raise ValueError(f"{path}, line {number}: the id {name!r} leads out of any folder") from None
        try:
            audio = within(audio_root or path.parent, fields["audio"])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; --audio-root names the folder of recordings") from None
        found.append(Utterance(name, audio, text, fields.get("speaker", "")))
    if not found:
        raise ValueError(f"{path}: no row below its first line")
    return found


def write_table(path: Path, rows: Iterable[Utterance]) -> None:
    """Writes what `read_table` reads, with absolute paths."""
    lines = ["id\taudio\ttext\tspeaker"]
    lines += [f"{row.name}\t{os.path.abspath(row.audio)}\t{row.text}\t{row.speaker}" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_features(path: Path, frames: Iterable[tuple[str, numpy.ndarray]]) -> Iterator[tuple[str, str, int]]:
    """Writes arrays (N, F) into one uncompressed zip, of which fairseq reads slices.

    Yields:
        after each: its name, where it stands (`file:offset:size`), and N.
    """
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in frames:
            data = io.BytesIO()
            numpy.save(data, numpy.ascontiguousarray(array, dtype=numpy.float32))
            archive.writestr(f"{name}.npy", data.getvalue())
            size = data.getbuffer().nbytes
            yield name, f"{path.name}:{file.tell() - size}:{size}", len(array)


def write_manifest(path: Path, rows: Iterable[tuple[str, str, int, str, str]]) -> None:
    """Args: rows of `COLUMNS`."""
    lines = ["\t".join(map(str, row)) for row in (COLUMNS, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def is_manifest(path: Path) -> bool:
    """Whether a table is one that `write_manifest` wrote."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n").split("\t") == list(COLUMNS)


def split_text(text: str, units: str) -> list[str]:
    """Symbols of a transcript, as fairseq makes them at training time: characters, or words."""
    return list(text.replace(" ", SPACE)) if units == "char" else text.split()


def write_dictionary(path: Path, texts: Iterable[str], units: str) -> int:
    """Writes the symbols of the transcripts, most frequent first. Returns how many there are.

    Raises:
        ValueError: a symbol that fairseq keeps for itself.
    """
    counts = Counter(symbol for text in texts for symbol in split_text(text, units))
    taken = [symbol for symbol in ("<s>", "<pad>", "</s>", "<unk>") if symbol in counts]
    if taken:
        raise ValueError(f"a transcript holds the word {taken[0]}, which fairseq keeps for itself")
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    path.write_text("".join(f"{symbol} {count}\n" for symbol, count in rows), encoding="utf-8")
    return len(rows)


def learn_pieces(model: Path, dictionary: Path, texts: Iterable[str], size: int) -> None:
    """Learns a sentencepiece unigram model of `size` pieces from the transcripts and writes its pieces as a dictionary.

    Raises:
        ValueError: more pieces than the transcripts have, or fewer than their characters.
    """
    import sentencepiece

    learnt = io.BytesIO()
    sentencepiece.set_random_generator_seed(1)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=learnt, vocab_size=size, character_coverage=1.0,
            normalization_rule_name="identity", minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        raise ValueError(f"--vocab-size {size}: {str(error).rpartition('] ')[2].strip()}") from None
    model.write_bytes(learnt.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=learnt.getvalue())
    kept = [pieces.id_to_piece(k) for k in range(len(pieces)) if not (pieces.is_control(k) or pieces.is_unknown(k))]
    dictionary.write_text("".join(f"{piece} 1\n" for piece in kept), encoding="utf-8")


class Statistics:
    """Mean and deviation of each of F features over all frames."""

    def __init__(self):
        self.count, self.sums, self.squares = 0, 0.0, 0.0

    def add(self, frames: numpy.ndarray) -> None:
        """Args: frames (N, F)."""
        self.count += len(frames)
        self.sums = self.sums + frames.sum(axis=0, dtype=numpy.float64)
        self.squares = self.squares + numpy.square(frames, dtype=numpy.float64).sum(axis=0)

    def save(self, path: Path) -> None:
        """Writes `mean` and `std` as fairseq's global_cmvn reads them."""
        mean = self.sums / self.count
        std = numpy.sqrt(numpy.maximum(self.squares / self.count - mean**2, 1e-10))
        numpy.savez(path, mean=mean.astype(numpy.float32), std=std.astype(numpy.float32))
