"""Chooses from n-best lists with a length penalty and a coverage penalty, which fairseq's search lacks.

usage: fairseq-generate ... --gen-subset valid --beam 10 --nbest 10 --print-alignment soft --results-path FOLDER
       rerank.py tune FOLDER/generate-valid.txt --references FILE --tokenizer zh --save settings.json
       rerank.py apply FOLDER/generate-test.txt --settings settings.json --output FILE

The score of GNMT (Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7, equation 14), natural logarithms:

    s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
    lp(Y) = ((5 + |Y|) / (5 + 1)) ** alpha        cp(X; Y) = beta * sum_i log(min(sum_j p_ij, 1))

|Y| counts the end, as fairseq's lengths do. p_ij is the attention of target token j, the end among them, on source
token i. i runs over tokens alone: the source's end is nothing to be translated. A sum below 1e-6, the smallest weight
that fairseq prints, is taken for 1e-6. Of hypotheses that score the same, the one that the search had first is chosen.
Token scores are printed with four decimals, so that two that are closer than that may change places.

`tune` tries a grid. It is for validation sentences: what it says of sentences that were tuned on is too good, so it
also scores each tenth of them (every tenth sentence) with what is best for the other nine. The text that is scored and
written is that of the D- lines.
"""

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
from generate_output import Hypothesis, Sentence, parse_soft, read_sentences
from rerank_metrics import METRICS, TOKENIZERS, Metric, collect_statistics, make_metric

FIFTHS = [fifth / 5 for fifth in range(16)]
ALPHAS = {"gnmt": FIFTHS, "fairseq": FIFTHS, "reward": [alpha / 2 for alpha in FIFTHS]}
BETAS = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0]
PARTS = 10


class Settings(NamedTuple):
    length_penalty: str
    alpha: float
    beta: float


@dataclass
class Candidates:
    """The n-best lists of N sentences, as arrays (N, K); K is the longest list, log_prob is -inf past the end of one.

    Attributes:
        texts: of each sentence; one empty text where there is no hypothesis.
        log_prob: in nats.
        length: target tokens, with the end.
        coverage: sum_i log(min(sum_j p_ij, 1)); 0 where no alignments were read.
        untranslated: sentences without hypotheses.
    """

    texts: list[list[str]]
    log_prob: numpy.ndarray
    length: numpy.ndarray
    coverage: numpy.ndarray
    untranslated: int


def coverage(weights: numpy.ndarray) -> float:
    """Equation 14 without beta. Args: weights (T, S) of target tokens on source tokens, the last column on the end."""
    return float(numpy.log(numpy.clip(weights[:, :-1].sum(0), 1e-6, 1)).sum())


def read_candidates(sentences: dict[int, Sentence], numbers: list[int], with_coverage: bool) -> Candidates:
    """The hypotheses of the sentences `numbers`, in that order.

    Raises:
        ValueError: token scores or, if they are wanted, alignments are missing or do not fit.
    """
    lists = [sentences[number].hypotheses if number in sentences else [] for number in numbers]
    shape = len(lists), max([1, *map(len, lists)])
    found = Candidates([], numpy.full(shape, -numpy.inf), numpy.ones(shape), numpy.zeros(shape), 0)
    for row, (number, hypotheses) in enumerate(zip(numbers, lists, strict=True)):
        found.untranslated += not hypotheses
        found.texts.append([hypothesis.text or hypothesis.tokens for hypothesis in hypotheses] or [""])
        for column, hypothesis in enumerate(hypotheses):
            if not hypothesis.token_scores:
                raise ValueError(f"sentence {number}: a hypothesis without its P- line of token scores")
            found.log_prob[row, column] = sum(hypothesis.token_scores) * math.log(2)
            found.length[row, column] = len(hypothesis.token_scores)
            if with_coverage:
                found.coverage[row, column] = coverage(read_weights(number, hypothesis))
            if math.isnan(found.log_prob[row, column] + found.coverage[row, column]):
                raise ValueError(f"sentence {number}: token scores or weights that are no numbers (nan)")
    return found


def read_weights(number: int, hypothesis: Hypothesis) -> numpy.ndarray:
    if hypothesis.alignment is None:
        raise ValueError(
            f"sentence {number}: no alignments (A- lines), which a coverage penalty needs: give fairseq-generate "
            "--print-alignment soft, or do without (tune --betas 0, apply --beta 0)"
        )
    try:
        weights = parse_soft(hypothesis.alignment)
    except ValueError as error:
        raise ValueError(f"sentence {number}: {error}") from None
    # A symbol that is never printed, as <s> in a sample, has a score and no row; the words and the end have both.
    scores, words = len(hypothesis.token_scores), len(hypothesis.tokens.split())
    if len(weights) != scores and not words + 1 == len(weights) < scores:
        raise ValueError(f"sentence {number}: {scores} token scores, {len(weights)} rows of weights")
    return weights


