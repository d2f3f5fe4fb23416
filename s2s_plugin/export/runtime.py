"""Translates with a model that `python -m s2s_plugin export` wrote: in numpy and onnxruntime, without torch or fairseq.

usage: python translate.py [--beam N] [--lenpen X] [--threads N] < text > translations

This file lies in the model's folder as translate.py. It is written to be read, and to be carried over to other
languages: one sentence at a time, a beam search as fairseq's is.
"""

import argparse
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy
import onnxruntime
from numpy import ndarray

BEGIN_OF_WORD = "\u2581"
LAYERS_FIRST = ("hidden", "cell")
"""What has its rows in the second dimension."""
SUMS = "SHA256SUMS"
LIMITS = {"beam": (1, 1000), "lenpen": (0, 1000), "unkpen": (-1e9, 1e9)}
LIMITS |= {"max_len_a": (0, 1000), "max_len_b": (0, 10_000), "min_len": (0, 10_000)}
"""Of the search's options the least and the largest value."""
TENSORS_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
"""By message of onnx.proto, the numbers of its fields that lead to tensors."""
MOST_CHARACTERS, MOST_PIECES = 2**20, 4000
"""Of a line; a longer one is left out."""
BLANKS, SURROGATES = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+"), re.compile(r"[\ud800-\udfff]")
"""Spaces and control characters; halves of characters."""
ENDS = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""What ends a line for one program or another."""


class TooLong(ValueError):
    """A line that is not translated, for its length."""


class Hypothesis(NamedTuple):
    """One translation of a sentence.

    Attributes:
        text: its pieces put together.
        score: log-probability (natural) over length ** lenpen, by which the search ranks.
        pieces: T - 1, without the end.
        attention: (T, S) weights on the source's pieces and its end; None for a model without attention.
    """

    text: str
    score: float
    pieces: list[str]
    attention: ndarray | None


class OnnxTranslator:
    """A model of two graphs.

    Args:
        folder: of `python -m s2s_plugin export`.
        threads: of onnxruntime; 0 for one a core.

    Raises:
        OSError: a file is missing.
        ValueError: one is broken, not what SHA256SUMS says, or names files elsewhere.
    """

    def __init__(self, folder: str | Path, threads: int = 0):
        self.folder = folder = Path(folder)
        for name in ("model.json", "encoder.onnx", "step.onnx"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder}: there is no {name}; python -m s2s_plugin export makes the folder")
        check_files(folder)
        self.settings = read_settings(folder / "model.json")
        self.encoder, self.decoder = (open_graph(folder / f"{name}.onnx", threads) for name in ("encoder", "step"))
        src_lang, tgt_lang = self.settings["languages"]
        source, self.words = (read_words(folder / f"words.{lang}") for lang in (src_lang, tgt_lang))
        self.numbers = {word: number for number, word in enumerate(source)}
        ends = (self.encoder.get_inputs, self.encoder.get_outputs, self.decoder.get_inputs, self.decoder.get_outputs)
        names = [[one.name for one in end()] for end in ends]
        if names != [["src_tokens"], *(self.settings[name] for name in ("start", "inputs", "outputs"))]:
            self._refuse("model.json names other inputs and outputs than the graphs have")
        if not all(0 <= self.settings["special"][name] < len(self.words) for name in ("pad", "eos", "unk")):
            self._refuse(f"{len(self.words)} words are fewer than model.json knows")
        self.pieces = None
        if (folder / f"{src_lang}.model").is_file():
            self.pieces = read_pieces(folder / f"{src_lang}.model")

    def translate(self, line: str, **search) -> list[Hypothesis]:
        """Translates a line. Args: search, `beam`, `lenpen`, `min_len`, ... in place of the model's own.

        Returns:
            The hypotheses, the best first; none for a blank line.

        Raises:
            TooLong: a line of more than `MOST_CHARACTERS` or `MOST_PIECES`.
            ValueError: an option that the search has not, or outside `LIMITS`, a beam that is no whole number, or a
                `min_len` above the longest translation.
        """
        check_search(search)
        search = {**self.settings["search"], **search}
        pieces = self.split(line)
        if not pieces:
            return []
        special = self.settings["special"]
        ids = (self.numbers.get(piece, special["unk"]) for piece in pieces)
        # What only looks like a special symbol, which come first, is an unknown word.
        ids = [number if number > max(special.values()) else special["unk"] for number in ids] + [special["eos"]]
        return [self._hypothesis(*found) for found in self.search(ids, **search)]

    def split(self, line: str) -> list[str]:
        """The pieces of a line, without the end. Raises TooLong."""
        if len(line) > MOST_CHARACTERS and not BLANKS.fullmatch(line):
            raise TooLong(f"more than {MOST_CHARACTERS} characters")
        line = clean(line)
        pieces = line.split() if self.pieces is None else self.pieces.encode(line, out_type=str)
        if len(pieces) >= MOST_PIECES:
            raise TooLong(f"{len(pieces)} pieces and the end, more than {MOST_PIECES}")
        return pieces

    def search(
        self, ids: list[int], *, beam: int, lenpen: float, unkpen: float, max_len_a: float, max_len_b: int, min_len: int
    ) -> list[tuple[float, list[int], ndarray | None]]:
        """Beam search as fairseq's SequenceGenerator. Args: ids, the source with its end.

        Returns:
            Score, words with the end, and attention (T, S) of each hypothesis, the best first.
        """
        start = dict(zip(self.settings["start"], self._run(self.encoder, {"src_tokens": [ids]}), strict=True))
        given = {name: repeat(name, start[name], beam) for name in self.settings["inputs"][1:]}
        eos, pad, unk = (self.settings["special"][name] for name in ("eos", "pad", "unk"))
        longest = int(max_len_a * len(ids) + max_len_b)
        if min_len > longest:
            raise ValueError(f"min_len {min_len}: the longest translation of this line is {longest}")
        prefixes, scores = numpy.full((beam, 1), eos), numpy.zeros(beam, dtype=numpy.float32)
        attention = numpy.zeros((beam, 0, len(ids)), dtype=numpy.float32)
        ignored, finished = numpy.zeros(beam, dtype=bool), []
        for length in range(1, longest + 2):
            lprobs, attn, state = self.step(prefixes[:, -1], given)
            if lprobs.shape != (beam, len(self.words)) or (attn is not None and attn.shape != (beam, len(ids))):
                words = f"the {len(self.words)} words of words.{self.settings['languages'][1]}"
                self._refuse(f"step.onnx gives other sizes than a beam of {beam} and {words} have")
            lprobs[:, pad] = -numpy.inf
            lprobs[:, unk] -= unkpen
            if length > longest:
                ends = lprobs[:, eos].copy()
                lprobs[:] = -numpy.inf
                lprobs[:, eos] = ends
            elif length <= min_len:
                lprobs[:, eos] = -numpy.inf
            # At first all rows are the same: one of them is enough.
            totals = lprobs[:1] if length == 1 else lprobs + scores[:, None]
            rows, words, totals = best_of(totals, 2 * beam)
            if attn is not None:
                attention = numpy.concatenate([attention, attn[:, None]], axis=1)

            is_end = (words == eos) & (totals > -numpy.inf)
            is_end[:beam][ignored[: len(is_end)]] = False
            for row, score in zip(rows[:beam][is_end[:beam]], totals[:beam][is_end[:beam]], strict=True):
                if len(finished) < beam:
                    found = [*prefixes[row, 1:].tolist(), eos]
                    finished.append((float(score) / length**lenpen, found, attention[row]))
            if len(finished) == beam or length > longest:
                break

            # What ended makes room; where too much did, rows are filled up with what is ignored from now on.
            is_end[:beam] |= ignored[: len(is_end)]
            order = numpy.argsort(is_end, kind="stable")[:beam]
            ignored, rows, scores = is_end[order], rows[order], totals[order]
            prefixes = numpy.concatenate([prefixes[rows], words[order][:, None]], axis=1)
            attention = attention[rows]
            given |= {name: select(name, tensor, rows) for name, tensor in state.items()}
        with_attention = "attn" in self.settings["outputs"]
        finished = [(score, found, attn if with_attention else None) for score, found, attn in finished]
        return sorted(finished, key=lambda one: -one[0])

    def step(self, prev_tokens: ndarray, given: dict) -> tuple[ndarray, ndarray | None, dict]:
        """One step of the decoder. Returns lprobs (R, V), attention (R, S) or None, and the state after it by name."""
        outputs = self._run(self.decoder, {"prev_tokens": prev_tokens, **given})
        named = dict(zip(self.settings["outputs"], outputs, strict=True))
        state = {name.removeprefix("next_"): x for name, x in named.items() if name.startswith("next_")}
        return named["lprobs"], named.get("attn"), state

    def _run(self, session: onnxruntime.InferenceSession, inputs: dict) -> list[ndarray]:
        try:
            return session.run(None, inputs)
        except Exception as error:  # onnxruntime's have no other class in common
            self._refuse(f"its graphs cannot be computed ({first_line(error)})")

    def _refuse(self, fault: str) -> NoReturn:
        raise ValueError(f"{self.folder}: its files do not belong together, or are broken: {fault}")

    def _hypothesis(self, score: float, found: list[int], attention: ndarray | None) -> Hypothesis:
        pieces = [self.words[number] for number in found[:-1]]
        text = " ".join(pieces)
        if self.pieces is not None:
            text = "".join(pieces).replace(BEGIN_OF_WORD, " ").strip()
        return Hypothesis(text, score, pieces, attention)


def repeat(name: str, tensor: ndarray, rows: int) -> ndarray:
    """A sentence's tensor for every row of its beam."""
    return numpy.repeat(tensor, rows, axis=1 if name in LAYERS_FIRST else 0)


