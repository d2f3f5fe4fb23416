"""Scores of a corpus from statistics that add up over its sentences, so that many choices of texts are scored fast."""

import numpy
from sacrebleu.metrics import BLEU, CHRF

METRICS = ["bleu", "chrf", "rouge-l"]
TOKENIZERS = list(BLEU.TOKENIZERS)


class SacreBLEU:
    """BLEU or chrF2 of a corpus from statistics that add up over sentences: those that sacreBLEU itself sums."""

    def __init__(self, metric: BLEU | CHRF):
        self.metric, self.name = metric, "BLEU" if isinstance(metric, BLEU) else "chrF2"

    def statistics(self, reference: str, texts: set[str]) -> dict[str, list[float]]:
        # No public function gives those of chrF, nor counts a reference once for all texts.
        metric, counted = self.metric, self.metric._cache_references([[reference]])[0]
        return {text: metric._compute_segment_statistics(metric._preprocess_segment(text), counted) for text in texts}

    def score(self, sums: numpy.ndarray) -> float:
        return self.metric._compute_score_from_stats(sums.tolist()).score

    def describe(self, sums: numpy.ndarray) -> str:
        score = self.metric._compute_score_from_stats(sums.tolist())
        return score.format(signature=str(self.metric.get_signature()))


class RougeL:
    """F-measure of the longest common subsequence (Lin 2004), mean of the sentences, in percent.

    Args:
        tokenizer: sacreBLEU's name of one; None: that of `rouge_score`, which drops all but a-z and 0-9.
    """

    name = "ROUGE-L"

    def __init__(self, tokenizer: str | None):
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError:
            raise ValueError("--metric rouge-l needs the package rouge-score: pip install rouge-score") from None
        self.signature = f"tok:{tokenizer or 'rouge_score'}"
        self.split = make_bleu(tokenizer).tokenizer if tokenizer else None
        self.scorer = RougeScorer(["rougeL"], tokenizer=self if tokenizer else None)

    def tokenize(self, text: str) -> list[str]:
        return self.split(text).split()

    def statistics(self, reference: str, texts: set[str]) -> dict[str, list[float]]:
        return {text: [self.scorer.score(reference, text)["rougeL"].fmeasure, 1] for text in texts}

    def score(self, sums: numpy.ndarray) -> float:
        return float(100 * sums[0] / sums[1])

    def describe(self, sums: numpy.ndarray) -> str:
        return f"{self.name}|{self.signature} = {self.score(sums):.2f}"


Metric = SacreBLEU | RougeL


def make_bleu(tokenizer: str | None) -> BLEU:
    try:
        return BLEU(tokenize=tokenizer, force=True)
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"--tokenizer {tokenizer}: {' '.join(str(error).split())}") from None


def make_metric(name: str, tokenizer: str | None) -> Metric:
    """Raises: ValueError if the metric has no tokenizer or a package is missing."""
    if name == "rouge-l":
        return RougeL(tokenizer)
    if name == "chrf":
        if tokenizer:
            raise ValueError(f"--tokenizer {tokenizer}: chrf takes characters; bleu and rouge-l have a tokenizer")
        return SacreBLEU(CHRF())
    return SacreBLEU(make_bleu(tokenizer))


def collect_statistics(metric: Metric, texts: list[list[str]], references: list[str]) -> numpy.ndarray:
    """The metric's statistics (N, K, F) of every text, 0 past the end of a list."""
    rows = []
    for list_, reference in zip(texts, references, strict=True):
        # A list can hold one text twice, in different pieces.
        of_text = metric.statistics(reference, set(list_))
        rows.append([of_text[text] for text in list_])
    width, padding = max(map(len, rows)), [0] * len(rows[0][0])
    return numpy.array([row + [padding] * (width - len(row)) for row in rows])
