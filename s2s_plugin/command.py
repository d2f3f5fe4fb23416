"""The commands of `python -m s2s_plugin`: translate, quantize, pack, shortlist and export."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from .checkpoints import CheckpointError
from .compress.folder import rewrite_folder
from .compress.lexicon import learn_lexicon
from .compress.pack import pack_checkpoint
from .compress.quantize import quantize_checkpoint
from .folder import SHORTLIST, changing
from .lines import as_one, bounded_lines, escape_ends, lines_at_hand
from .saving import write_text_in_one_step
from .translator import Translation, Translator


def read_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m s2s_plugin translate", description=translate.__doc__)
    parser.add_argument("--model", required=True, help="folder `model` of a recipe")
    parser.add_argument("--beam", type=int, help="width of the beam search (as the folder says, else 5)")
    parser.add_argument("--lenpen", type=float, help="above 1 favours longer translations (as the folder says, else 1)")
    parser.add_argument("--n-best", type=int, default=1, help="hypotheses of each line; needs --json")
    parser.add_argument("--json", action="store_true", help="a JSON object a line: pieces, hypotheses with scores")
    parser.add_argument("--max-tokens", type=int, default=4000, help="source pieces in a batch")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="cpu", help="auto: a GPU if there is one")
    parser.add_argument("--compute-dtype", help="float32, bfloat16 or int8 (as the model was made)")
    parser.add_argument("--no-shortlist", action="store_true", help="search the whole vocabulary all the same")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: one a core")
    add_trust(parser)
    return parser


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load any model that fairseq knows, not only those of text; a file never runs anything",
    )


def as_json(translation: Translation) -> str:
    hypotheses = [
        {
            "text": hypothesis.text,
            "score": round(hypothesis.score, 6),
            "pieces": hypothesis.pieces,
            "alignment": None if hypothesis.attention is None else hypothesis.alignment,
        }
        for hypothesis in translation.hypotheses
    ]
    said = {"source": translation.source, "pieces": translation.source_pieces, "hypotheses": hypotheses}
    return escape_ends(json.dumps(said, ensure_ascii=False))


def translate(words: list[str]) -> None:
    """Translates the lines of the standard input, a line out for each line in, in their order."""
    args = read_parser().parse_args(words)
    if args.n_best > 1 and not args.json:
        raise ValueError(f"--n-best {args.n_best} needs --json")
    if args.threads < 0:
        raise ValueError(f"--threads {args.threads}: must not be negative")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda", "cpu": "cpu"}[args.device]
    shortlist = False if args.no_shortlist else None
    translator = Translator.load(
        args.model,
        device=device,
        compute_dtype=args.compute_dtype,
        shortlist=shortlist,
        trust_checkpoint=args.trust_checkpoint,
    )
    search = {name: getattr(args, name) for name in ("beam", "lenpen") if getattr(args, name) is not None}
    options = {**search, "n_best": args.n_best, "max_tokens": args.max_tokens}
    translator.translate([], **options)  # so that mistakes show now
    if sys.stdin is None:
        raise ValueError("the standard input is closed: there is nothing to translate")
    if sys.stdin.isatty():
        print("Type a sentence and press Enter; Ctrl-D ends.", file=sys.stderr)
    if sys.stdout is None:
        raise ValueError("the standard output is closed: there is nowhere to write to")
    number = 0
    # Not Python's own stdin, whose lock a waiting reader would hold when the program ends.
    for lines in lines_at_hand(bounded_lines(open(0, "rb", closefd=False))):
        for translation in translator.translate(lines, skip_too_long=True, **options):
            number += 1
            if translation.too_long:
                print(f"warning: line {number} is left out: {translation.too_long}", file=sys.stderr)
            said = as_json(translation) if args.json else as_one(translation.text)
            sys.stdout.buffer.write(f"{said}\n".encode())
        sys.stdout.buffer.flush()


def quantize(words: list[str]) -> None:
    """Writes the folder of a model anew with its matrices in eight bits."""
    write_smaller(folders("quantize", quantize.__doc__, words), quantize_checkpoint)


def pack(words: list[str]) -> None:
    """Writes the folder of a pruned model anew without its zeros: a smaller file of the same model."""
    write_smaller(folders("pack", pack.__doc__, words), pack_checkpoint)


def folders(name: str, purpose: str, words: list[str]) -> argparse.Namespace:
    """The options of a command that makes a folder of another one: `model` and `output`."""
    parser = argparse.ArgumentParser(prog=f"python -m s2s_plugin {name}", description=purpose)
    parser.add_argument("--model", type=Path, required=True, help="folder `model` of a recipe")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args(words)


def write_smaller(args: argparse.Namespace, rewrite: Callable[[Path, Path], None]) -> None:
    before, after = rewrite_folder(args.model, args.output, rewrite)
    print(f"{args.output / 'model.pt'}: {after / 1e6:.1f} MB, {after / before:.2f} of {before / 1e6:.1f} MB")


def shortlist(words: list[str]) -> None:
    """Learns the candidates of a vocabulary shortlist from where a model looks in its training data."""
    parser = argparse.ArgumentParser(prog="python -m s2s_plugin shortlist", description=shortlist.__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder `model` of a recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder of fairseq-preprocess: a recipe's data-bin")
    parser.add_argument("--output", type=Path, help="file to write (MODEL/shortlist, which translations then go by)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=100, help="candidates of a source word, at most")
    add_trust(parser)
    args = parser.parse_args(words)
    if args.size < 1:
        raise ValueError(f"--size {args.size}: must be at least 1")
    translator = Translator.load(args.model, trust_checkpoint=args.trust_checkpoint)
    output = args.output or args.model / SHORTLIST
    lines = learn_lexicon(translator.model, translator.task, args.data, args.split, args.size)
    with changing(output.parent):
        write_text_in_one_step(output, "".join(f"{line}\n" for line in lines))
    print(f"{output}: {len(lines):,} candidates")


def export(words: list[str]) -> None:
    """Writes a model as ONNX graphs, with a translator that needs neither torch nor fairseq."""
    args = folders("export", export.__doc__, words)
    try:
        from .export.onnx import export_folder
    except ImportError as error:
        raise ValueError(f"{error}: pip install -e '.[export]'") from None
    size = export_folder(args.model, args.output)
    print(f"{args.output}: graphs of {size / 1e6:.1f} MB; translate with python {args.output / 'translate.py'} < text")


COMMANDS = {"translate": translate, "quantize": quantize, "pack": pack, "shortlist": shortlist, "export": export}


def usage() -> str:
    purposes = [f"  {command:10} {function.__doc__}" for command, function in COMMANDS.items()]
    last = "Without a command it prints the folder for fairseq's --user-dir."
    return "\n".join(["usage: python -m s2s_plugin COMMAND [--help]", "", *purposes, "", last])


def main(name: str, words: list[str]) -> int:
    """Runs a command and turns what it raises into a line for people. Returns the exit status."""
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"error: unknown command {name}; the commands are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 1
    logger = logging.getLogger("fairseq")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        COMMANDS[name](words)
    except (CheckpointError, OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()  # whoever read the translations has enough of them
            return 0
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        logger.setLevel(level)
    return 0
