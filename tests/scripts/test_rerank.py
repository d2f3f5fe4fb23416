"""The penalties by hand, what sacreBLEU says of the same texts, and the commands from a file to a file."""

import json
import math
import random
import subprocess
import sys

import numpy
import pytest
from sacrebleu.metrics import BLEU, CHRF

from tests.disks import small_disk

from .loading import SCRIPTS, load_script

load_script("generate_output.py")
metrics = load_script("rerank_metrics.py")
rerank = load_script("rerank.py")

GNMT = rerank.Settings("gnmt", 0.0, 0.0)


def block(number, hypotheses, target=None, lenpen=1.0):
    """Lines of one sentence. Args: hypotheses: text, scores of its tokens in bits, and weights (T, S) or None."""
    lines = [f"S-{number}\tsource"] + ([f"T-{number}\t{target}"] if target else [])
    for text, scores, weights in hypotheses:
        score = sum(scores) / len(scores) ** lenpen
        lines += [f"H-{number}\t{score}\t{text}", f"D-{number}\t{score}\t{text}"]
        lines.append(f"P-{number}\t" + " ".join(f"{score:.4f}" for score in scores))
        if weights is not None:
            lines.append(f"A-{number}\t" + " ".join(",".join(f"{weight:.6f}" for weight in row) for row in weights))
    return lines


def candidates_of(lines, numbers=(0,), with_coverage=True):
    return rerank.read_candidates(rerank.read_sentences(lines), list(numbers), with_coverage)


def test_equation_14_by_hand():
    # Two source tokens and the end; the first is looked at with more than 1, the second with 0.25 + 0.125 + 0.125.
    weights = [[0.75, 0.25, 0.0], [0.5, 0.125, 0.375], [0.0, 0.125, 0.875]]
    found = candidates_of(block(0, [("x y", [-1, -2, -3], weights)]))
    assert found.log_prob[0, 0] == pytest.approx(-6 * math.log(2))
    assert (found.length[0, 0], found.coverage[0, 0]) == (3, pytest.approx(math.log(0.5)))
    # ((5 + 3) / 6) ** 2 = 16 / 9
    score = rerank.penalised(found, rerank.Settings("gnmt", 2.0, 0.5))
    assert score == pytest.approx(numpy.array([[-6 * math.log(2) * 9 / 16 + 0.5 * math.log(0.5)]]))


@pytest.mark.parametrize("form, expected", [("gnmt", -2 - 0.1), ("fairseq", -4 / 19**0.5 - 0.1), ("reward", 5.5 - 0.1)])
def test_length_penalties(form, expected):
    found = rerank.Candidates([["x"]], *(numpy.array([[number]]) for number in (-4.0, 19.0, -0.5)), 0)
    assert rerank.penalised(found, rerank.Settings(form, 0.5, 0.2))[0, 0] == pytest.approx(expected)


def test_a_source_token_that_nothing_looks_at_costs_a_finite_amount():
    found = candidates_of(block(0, [("x", [-1, -1], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])]))
    assert found.coverage[0, 0] == pytest.approx(math.log(1e-6))
    # A source of the end alone has nothing to cover.
    assert rerank.coverage(numpy.ones((2, 1))) == 0


def nbest(rng, sentences, hypotheses, lenpen):
    """Random sentences, whose lists are in the order of fairseq's length penalty, as the search has them."""
    lines = []
    for number in range(sentences):
        items = []
        for _ in range(hypotheses):
            words = rng.choices("abcdefg", k=rng.randint(1, 9))
            items.append((" ".join(words), [round(-rng.uniform(0.01, 4), 4) for _ in range(len(words) + 1)], None))
        items.sort(key=lambda item: sum(item[1]) / len(item[1]) ** lenpen, reverse=True)
        lines += block(number, items, lenpen=lenpen)
    return lines


@pytest.mark.parametrize("lenpen", [0.0, 1.0, 1.4])
def test_the_search_s_own_penalty_chooses_its_first(lenpen):
    found = candidates_of(nbest(random.Random(1), 50, 6, lenpen), range(50), with_coverage=False)
    assert not rerank.choose(found, rerank.Settings("fairseq", lenpen, 0.0)).any()
    assert rerank.choose(found, rerank.Settings("fairseq", lenpen + 3, 0.0)).any()


