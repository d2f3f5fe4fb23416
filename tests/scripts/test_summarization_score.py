import subprocess
import sys

import pytest

from tests.scripts.loading import SCRIPTS, load_script

pytest.importorskip("rouge_score")
score = load_script("summarization/score.py")
seeds_table = load_script("seeds_table.py")


@pytest.mark.parametrize(
    "words, n, expected",
    [
        ("a b a b a", 1, (3, 5)),
        ("a b a b a", 2, (2, 4)),
        ("a b a b a", 3, (1, 3)),
        ("a b c a b c a b c", 3, (4, 7)),
        ("a b c d", 3, (0, 2)),
        ("a b", 3, (0, 0)),
        ("", 1, (0, 0)),
    ],
)
def test_repeated_ngrams(words, n, expected):
    assert score.count_repeated(words.split(), n) == expected


@pytest.mark.parametrize(
    "words, source, expected",
    [("a b a x", "a b c", (3, 4)), ("x y", "a b", (0, 2)), ("", "a", (0, 0)), ("a", "", (0, 1))],
)
def test_copied_words(words, source, expected):
    assert score.count_copied(words.split(), source.split()) == expected


def test_words_are_those_of_rouge():
    assert score.split_words("A libzen-dev (C++), v1.2") == ["a", "libzen", "dev", "c", "v1", "2"]


def test_a_share_is_of_all_words_and_not_a_mean_of_shares():
    assert score.share([(1, 2), (0, 6)]) == 12.5
    assert score.share([(0, 0)]) is None


def test_rouge_by_hand():
    """Words shared 3 of 4 and of 6; pairs 1 of 3 and of 5; the longest common subsequence 3 as well."""
    rouge = score.rouge_scores(["red fox sees dogs"], ["the red fox often sees it"])
    assert rouge == pytest.approx([100 * 2 * 3 / 10, 100 * 2 * 1 / 8, 100 * 2 * 3 / 10])


def test_rouge_sees_stems_and_the_order_of_words():
    assert score.rouge_scores(["parsing libraries"], ["parse library"]) == pytest.approx([100, 100, 100])
    assert score.rouge_scores(["one two"], ["two one"]) == pytest.approx([100, 0, 50])


def test_rouge_is_the_mean_of_the_summaries():
    assert score.rouge_scores(["one two", ""], ["one two", "one two"]) == pytest.approx([50, 50, 50])


def test_all_figures():
    figures = score.measure(["a b c a b c", "tool for x"], ["A, b! and c.", "The tool"], ["a b c", "tool"])
    assert figures.repeated_trigrams == pytest.approx(100 * 1 / 5)
    assert figures.repeated_words == pytest.approx(100 * 3 / 9)
    assert figures.copied_words == pytest.approx(100 * 7 / 9)
    assert figures.novel_words == pytest.approx(100 * 2 / 9)
    assert figures.words == 4.5
    # F1 of words: 3 of 6 and of 3, 1 of 3 and of 1.
    assert figures.rouge1 == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert score.measure(["a"], ["b"], None).rouge1 is None


def test_the_table_comes_with_the_references_and_the_lead(tmp_path):
    texts = {"summaries": ["zen library", "a tool"], "references": ["zen library", "some tool"]}
    texts["sources"] = ["ZenLib: Zen library", "one: Some tool for you"]
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    arguments = [word for name in texts for word in (f"--{name}", tmp_path / name)]
    command = [sys.executable, SCRIPTS / "summarization" / "score.py", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    rows = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines()[1:4]}
    # Two words a summary make no trigram: that figure is missing.
    assert rows["summaries"] == ["75.00", "50.00", "75.00", "0.00", "75.00", "25.00", "2.00"]
    assert rows["references"] == ["0.00", "100.00", "0.00", "2.00"]
    assert rows["lead"][-2:] == ["0.00", "2.00"] and rows["lead"][:3] == ["50.00", "0.00", "50.00"]
    scores, signatures = seeds_table.read_scores(done.stdout.splitlines()[4:])
    assert scores == {"rouge1": 75, "rouge2": 50, "rougeL": 75, "copied_words": 75}
    assert signatures["rouge2"].startswith("F1|stemmer:porter|rouge-score:")
    (tmp_path / "sources").write_text("one\n")
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "2 summaries, 2 references, 1 sources: line N" in done.stderr
