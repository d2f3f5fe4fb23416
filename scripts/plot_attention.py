"""Draws attention: heat maps as PNG, SVG or PDF, or an HTML page that shows the weights when pointing at words.

usage: plot_attention.py GENERATED --output OUTPUT [options]
       plot_attention.py --model MODEL [--data DATA] [SENTENCES] --output OUTPUT [options] [-- OPTIONS]

GENERATED is what fairseq-generate or fairseq-interactive printed with --print-alignment soft. Or give a model: a folder
that the recipe of scripts/en_zh left, or a checkpoint and DATA, the folder of its dictionaries. The model then
translates SENTENCES, one a line: raw text for a folder; for a checkpoint pieces, or what OPTIONS of fairseq-interactive
turn into pieces (-- --bpe sentencepiece --sentencepiece-model en.model). Without a file, the standard input is read.

OUTPUT says by its ending what is made: .png and .svg hold one sentence; .pdf a page for each; .html all, without
matplotlib. A name without an ending is a folder, which gets a picture for each sentence: sentence-7.png.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attention_page import make_page
from attention_weights import Attention, merge_pieces, read_attentions
from pieces import SCHEMES
from show_progress import last_error

USER_DIR = Path(__file__).resolve().parents[1] / "s2s_plugin"
KINDS = ("png", "svg", "pdf", "html")
INTERACTIVE = (sys.executable, "-P", "-m", "fairseq_cli.interactive")


def parse_options(words: list[str]) -> Namespace:
    # The description has the usage.
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("input", nargs="?", default="-", metavar="GENERATED or SENTENCES", help="a file; -: stdin [-]")
    parser.add_argument("--output", type=Path, required=True, help="a file .png, .svg, .pdf or .html, or a folder")
    parser.add_argument("--format", help="of pictures in a folder: png, svg or pdf [png]")
    parser.add_argument("--sentences", help="numbers in the corpus, from 0: 0,3,7 [all]")
    parser.add_argument("--nbest", type=int, default=1, help="hypotheses of a sentence, at most [1]")
    parser.add_argument(
        "--post-process",
        help="how pieces are marked, to join them to words: sentencepiece, subword_nmt or @@, or none "
        "[none; sentencepiece for a folder of a recipe]",
    )
    parser.add_argument("--title", default="", help="above the picture, or of the page")
    parser.add_argument("--font", type=Path, help="a font file, to use before those that are found")
    parser.add_argument("--model", type=Path, help="a checkpoint, or a folder of a recipe")
    parser.add_argument("--data", type=Path, help="folder of the checkpoint's dictionaries")
    place = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    return options


# --- checks, before time is spent ---


def check(options: Namespace) -> None:
    """Sets `kind` (one of `KINDS`), `is_folder`, `numbers` (or None) and `scheme`.

    Raises:
        ValueError: a value that cannot be; the message has it, and those that can.
    """
    options.is_folder, options.kind = kind_of_output(options.output, options.format)
    if not options.is_folder and not options.output.absolute().parent.is_dir():
        raise ValueError(f"--output {options.output}: no folder {options.output.parent}")
    if options.kind == "html" and options.font:
        raise ValueError(f"--font {options.font}: goes with pictures; a browser finds its fonts itself")
    options.numbers = numbers_of(options.sentences)
    if options.nbest < 1:
        raise ValueError(f"--nbest {options.nbest}: must be at least 1")
    is_recipe = options.model is not None and options.model.is_dir()
    options.scheme = (options.post_process or ("sentencepiece" if is_recipe else "none")).strip()
    if options.scheme not in SCHEMES:
        raise ValueError(f"--post-process {options.scheme}: choose from {', '.join(SCHEMES)}")
    if options.model is None and (options.data or options.extra):
        raise ValueError(f"{'--data' if options.data else '--'} goes with --model")
    if options.input != "-" and not Path(options.input).is_file():
        raise ValueError(f"no file {options.input}")
    if options.font and not options.font.is_file():
        raise ValueError(f"--font {options.font}: no such file")


def kind_of_output(output: Path, of_folder: str | None) -> tuple[bool, str]:
    """Whether the output is a folder, and what is written: one of `KINDS`."""
    ending = output.suffix.removeprefix(".").lower()
    if output.is_dir() or not ending:
        kind = of_folder or "png"
        if kind not in KINDS[:-1]:
            raise ValueError(f"--format {kind}: choose from {', '.join(KINDS[:-1])}")
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output {output}: is a file; end it in .{', .'.join(KINDS)}, or name a folder")
        return True, kind
    if ending not in KINDS:
        raise ValueError(f"--output {output}: the ending .{ending} is unknown; choose from .{', .'.join(KINDS)}")
    if of_folder:
        raise ValueError(f"--format {of_folder}: goes with a folder; {output} says its format itself")
    return False, ending


def numbers_of(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise ValueError(f"--sentences {text}: give numbers from 0, with commas between: 0,3,7")
    return list(dict.fromkeys(int(number) for number in numbers))


# --- the weights ---


def read_lines(options: Namespace) -> list[str]:
    """The lines of the input; only \\n ends one."""
    if options.input != "-":
        data = Path(options.input).read_bytes()
    else:
        if sys.stdin.isatty():
            print("Reading the standard input; Ctrl-D ends it.", file=sys.stderr)
        data = sys.stdin.buffer.read()
    return data.decode("utf-8", errors="replace").removesuffix("\n").split("\n")


def find_attentions(options: Namespace) -> list[Attention]:
    """Those that the options ask for, of words where pieces are to be joined."""
    name = "the standard input" if options.input == "-" else options.input
    if options.model:
        command = interactive_command(options)
        lines = [" ".join(line.split()) for line in read_lines(options)]
        numbers = list(range(len(lines))) if options.numbers is None else options.numbers
        missing = [number for number in numbers if number >= len(lines)]
        if missing:
            raise ValueError(f"--sentences {missing[0]}: {name} has sentences 0 to {len(lines) - 1}")
        require_room(options, len(numbers))
        printed = translate(command, [lines[number] for number in numbers])
        attentions = read_or_say(printed, None, options.nbest, "fairseq-interactive's output")
        for attention in attentions:
            attention.number = numbers[attention.number]
    else:
        attentions = read_or_say(read_lines(options), options.numbers, options.nbest, name)
    return [merge_pieces(attention, options.scheme) for attention in attentions]


def read_or_say(lines: list[str], numbers: list[int] | None, nbest: int, name: str) -> list[Attention]:
    try:
        return read_attentions(lines, numbers, nbest)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def interactive_command(options: Namespace) -> list[str]:
    """Raises ValueError unless there are a model and its dictionaries."""
    model, data = options.model, options.data
    words = []
    if model.is_dir():
        if data:
            raise ValueError(f"--data {data}: goes with a checkpoint; {model} is a folder and has its dictionaries")
        if not (model / "model.pt").is_file() or not (model / "languages").is_file():
            raise ValueError(
                f"--model {model}: no model.pt and languages there; give a recipe's folder or a checkpoint"
            )
        sys.path.append(str(USER_DIR))
        from folder import check_folder, read_languages  # by itself it needs no torch

        check_folder(model)
        src_lang, tgt_lang = read_languages(model / "languages")
        words += ["--source-lang", src_lang, "--target-lang", tgt_lang]
        words += ["--bpe", "sentencepiece", "--sentencepiece-model", str(model / f"{src_lang}.model")]
        words += ["--lenpen", "1.4", "--max-len-a", "2", "--max-len-b", "10"]  # as translate.sh
        model, data = model / "model.pt", model
    elif not model.is_file():
        raise ValueError(f"--model {model}: no such file or folder")
    elif not data:
        raise ValueError(f"--model {model}: is a checkpoint; give the folder of its dictionaries with --data")
    elif not list(data.glob("dict.*.txt")):
        raise ValueError(f"--data {data}: no dict.*.txt there; give the --destdir of fairseq-preprocess")
    return [
        *(*INTERACTIVE, str(data), "--path", str(model), "--user-dir", str(USER_DIR), "--task", "attn_translation"),
        *("--print-alignment", "soft", "--beam", str(max(5, options.nbest)), "--nbest", str(options.nbest), "--cpu"),
        *("--buffer-size", "32", "--batch-size", "32", *words, *options.extra),
    ]


def translate(command: list[str], lines: list[str]) -> list[str]:
    """What fairseq-interactive prints for the lines. Raises ValueError with its error when it fails."""
    # The log is a file: a pipe that nobody reads meanwhile would fill up.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        text = "".join(line + "\n" for line in lines)
        environment = dict(os.environ, PYTHONUTF8="1")
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", errors="replace", env=environment
        )
        if done.returncode:
            log.seek(0)
            raise ValueError("fairseq-interactive failed:\n  " + "\n  ".join(last_error(log)))
    return done.stdout.split("\n")


# --- writing ---


def name_of(attention: Attention, options: Namespace) -> str:
    rank = f", hypothesis {attention.rank}" if options.nbest > 1 else ""
    return f"Sentence {attention.number}{rank}"


def write(attentions: list[Attention], options: Namespace) -> None:
    """Writes the files; none of them is ever seen half-written."""
    if options.kind == "html":
        named = [(f"{name_of(attention, options)} ({attention.score:.2f})", attention) for attention in attentions]
        with replacing(options.output) as path:
            path.write_text(make_page(named, options.title or "Attention"), encoding="utf-8")
        return
    from attention_picture import fonts_of, save_pages, save_picture

    require_room(options, len(attentions))
    titled = [(attention, title_of(attention, options, len(attentions))) for attention in attentions]
    families = fonts_of(titled, options.font)
    if options.kind == "pdf" and not options.is_folder:
        with replacing(options.output) as path:
            save_pages(path, titled, families)
        return
    if options.is_folder:
        options.output.mkdir(parents=True, exist_ok=True)
    for attention, title in titled:
        rank = f"-{attention.rank}" if options.nbest > 1 else ""
        name = f"sentence-{attention.number}{rank}.{options.kind}"
        with replacing(options.output / name if options.is_folder else options.output) as path:
            save_picture(path, options.kind, attention, title, families)


def require_room(options: Namespace, count: int) -> None:
    """Raises ValueError if so many pictures are too many for the output."""
    if count > 1 and options.kind in ("png", "svg") and not options.is_folder:
        raise ValueError(
            f"--output {options.output}: holds one picture, but there are {count}; choose one with --sentences 0, or "
            "give a folder, a .pdf or an .html"
        )


def title_of(attention: Attention, options: Namespace, count: int) -> str:
    return ": ".join(part for part in (options.title, name_of(attention, options) if count > 1 else "") if part)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which then takes the place of `path`."""
    new = path.with_name(path.name + ".new")
    try:
        yield new
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'pictures need matplotlib: pip install -e ".[plots]"; an --output that ends in .html needs none'
        ) from error


def main() -> None:
    options = parse_options(sys.argv[1:])
    check(options)
    if options.kind != "html":
        require_matplotlib()
    write(find_attentions(options), options)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
