"""Prints the error rates of all languages, their mean, and the minutes of training, from what the recipe left.

usage: report.py --work FOLDER --split dev|test --languages LANG ... --seeds N ...

With several seeds a rate is a mean and its standard deviation over them.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

# The last line of `fairseq-generate --scoring error_rate`.
RESULT = re.compile(r": sequence error rate \S+ % \((\d+)/(\d+)\), token error rate \S+ % \((\d+)/(\d+)\)$")
RECORD = re.compile(r"\| INFO \| train \| (\{.*\})$")


class Result(NamedTuple):
    """Of one language and one seed."""

    words: int
    word_error_rate: float  # percent
    phoneme_error_rate: float  # percent
    minutes: float


def read_rates(path: Path) -> tuple[int, float, float]:
    """Number of words, word and phoneme error rate in percent.

    Raises:
        ValueError: fairseq-generate has not come to its end there.
    """
    last = path.read_text(encoding="utf-8").rstrip("\n").rsplit("\n", 1)[-1]
    found = RESULT.search(last)
    if found is None:
        raise ValueError(f"{path} does not end with error rates")
    wrong, words, edits, phonemes = map(int, found.groups())
    return words, 100 * wrong / words, 100 * edits / phonemes


def training_minutes(lines) -> float:
    """Minutes to the last epoch, from the log of fairseq-train.

    After an interruption fairseq's clock begins anew: each run counts up to its last finished epoch.
    """
    seconds, previous = 0.0, 0.0
    for line in lines:
        record = RECORD.search(line)
        if record:
            now = float(json.loads(record.group(1))["train_wall"])
            seconds += now - previous if now >= previous else now
            previous = now
    return seconds / 60


def read_result(work: Path, language: str, seed: int, split: str) -> Result:
    # fairseq's name for the development set is `valid`.
    subset = "valid" if split == "dev" else split
    rates = read_rates(work / language / f"seed-{seed}" / f"generate-{subset}.txt")
    with (work / "logs" / f"train-{language}-{seed}.log").open(encoding="utf-8") as log:
        return Result(*rates, training_minutes(log))


def format_mean(values: list[float]) -> str:
    """The mean, and for several values `± deviation` (of a sample)."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def table(results: dict[str, list[Result]]) -> str:
    """Args: results by language, one a seed, in the same order of seeds. Returns lines of aligned columns.

    The mean's deviation is that of the languages' mean over the seeds.
    """
    rows = [("language", "words", "WER %", "PER %", "minutes")]
    for language, seeds in results.items():
        rows.append((language, str(seeds[0].words), *format_rates(seeds)))
    means = [Result(*map(statistics.mean, zip(*seeds, strict=True))) for seeds in zip(*results.values(), strict=True)]
    rows.append(("mean", "", *format_rates(means)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )


def format_rates(seeds: list[Result]) -> tuple[str, str, str]:
    return (
        format_mean([result.word_error_rate for result in seeds]),
        format_mean([result.phoneme_error_rate for result in seeds]),
        f"{statistics.mean(result.minutes for result in seeds):.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", choices=("dev", "test"), required=True)
    parser.add_argument("--languages", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    args = parser.parse_args()
    results = {
        language: [read_result(args.work, language, seed, args.split) for seed in args.seeds]
        for language in args.languages
    }
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