def penalised(candidates: Candidates, settings: Settings) -> numpy.ndarray:
    """The score (N, K) of every hypothesis: equation 14, or with another length penalty."""
    form, alpha, beta = settings
    if form == "gnmt":
        score = candidates.log_prob / ((5 + candidates.length) / (5 + 1)) ** alpha
    elif form == "fairseq":
        score = candidates.log_prob / candidates.length**alpha
    elif form == "reward":
        score = candidates.log_prob + alpha * candidates.length
    else:
        raise ValueError(f"length penalty {form!r}: must be one of {', '.join(ALPHAS)}")
    return score + beta * candidates.coverage


def choose(candidates: Candidates, settings: Settings) -> numpy.ndarray:
    """The column (N,) of each sentence's best hypothesis; the first of equals."""
    return penalised(candidates, settings).argmax(1)


class Tuned(NamedTuple):
    """What a grid search found.

    Attributes:
        rows: settings with their score and the sums of the statistics, best first; of equals, the smaller penalties.
        first: sums of the statistics of the search's own first hypotheses.
        crossed: the same of those that are chosen in each tenth of the sentences by what is best for the others.
    """

    rows: list[tuple[Settings, float, numpy.ndarray]]
    first: numpy.ndarray
    crossed: numpy.ndarray


def search_grid(statistics: numpy.ndarray, metric: Metric, candidates: Candidates, grid: list[Settings]) -> Tuned:
    """Scores what each of the settings chooses. Args: statistics (N, K, F); a grid that begins with small penalties."""
    places = numpy.arange(len(statistics))
    parts = min(PARTS, len(statistics))
    of_part = numpy.empty((len(grid), parts, statistics.shape[2]), statistics.dtype)
    for point, settings in enumerate(grid):
        chosen = statistics[places, choose(candidates, settings)]
        of_part[point] = [chosen[part::parts].sum(0) for part in range(parts)]
    sums = of_part.sum(1)
    scores = [metric.score(of_point) for of_point in sums]
    order = sorted(range(len(grid)), key=lambda point: -scores[point])
    crossed = numpy.zeros_like(sums[0])
    for part in range(parts):
        others = [metric.score(of_point) for of_point in sums - of_part[:, part]]
        crossed += of_part[others.index(max(others)), part]
    return Tuned([(grid[point], scores[point], sums[point]) for point in order], statistics[:, 0].sum(0), crossed)


def report(metric: Metric, tuned: Tuned, count: int = 5) -> str:
    """A table in Markdown and the scores in full."""
    first, best = metric.score(tuned.first), tuned.rows[0]
    lines = [f"| | alpha | beta | {metric.name} |", "|---|---|---|---|", f"| first of the search | | | {first:.2f} |"]
    alone = next((row for row in tuned.rows if row[0].beta == 0), None)
    if alone is not None:
        lines.append(f"| length penalty alone | {alone[0].alpha:g} | 0 | {alone[1]:.2f} |")
    for place, (settings, score, _) in enumerate(tuned.rows[:count], start=1):
        lines.append(f"| {place} | {settings.alpha:g} | {settings.beta:g} | {score:.2f} |")
    lines += ["", f"first of the search: {metric.describe(tuned.first)}", f"best: {metric.describe(best[2])}"]
    lines.append(f"each tenth with what is best for the others: {metric.describe(tuned.crossed)}")
    if metric.score(tuned.crossed) <= first:
        lines.append("no gain on sentences that were not tuned on: keep the search's own order")
    for name in ("alpha", "beta"):
        tried = sorted({getattr(row[0], name) for row in tuned.rows})
        if len(tried) > 1 and getattr(best[0], name) == tried[-1]:
            lines.append(f"the best {name} is the largest tried: try larger ones with --{name}s")
    return "\n".join(lines)


def read_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if lines == [""]:
        raise ValueError(f"{path} is empty")
    return lines