def test_no_penalty_is_the_order_of_probability():
    found = candidates_of(nbest(random.Random(2), 50, 6, 0.0), range(50), with_coverage=False)
    for form in rerank.ALPHAS:
        assert not rerank.choose(found, rerank.Settings(form, 0.0, 0.0)).any()


def test_of_equals_and_of_duplicates_the_first_is_chosen():
    same = ("x y", [-1, -1, -1], None)
    found = candidates_of(block(0, [("x", [-2, -1], None), same, same]), with_coverage=False)
    assert rerank.choose(found, GNMT) == [0]
    assert rerank.choose(found, rerank.Settings("gnmt", 1.0, 0.0)) == [1]


def test_a_short_list_is_never_read_past_its_end():
    lines = block(0, [("x", [-9, -9], None)]) + block(2, [("y", [-1, -1], None), ("z", [-2, -1], None)])
    found = candidates_of(lines, range(4), with_coverage=False)
    for form in rerank.ALPHAS:
        assert rerank.choose(found, rerank.Settings(form, 2.0, 1.0)).tolist() == [0, 0, 0, 0]
    assert found.texts == [["x"], [""], ["y", "z"], [""]] and found.untranslated == 2


WORDS = "the a cat dog 我 们 ， . 3.14 x-ray".split()


METRICS = {"zh": BLEU(tokenize="zh"), "13a": BLEU(tokenize="13a"), "none": BLEU(tokenize="none"), "chrF": CHRF()}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_summed_statistics_give_the_score_of_the_corpus(metric):
    rng = random.Random(3)
    texts = [[" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(rng.randint(1, 4))] for _ in range(40)]
    references = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in texts]
    ours = metrics.SacreBLEU(metric)
    statistics = metrics.collect_statistics(ours, texts, references)
    for _ in range(5):
        columns = [rng.randrange(len(list_)) for list_ in texts]
        chosen = [list_[column] for list_, column in zip(texts, columns, strict=True)]
        sums = statistics[numpy.arange(len(texts)), columns].sum(0)
        expected = metric.corpus_score(chosen, [references])
        assert ours.score(sums) == expected.score
        assert ours.describe(sums) == expected.format(signature=str(metric.get_signature()))


def test_rouge_l():
    pytest.importorskip("rouge_score")
    metric = metrics.make_metric("rouge-l", "zh")
    # Subsequences of 2 of 4 and 3 characters, and of nothing.
    statistics = metrics.collect_statistics(metric, [["我们来了", ""], ["x"]], ["我来吧", "y"])
    assert statistics[0].tolist() == [[pytest.approx(4 / 7), 1], [0, 1]]
    assert metric.describe(statistics[:, 0].sum(0)) == "ROUGE-L|tok:zh = 28.57"
    english = metrics.make_metric("rouge-l", None)
    assert english.statistics("The cat sat.", {"the cat"})["the cat"][0] == pytest.approx(0.8)


def test_rouge_l_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ValueError, match="pip install rouge-score"):
        metrics.make_metric("rouge-l", None)


