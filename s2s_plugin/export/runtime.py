"""Translates with a model that `python -m s2s_plugin export` wrote: in numpy and onnxruntime, without torch or fairseq.

usage: python translate.py [--beam N] [--lenpen X] [--threads N] < text > translations

This file lies in the model's folder as translate.py. It is written to be read, and to be carried over to other
languages: one sentence at a time, a beam search as fairseq's is.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import onnxruntime
from numpy import ndarray

BEGIN_OF_WORD = "\u2581"
LAYERS_FIRST = ("hidden", "cell")
"""What has its rows in the second dimension."""
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
    """

    def __init__(self, folder: str | Path, threads: int = 0):
        folder = Path(folder)
        for name in ("model.json", "encoder.onnx", "step.onnx"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder}: there is no {name}; python -m s2s_plugin export makes the folder")
        self.settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        sessions = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "step")
        )
        self.encoder, self.decoder = sessions
        src_lang, tgt_lang = self.settings["languages"]
        source, self.words = (read_words(folder / f"words.{lang}") for lang in (src_lang, tgt_lang))
        self.numbers = {word: number for number, word in enumerate(source)}
        self.pieces = None
        if (folder / f"{src_lang}.model").is_file():
            import sentencepiece

            self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{src_lang}.model"))

    def translate(self, line: str, **search) -> list[Hypothesis]:
        """Translates a line. Args: search, `beam`, `lenpen`, `min_len`, ... in place of the model's own.

        Returns:
            The hypotheses, the best first; none for a blank line.

        Raises:
            TooLong: a line of more than `MOST_CHARACTERS` or `MOST_PIECES`.
            ValueError: an option that the search has not, a beam that is no whole number of at least 1, a negative
                `lenpen`, or a `min_len` above the longest translation.
        """
        unknown = [name for name in search if name not in self.settings["search"]]
        if unknown:
            raise ValueError(f"unknown option {unknown[0]}: choose from {', '.join(self.settings['search'])}")
        search = {**self.settings["search"], **search}
        if search["beam"] < 1:
            raise ValueError(f"beam {search['beam']}: must be at least 1")
        if search["beam"] != int(search["beam"]):
            raise ValueError(f"beam {search['beam']}: must be a whole number")
        if search["lenpen"] < 0:
            raise ValueError(f"lenpen {search['lenpen']}: must be at least 0")
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
        start = dict(zip(self.settings["start"], self.encoder.run(None, {"src_tokens": [ids]}), strict=True))
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
        outputs = self.decoder.run(None, {"prev_tokens": prev_tokens, **given})
        named = dict(zip(self.settings["outputs"], outputs, strict=True))
        state = {name.removeprefix("next_"): x for name, x in named.items() if name.startswith("next_")}
        return named["lprobs"], named.get("attn"), state

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
    return path.read_text(encoding="utf-8").split("\n")[:-1]


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