def select(name: str, tensor: ndarray, rows: ndarray) -> ndarray:
    """The rows of a tensor of the state."""
    return tensor[:, rows] if name in LAYERS_FIRST else tensor[rows]


def best_of(totals: ndarray, count: int) -> tuple[ndarray, ndarray, ndarray]:
    """The `count` best of totals (R, V), the best first: rows, words and totals of them."""
    flat = totals.ravel()
    count = min(count, len(flat) - 1)
    best = numpy.argpartition(-flat, count)[:count]
    best = best[numpy.argsort(-flat[best], kind="stable")]
    return best // totals.shape[1], best % totals.shape[1], flat[best]


def clean(text: str) -> str:
    """Spaces and control characters as the recipes' training text has them."""
    return SURROGATES.sub("\ufffd", BLANKS.sub(" ", text).strip(" "))


def read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None


def read_pieces(path: Path):
    """A sentencepiece model. Raises ValueError for a file that is none."""
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        raise ValueError(f"{path}: no sentencepiece model, or a broken one") from None


def read_settings(path: Path) -> dict:
    """Raises ValueError where something is missing, or is not what it should be."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        check_search({name: settings["search"][name] for name in LIMITS})
        if sum(bool(re.fullmatch(r"\w[\w.@+-]{0,99}", lang)) for lang in settings["languages"]) != 2:
            raise ValueError(f"languages {settings['languages']}")
        if not all(type(settings["special"][name]) is int for name in ("pad", "eos", "unk")):  # and no bool
            raise ValueError(f"special {settings['special']}")
        if not all(type(settings[name]) is list for name in ("start", "inputs", "outputs")):
            raise ValueError("names of inputs or outputs are missing")
        return settings
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not the settings of an exported model ({first_line(error)})") from None


def check_search(search: dict) -> None:
    """Raises ValueError for an unknown option or one that is outside its limits."""
    for name, value in search.items():
        if name not in LIMITS:
            raise ValueError(f"unknown option {name}: choose from {', '.join(LIMITS)}")
        least, largest = LIMITS[name]
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name} {value}: must be a number")
        if not least <= value <= largest:
            raise ValueError(f"{name} {value}: must be at {f'least {least}' if value < least else f'most {largest}'}")
        if name in ("beam", "min_len") and value != int(value):
            raise ValueError(f"{name} {value}: must be a whole number")


# --- nothing but what was exported, and nothing from elsewhere ---


def check_files(folder: Path) -> None:
    """Compares files with SHA256SUMS, where it exists. A link out of the folder has to have a sum, or to be a graph.

    Raises:
        FileNotFoundError: a file is listed and not there.
        ValueError: one differs from its sum, or is elsewhere.
    """
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace") if (folder / SUMS).is_file() else ""
    sums = {line[66:]: line[:64] for line in text.splitlines()}
    for name, expected in sums.items():
        if Path(name).name != name:
            raise ValueError(f"{folder / SUMS}: {name[:100]!r} is no file of the folder")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: there is no {name}, which {SUMS} lists")
        # Whoever changes this file has changed this check.
        if name != "translate.py" and hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"{folder / name}: broken or changed, by {SUMS}, where its sum is to be written anew if meant"
            )
    for path in sorted(folder.iterdir()):
        is_text = path.name == "model.json" or path.match("words.*") or path.match("*.model")
        if is_text and path.name not in sums and not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path}: a link out of the folder; put the file itself there")


def open_graph(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Raises ValueError for a file that is no graph, or whose weights are in other files."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.load_model_format", "ONNX")
    data = path.read_bytes()
    try:
        place = find_external(data)
    except (IndexError, ValueError):
        raise ValueError(f"{path}: no ONNX graph, or a broken one") from None
    if place is not None:
        raise ValueError(f"{path}: has a weight in another file, {place[:200]!r}; a graph must hold all of its weights")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"{path}: onnxruntime refuses it ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:300]


def find_external(data: bytes) -> str | None:
    """Where a tensor of a graph (an ONNX ModelProto) is said to lie outside it; None where all are within.

    onnxruntime would read any file that a graph names, or the process's memory; newer versions stop at some of these.

    Raises:
        IndexError, ValueError: the bytes are no such message.
    """
    waiting, place = [("model", memoryview(data))], None
    while waiting:
        kind, message = waiting.pop()
        for field, value in fields(message):
            if kind == "tensor":
                if field == 13 and not isinstance(value, int):  # an entry of external_data: key and value
                    entry = {number: bytes(part) for number, part in fields(value) if not isinstance(part, int)}
                    place = entry.get(2, b"").decode(errors="replace") if entry.get(1) == b"location" else place or ""
                elif field == 14 and value != 0:  # data_location
                    place = place or ""
            elif field in TENSORS_WITHIN[kind] and not isinstance(value, int):
                waiting.append((TENSORS_WITHIN[kind][field], value))
    return place


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message; a value is a number or bytes."""
    place = 0
    while place < len(message):
        tag, place = read_number(message, place)
        kind, size = tag & 7, 0
        if kind == 0:
            value, place = read_number(message, place)
        elif kind == 2:
            size, place = read_number(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of the kind {kind}")
        if size > len(message) - place:
            raise ValueError("the message ends within a field")
        yield (tag & 0xFFFFFFFF) >> 3, value if kind == 0 else message[place : place + size]
        place += size


def read_number(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = 0
    for count in range(10):
        byte = message[place + count]
        number |= (byte & 127) << 7 * count
        if byte < 128:
            return number, place + count + 1
    raise ValueError("a number of more than ten bytes")


def lines_of(stream) -> Iterator[str]:
    """Lines of bytes as text, without what ends them; of one that is far too long the beginning."""
    most, encoding = 4 * (MOST_CHARACTERS + 1), "utf-8-sig"
    while line := stream.readline(most):
        yield line.decode(encoding, errors="replace").rstrip("\r\n")
        encoding = "utf-8"
        while len(line) == most and not line.endswith(b"\n"):
            line = stream.readline(most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="folder (where this file is)")
    parser.add_argument("--beam", type=int, help="width of the search; 1 is greedy (as the model's recipe searches)")
    parser.add_argument("--lenpen", type=float, help="above 1 favours longer translations (likewise)")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    args = parser.parse_args()
    translator = OnnxTranslator(args.model, args.threads)
    search = {name: getattr(args, name) for name in ("beam", "lenpen") if getattr(args, name) is not None}
    for number, line in enumerate(lines_of(sys.stdin.buffer), start=1):
        try:
            found = translator.translate(line, **search)
        except TooLong as reason:
            print(f"warning: line {number} is left out: {reason}", file=sys.stderr)
            found = []
        text = ENDS.sub(" ", found[0].text) if found else ""
        sys.stdout.buffer.write(f"{text}\n".encode())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the translations has enough of them
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
