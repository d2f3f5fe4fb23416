"""Makes a student's training text of a model's translations: sequence-level distillation.

usage: teach.py --model FOLDER --source TEXT --target TEXT --done FILE [--beside] [--device cuda]

A student that learns from the best translations of its teacher's beam search has less to learn than from people's, who
say the same thing in many ways (Kim and Rush 2016, https://aclanthology.org/D16-1139, sec. 3.2). SOURCE.taught and
TARGET.taught are the student's text, with them in the place of people's; with --beside every source sentence comes
twice, with its own translation and with the teacher's. What the teacher leaves empty is people's. --done keeps what is
translated, so that an interrupted run goes on from there.
"""

import argparse
import logging
import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))
from s2s_plugin import Translator  # noqa: E402
from s2s_plugin.checkpoints import CheckpointError  # noqa: E402
from s2s_plugin.saving import SaveError, write_text_in_one_step  # noqa: E402

LINES = 1000


def read(path: Path) -> list[str]:
    """The whole lines of a file, without what an interruption left behind the last of them."""
    # splitlines would also split at characters that are no ends of lines.
    return [line.decode() for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def write(path: Path, lines: list[str]) -> None:
    write_text_in_one_step(path, "".join(f"{line}\n" for line in lines))


def append(path: Path, lines: list[str]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise SaveError(path, error) from None


def teach(translator: Translator, source: Path, target: Path, done: Path, beside: bool) -> tuple[int, int, int]:
    """Writes the student's text: see above.

    Returns how many lines there are, how many of them were left as they were, and how many came out the same.
    Raises ValueError where the texts have different numbers of lines, SaveError where there is no room for its text.
    """
    lines, references = read(source), read(target)
    if len(lines) != len(references):
        raise ValueError(f"{source} has {len(lines)} lines and {target} {len(references)}")
    translations = read(done)
    finished = len(translations) // LINES * LINES
    del translations[finished:]
    write(done, translations)
    with tqdm(total=len(lines), initial=finished, unit=" sentences", disable=None, mininterval=1) as bar:
        for start in range(finished, len(lines), LINES):
            found = [one.text for one in translator.translate(lines[start : start + LINES], skip_too_long=True)]
            translations += found
            append(done, found)
            bar.update(len(found))
    chosen = [line or reference for line, reference in zip(translations, references, strict=True)]
    write(source.with_name(source.name + ".taught"), lines + lines if beside else lines)
    write(target.with_name(target.name + ".taught"), references + chosen if beside else chosen)
    same = sum(line == reference for line, reference in zip(translations, references, strict=True))
    return len(lines), translations.count(""), same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder `model` of a recipe")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--beside", action="store_true", help="keep people's translations, too")
    parser.add_argument("--trust-checkpoint", action="store_true", help="load any model that fairseq knows")
    for name in ("source", "target", "done"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    translator = Translator.load(args.model, device=args.device, trust_checkpoint=args.trust_checkpoint)
    count, empty, same = teach(translator, args.source, args.target, args.done, args.beside)
    print(f"{count:,} sentences, {same:,} as the references, {empty:,} left as they were")


if __name__ == "__main__":
    try:
        main()
    except (CheckpointError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
