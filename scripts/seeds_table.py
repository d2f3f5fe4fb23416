"""Prints the scores of one recipe with several seeds, their mean and the sample deviation, as a table in Markdown.

usage: seeds_table.py FOLDER SEED [SEED ...]

Each seed's scores are what its run left in FOLDER/seed-SEED/output/score.txt: lines of sacreBLEU,
`BLEU|signature = 37.28 ...`, under a line `name:` where the set is not the test set alone.
"""

import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

SCORE = re.compile(r"^(\w+)\|(\S+) = (\d+\.?\d*)")
HEADING = re.compile(r"^(\S+):$")


def read_scores(lines: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The scores by `set metric`, and the signature of each metric.

    Raises:
        ValueError: there are none.
    """
    scores, signatures, prefix = {}, {}, ""
    for line in lines:
        heading, score = HEADING.match(line), SCORE.match(line)
        if heading:
            prefix = heading.group(1) + " "
        elif score:
            metric, signature, value = score.groups()
            scores[prefix + metric] = float(value)
            signatures[metric] = signature
    if not scores:
        raise ValueError("no scores")
    return scores, signatures


def table(scores: dict[int, dict[str, float]]) -> str:
    """Args: scores of each seed, all with the same names. Returns lines of Markdown."""
    names = list(next(iter(scores.values())))
    columns = [[of_seed[name] for of_seed in scores.values()] for name in names]
    rows = [[str(seed), *(f"{of_seed[name]:.2f}" for name in names)] for seed, of_seed in scores.items()]
    if len(scores) > 1:
        rows.append(["mean", *(f"{statistics.mean(column):.2f}" for column in columns)])
        rows.append(["deviation", *(f"{statistics.stdev(column):.2f}" for column in columns)])
    head = ["| " + " | ".join(["seed", *names]) + " |", "|---" * (len(names) + 1) + "|"]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows])


def main(folder: Path, seeds: list[int]) -> None:
    scores, signatures = {}, {}
    for seed in seeds:
        path = folder / f"seed-{seed}" / "output" / "score.txt"
        try:
            scores[seed], found = read_scores(path.read_text(encoding="utf-8").splitlines())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        first = scores[seeds[0]]
        if list(scores[seed]) != list(first) or found != (signatures or found):
            raise ValueError(f"{path}: scored otherwise than seed {seeds[0]}")
        signatures = found
    print(table(scores))
    for metric, signature in signatures.items():
        print(f"\n{metric}: {signature}", end="")
    print()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