def skipping(count):
    """Sentences of five words, and the search's first hypothesis lacks the last of them, which it never looked at."""
    rng, lines, references = random.Random(4), [], []
    for number in range(count):
        words = rng.sample("abcdefghijklmnop", 5)
        full, short = numpy.eye(6).tolist(), numpy.eye(6)[[0, 1, 2, 3, 5]].tolist()
        hypotheses = [(" ".join(words[:4]), [-0.5] * 5, short), (" ".join(words), [-0.6] * 6, full)]
        lines += block(number, hypotheses, target=" ".join(words))
        references.append(" ".join(words))
    return lines, references


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the script in a folder with `generated`, of sentences that skip a word, and `references`."""
    lines, references = skipping(20)
    (tmp_path / "generated").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "references").write_text("".join(line + "\n" for line in references), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["rerank.py", *map(str, args)])
        rerank.main()
        return capsys.readouterr()

    return run


def test_coverage_recovers_what_was_skipped(run, tmp_path):
    said = run("tune", "generated", "--references", "references", "--alphas", 0, "--save", "settings.json").out
    assert said.startswith("20 sentences, 40 hypotheses, 0 sentences without any; length penalty gnmt\n")
    # The smallest of all the betas that do it: (0.6 * 6 - 0.5 * 5) ln 2 / ln 1e6 = 0.0552.
    assert "\n| length penalty alone | 0 | 0 | 77.88 |\n| 1 | 0 | 0.1 | 100.00 |\n" in said
    assert "first of the search: BLEU|nrefs:1|" in said and "best for the others: BLEU" in said
    assert "keep the search's own order" not in said
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert [settings[name] for name in ("length_penalty", "alpha", "beta")] == ["gnmt", 0, 0.1]
    said = run("apply", "generated", "--settings", "settings.json", "--output", "out", "--references", "references").out
    assert (tmp_path / "out").read_text() == (tmp_path / "references").read_text()
    assert said.startswith("20 sentences, 20 of them not the first of the search, 0 empty") and " = 100.00 " in said


def test_settings_that_cannot_be_written_leave_those_before(tmp_path):
    with small_disk(tmp_path / "disk", 100) as disk:
        path = disk.path / "settings.json"
        rerank.save(path, "old")
        disk.fill()
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            rerank.save(path, "x" * 100_000)
        assert path.read_text() == "old" and len(list(disk.path.iterdir())) == 2


@pytest.mark.parametrize("metric", [["bleu", "--tokenizer", "zh"], ["chrf"]], ids=" ".join)
def test_the_score_of_what_is_applied_is_the_one_that_was_tuned(run, metric):
    options = ["--references", "references", "--metric", *metric]
    tuned = run("tune", "generated", *options, "--alphas", 0, 1, "--save", "settings.json").out
    applied = run("apply", "generated", *options, "--settings", "settings.json", "--output", "out").out
    assert "best: " + applied.splitlines()[1] in tuned.splitlines()


def test_where_nothing_is_gained_it_says_so(run):
    said = run("tune", "generated", "--references", "references", "--alphas", 0, "--betas", 0, 0.01).out
    assert "keep the search's own order" in said
    # Both choose the same: the smaller comes first.
    assert "| 1 | 0 | 0 | 77.88 |\n| 2 | 0 | 0.01 | 77.88 |" in said


def test_the_end_of_the_grid_is_named(run):
    said = run("tune", "generated", "--references", "references", "--alphas", 0, "--betas", 0, 0.1).out
    assert "the best beta is the largest tried: try larger ones with --betas" in said and "best alpha is" not in said


@pytest.mark.parametrize("count", [2, 10, 23])
def test_each_tenth_is_scored_with_what_is_best_for_the_others(count):
    lines, references = skipping(count)
    # Here the first is right.
    references[0::10] = [" ".join(line.split()[:4]) for line in references[0::10]]
    found = candidates_of(lines, range(count))
    metric = metrics.make_metric("chrf", None)
    statistics = metrics.collect_statistics(metric, found.texts, references)
    tuned = rerank.search_grid(statistics, metric, found, [GNMT, GNMT._replace(beta=1.0)])
    # Of two sentences that want different ones, each gets what the other one wants.
    columns = [1, 0] if count == 2 else 1
    assert tuned.crossed.tolist() == statistics[numpy.arange(count), columns].sum(0).tolist()
    assert tuned.first.tolist() == statistics[:, 0].sum(0).tolist()


def test_references_from_the_output(run):
    said = run("tune", "generated", "--alphas", 0)
    assert "| 1 | 0 | 0.1 | 100.00 |" in said.out and "T- lines" in said.err


def test_what_is_missing_is_an_empty_line(run, tmp_path):
    lines = (tmp_path / "generated").read_text().split("\n")
    (tmp_path / "generated").write_text("\n".join(line for line in lines if "-3\t" not in line))
    said = run("apply", "generated", "--beta", 1, "--output", "out").out
    expected = (tmp_path / "references").read_text().split("\n")
    expected[3] = ""
    assert (tmp_path / "out").read_text().split("\n") == expected
    assert said == "20 sentences, 19 of them not the first of the search, 1 empty for want of hypotheses\n"


def test_the_text_is_the_detokenised_one(run, tmp_path):
    lines = ["H-0\t-1\tx @@y", "D-0\t-1\txy", "P-0\t-1 -1 -1", "H-1\t-1\tz", "P-1\t-1 -1"]
    (tmp_path / "generated").write_text("\n".join(lines))
    run("apply", "generated", "--alpha", 1, "--output", "out")
    assert (tmp_path / "out").read_text() == "xy\nz\n"


def test_a_symbol_that_is_not_printed_has_no_row(run, tmp_path):
    """Of <s>, which samples may hold."""
    lines = ["H-0\t-1\tx", "P-0\t-1 -1 -1", "A-0\t0.5,0.5 0.5,0.5", "H-0\t-1\ty", "P-0\t-1 -1", "A-0\t0.9,0.1 0.9,0.1"]
    (tmp_path / "generated").write_text("\n".join(lines))
    run("apply", "generated", "--beta", 1, "--output", "out")
    assert (tmp_path / "out").read_text() == "y\n"


def test_no_alignments_are_needed_without_a_coverage_penalty(run, tmp_path):
    lines = (tmp_path / "generated").read_text().split("\n")
    (tmp_path / "generated").write_text("\n".join(line for line in lines if not line.startswith("A-")))
    assert "length penalty alone" in run("tune", "generated", "--references", "references", "--betas", 0).out
    run("apply", "generated", "--alpha", 3, "--output", "out")
    for args in (["tune", "generated"], ["apply", "generated", "--beta", 0.1, "--output", "out"]):
        with pytest.raises(ValueError, match="sentence 0: no alignments.*--print-alignment soft"):
            run(*args)


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "required: command"),
        (["tune", "generated", "--metric", "ter"], "'ter' \\(choose from"),
        (["tune", "generated", "--tokenizer", "jieba"], "'jieba' \\(choose from"),
        (["tune", "generated", "--metric", "chrf", "--tokenizer", "zh"], "--tokenizer zh: chrf takes characters"),
        (["tune", "generated", "--betas", "0", "-1"], "-1: must be a number from 0"),
        (["tune", "generated", "--alphas", "nan"], "nan: must be a number from 0"),
        (["tune", "generated", "--length-penalty", "wu"], "'wu' \\(choose from"),
        (["tune", "generated", "--save", "lost/settings.json"], "there is no folder lost"),
        (["tune", "references"], "references holds no hypotheses"),
        (["tune", "generated", "--references", "two"], "generated has a sentence 19, the references 2 lines"),
        (["tune", "generated", "--references", "nothing"], "nothing is empty"),
        (["tune", "single", "--betas", "0"], "one hypothesis a sentence: .* --nbest"),
        (["tune", "untold"], "0 sentences with references"),
        (["apply", "generated", "--output", "out"], "either --settings FILE, or"),
        (["apply", "generated", "--output", "out", "--settings", "two", "--beta", "0"], "either --settings FILE, or"),
        (["apply", "generated", "--output", "out", "--settings", "two"], "two: not settings that tune --save wrote"),
        (["apply", "generated", "--output", "out", "--settings", "odd"], "length penalty 'wu': must be one of gnmt"),
        (["apply", "generated", "--output", "out", "--beta", "1", "--metric", "bleu"], "give --references FILE"),
        (["apply", "generated", "--output", "lost/out", "--beta", "1"], "there is no folder lost"),
        (["apply", "hard", "--output", "out", "--beta", "1"], "sentence 0: not a line of --print-alignment soft"),
        (["apply", "rows", "--output", "out", "--beta", "1"], "sentence 0: 2 token scores, 1 rows of weights"),
        (["apply", "unscored", "--output", "out", "--beta", "1"], "sentence 0: a hypothesis without its P- line"),
        (
            ["apply", "nan", "--output", "out", "--alpha", "1"],
            "sentence 0: token scores or weights that are no numbers",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refuses(run, tmp_path, args, message):
    files = {
        "two": "x\ny\n",
        "nothing": "",
        "odd": '{"length_penalty": "wu", "alpha": 1, "beta": 0}',
        "single": "\n".join(block(0, [("x", [-1], None)], "x") + block(1, [("x", [-1], None)], "x")),
        "untold": "\n".join(block(0, [("x", [-1], None)])),
        "hard": "H-0\t-1\tx\nP-0\t-1 -1\nA-0\t0-0\n",
        "rows": "H-0\t-1\tx\nP-0\t-1 -1\nA-0\t0.5,0.5\n",
        "unscored": "H-0\t-1\tx\n",
        "nan": "H-0\tnan\tx\nP-0\tnan -1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        run(*args)
    assert not (tmp_path / "out").exists()


def test_an_error_is_one_line(tmp_path):
    words = [sys.executable, SCRIPTS / "rerank.py", "tune", tmp_path / "none"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