def read_generated(path: Path, references: list[str] | None) -> dict[int, Sentence]:
    """Raises: ValueError if there are no hypotheses, or a sentence that the references do not have."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        sentences = read_sentences(lines)
    if not any(sentence.hypotheses for sentence in sentences.values()):
        raise ValueError(f"{path} holds no hypotheses (H- lines) of fairseq-generate")
    if references is not None and max(sentences) >= len(references):
        raise ValueError(f"{path} has a sentence {max(sentences)}, the references {len(references)} lines, from 0")
    return sentences


def check_folder(option: str, path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}")


def tune(args: argparse.Namespace) -> None:
    check_folder("--save", args.save)
    metric = make_metric(args.metric, args.tokenizer)
    references = read_lines(args.references) if args.references else None
    sentences = read_generated(args.generated, references)
    if references is None:
        targets = {number: sentences[number].target for number in sorted(sentences) if sentences[number].target}
        numbers, references = list(targets), list(targets.values())
        print("references: the T- lines, tokenised as the model's texts, unknown words as <<unk>>", file=sys.stderr)
    else:
        numbers = list(range(len(references)))
    if len(numbers) < 2:
        raise ValueError(f"{len(numbers)} sentences with references are too few: give --references FILE")
    candidates = read_candidates(sentences, numbers, any(args.betas))
    if candidates.log_prob.shape[1] == 1:
        raise ValueError(f"{args.generated} has one hypothesis a sentence: give fairseq-generate --beam 10 --nbest 10")
    found = sum(map(len, candidates.texts)) - candidates.untranslated
    print(f"{len(numbers)} sentences, {found} hypotheses, {candidates.untranslated} sentences without any;", end=" ")
    print(f"length penalty {args.length_penalty}\n", flush=True)
    alphas = sorted(args.alphas or ALPHAS[args.length_penalty])
    grid = [Settings(args.length_penalty, alpha, beta) for beta in sorted(args.betas) for alpha in alphas]
    tuned = search_grid(collect_statistics(metric, candidates.texts, references), metric, candidates, grid)
    print(report(metric, tuned))
    if args.save:
        settings, _, sums = tuned.rows[0]
        scores = {"tuned": metric.describe(sums), "first of the search": metric.describe(tuned.first)}
        save(args.save, json.dumps(settings._asdict() | scores, indent=2) + "\n")


def save(path: Path, text: str) -> None:
    """Writes a text beside `path` and renames it: a full disk leaves the old file. Raises OSError with its name."""
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def load_settings(path: Path) -> Settings:
    """Raises: ValueError if the file is not what `tune --save` writes."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        settings = Settings(values["length_penalty"], number_from_0(values["alpha"]), number_from_0(values["beta"]))
    except (ValueError, KeyError, TypeError, argparse.ArgumentTypeError) as error:
        raise ValueError(f"{path}: not settings that tune --save wrote: {error!r}") from None
    if settings.length_penalty not in ALPHAS:
        raise ValueError(f"{path}: length penalty {settings.length_penalty!r}: must be one of {', '.join(ALPHAS)}")
    return settings


def apply(args: argparse.Namespace) -> None:
    given = {args.length_penalty, args.alpha, args.beta} != {None}
    if given == (args.settings is not None):
        raise ValueError("give either --settings FILE, or some of --length-penalty, --alpha, --beta")
    if args.references is None and (args.metric or args.tokenizer):
        raise ValueError("--metric and --tokenizer are for a score: give --references FILE")
    settings = Settings(args.length_penalty or "gnmt", args.alpha or 0, args.beta or 0)
    if args.settings is not None:
        settings = load_settings(args.settings)
    check_folder("--output", args.output)
    metric = make_metric(args.metric or "bleu", args.tokenizer)
    references = read_lines(args.references) if args.references else None
    sentences = read_generated(args.generated, references)
    numbers = list(range(len(references) if references else max(sentences) + 1))
    candidates = read_candidates(sentences, numbers, settings.beta > 0)
    columns = choose(candidates, settings)
    texts = [of_sentence[column] for of_sentence, column in zip(candidates.texts, columns, strict=True)]
    args.output.write_text("".join(text + "\n" for text in texts), encoding="utf-8", newline="\n")
    print(f"{len(texts)} sentences, {(columns > 0).sum()} of them not the first of the search", end=", ")
    print(f"{candidates.untranslated} empty for want of hypotheses")
    if references:
        print(metric.describe(collect_statistics(metric, [[text] for text in texts], references).sum((0, 1))))


def number_from_0(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0")
    return number


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "tune": "finds settings on validation sentences, never on test sentences",
        "apply": "writes what is chosen",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("generated", type=Path, help="of fairseq-generate --nbest N with --remove-bpe or --bpe")
        command.add_argument("--references", type=Path, help="one a line (tune: the T- lines)")
        command.add_argument("--metric", choices=METRICS, help="(bleu)", default="bleu" if name == "tune" else None)
        command.add_argument("--tokenizer", choices=TOKENIZERS, help="of sacreBLEU (13a; rouge-l: its own)")
        command.add_argument(
            "--length-penalty", choices=list(ALPHAS), default="gnmt" if name == "tune" else None,
            help="log P divided by lp(Y) (gnmt, the default) or |Y| ** alpha (fairseq), or plus alpha * |Y| (reward)",
        )  # fmt: skip
    tuning, applying = commands.choices["tune"], commands.choices["apply"]
    tuning.add_argument("--alphas", type=number_from_0, nargs="+", help="to try")
    tuning.add_argument("--betas", type=number_from_0, nargs="+", default=BETAS, help="to try; 0: no alignments needed")
    tuning.add_argument("--save", type=Path, help="the settings, as JSON")
    applying.add_argument("--settings", type=Path, help="what tune --save wrote")
    applying.add_argument("--alpha", type=number_from_0, help="(0)")
    applying.add_argument("--beta", type=number_from_0, help="(0)")
    applying.add_argument("--output", type=Path, required=True, help="for the texts, in the order of the corpus")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    {"tune": tune, "apply": apply}[args.command](args)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
