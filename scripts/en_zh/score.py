"""Scores the output of fairseq-generate with sacreBLEU against the original references.

usage: score.py --generated FILE --references FILE --tokenizer NAME --hypotheses FILE

Writes the translations in the order of the references to --hypotheses, and prints BLEU and chrF2 with their signatures.
"""

import argparse
import sys
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF


def read_hypotheses(lines, count: int) -> tuple[list[str], int]:
    """The best translation of each sentence, in their original order.

    Args:
        lines: what fairseq-generate printed, `--remove-bpe` applied.
        count: number of sentences.

    Returns:
        The translations, and how many sentences got none (fairseq leaves out what is too long): theirs is empty.
    """
    found = {}
    for line in lines:
        if line.startswith("H-"):
            name, _, text = line.rstrip("\n").split("\t", 2)
            found.setdefault(int(name[2:]), text)  # the first of several is the best
    return [found.get(index, "") for index in range(count)], count - len(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--hypotheses", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    args = parser.parse_args()
    references = args.references.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    with args.generated.open(encoding="utf-8", newline="\n") as lines:
        hypotheses, untranslated = read_hypotheses(lines, len(references))
    try:
        args.hypotheses.write_text("".join(h + "\n" for h in hypotheses), encoding="utf-8")
    except OSError as error:
        sys.exit(f"error: {args.hypotheses}: {error.strerror}")
    if untranslated:
        print(f"{untranslated} of {len(references)} sentences were not translated", file=sys.stderr)
    # sacreBLEU warns of text that looks tokenised; with `none` it is meant to be.
    for metric in (BLEU(tokenize=args.tokenizer, force=args.tokenizer == "none"), CHRF()):
        score = metric.corpus_score(hypotheses, [references])
        print(score.format(signature=str(metric.get_signature())))


if __name__ == "__main__":
    main()
