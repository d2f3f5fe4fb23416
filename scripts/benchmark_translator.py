"""How fast a model translates in each arithmetic, and with its shortlist: all lines at once, and one line at a time.

usage: benchmark_translator.py --model FOLDER [--compute-dtypes float32 ...] [--all-words] [--onnx FOLDER] TEXT

All lines are translated in turns, in one process; what is printed is the median of the rounds, and of the lines alone
the median and the 95th percentile of their milliseconds.
"""

import argparse
import logging
import statistics
import sys
import time
from pathlib import Path

import torch
from fairseq.sequence_generator import SequenceGenerator

sys.path.insert(0, str(Path(__file__).parents[1]))
from s2s_plugin import Translator  # noqa: E402
from s2s_plugin.translator import SHORTLIST, Translation  # noqa: E402


def timed(call) -> tuple[float, list]:
    """Seconds, and what the call gave."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


class Exported:
    """An exported model as `Translator` is called."""

    def __init__(self, folder: Path, threads: int):
        from s2s_plugin.export.runtime import OnnxTranslator

        self.translator = OnnxTranslator(folder, threads)

    def translate(self, lines: list[str], *, beam: int) -> list[Translation]:
        return [Translation(line, [], self.translator.translate(line, beam=beam)) for line in lines]


def over_all_words(translator: Translator) -> Translator:
    """The same with fairseq's own generator, whose searches look at all words."""
    translator.generator_class = SequenceGenerator
    return translator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder `model` of a recipe")
    parser.add_argument("--compute-dtypes", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--all-words", action="store_true", help="search as fairseq does, too")
    parser.add_argument("--onnx", type=Path, help="the same model, exported; it translates line by line")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=150, help="lines that are translated one at a time")
    parser.add_argument("text", type=Path)
    args = parser.parse_args()
    if args.rounds < 1 or args.alone < 1 or args.threads < 0:
        raise ValueError("--rounds and --alone must be at least 1, and --threads not negative")
    if args.threads:
        torch.set_num_threads(args.threads)
    lines = args.text.read_text(encoding="utf-8").splitlines()
    models = {}
    for dtype in args.compute_dtypes:
        models[dtype] = Translator.load(args.model, compute_dtype=dtype, shortlist=False)
        if args.all_words:
            whole = Translator.load(args.model, compute_dtype=dtype, shortlist=False)
            models[f"{dtype}, all words"] = over_all_words(whole)
        if (Path(args.model) / SHORTLIST).is_file():
            models[f"{dtype}, shortlist"] = Translator.load(args.model, compute_dtype=dtype)
    if args.onnx:
        models["onnx"] = Exported(args.onnx, args.threads)
    rounds, alone, pieces = {dtype: [] for dtype in models}, {dtype: [] for dtype in models}, {}
    for number in range(args.rounds + 1):
        for dtype, model in models.items():
            took, found = timed(lambda model=model: model.translate(lines, beam=args.beam))
            pieces[dtype] = sum(len(one.hypotheses[0].pieces) for one in found if one.hypotheses)
            if number:  # the first round warms up
                rounds[dtype].append(took)
    # Not in turns: onnxruntime's threads go on looking for work for a while, at the cost of who comes next.
    for dtype, model in models.items():
        for line in lines[: args.alone]:
            took, _ = timed(lambda model=model, line=line: model.translate([line], beam=args.beam))
            alone[dtype].append(1000 * took)
    threads = torch.get_num_threads()
    print(f"{len(lines):,} lines, beam {args.beam}, {threads} threads, medians of {args.rounds} rounds\n")
    print("| arithmetic | seconds | pieces/s | of the first | one line: median ms | 95 % ms |")
    print("|---|---|---|---|---|---|")
    first = None
    for dtype in models:
        took = statistics.median(rounds[dtype])
        speed = pieces[dtype] / took
        first = first or speed
        late = sorted(alone[dtype])[int(0.95 * (len(alone[dtype]) - 1))]
        middle = statistics.median(alone[dtype])
        print(f"| {dtype} | {took:.2f} | {speed:,.0f} | {speed / first:.2f} | {middle:.0f} | {late:.0f} |")


if __name__ == "__main__":
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
