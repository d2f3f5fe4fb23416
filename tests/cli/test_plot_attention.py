"""From a model by fairseq-generate to a page; the drawing is tested in tests/scripts."""

import json
import sys

import pytest

from tests.helpers import ROOT, run_command, run_generate


def test_what_fairseq_generate_prints_becomes_a_page(model, text, tmp_path):
    found = run_generate(model.data, model.checkpoint, "--print-alignment", "soft", "--beam", 3, "--nbest", 2)
    words = (sys.executable, ROOT / "scripts" / "plot_attention.py", "--output", tmp_path / "page.html", "--nbest", "2")
    done = run_command(words, stdin=found.stdout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    sentences = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    sources = (text / "test.src").read_text(encoding="utf-8").splitlines()
    assert [sentence["source"] for sentence in sentences[::2]] == [[*line.split(), "</s>"] for line in sources]
    for sentence in sentences:
        rows, columns = len(sentence["target"]), len(sentence["source"])
        weights = sentence["weights"]
        assert len(weights) == rows * columns
        for row in range(rows):
            assert sum(weights[row * columns : (row + 1) * columns]) == pytest.approx(1000, abs=columns)


def test_a_checkpoint_translates_sentences_and_becomes_a_page(model, tmp_path):
    """Through fairseq-interactive, whose soft alignments the task mends."""
    words = sys.executable, ROOT / "scripts" / "plot_attention.py", "--output", tmp_path / "page.html"
    model_options = "--model", model.checkpoint, "--data", model.data
    done = run_command((*words, *model_options, "--", "--cpu"), stdin="a b c\nd\n")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    sentences = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [sentence["source"] for sentence in sentences] == [["a", "b", "c", "</s>"], ["d", "</s>"]]
