"""`--scoring error_rate` through fairseq-generate, on a model that has learned the corpus.

Where mistakes are wanted, its translations end after four words: the longer ones of the references are then wrong,
however well it has learned.
"""

import pytest

from s2s_plugin.scoring.error_rate import edit_distance
from tests.helpers import hypotheses, lines, run_generate

SENTENCES = 30


def last_line(output) -> str:
    return output.stdout.splitlines()[-1]


@pytest.mark.parametrize("args", [["--beam", 1], ["--beam", 3, "--nbest", 3]], ids=["greedy", "several hypotheses"])
def test_the_best_hypotheses_are_scored(model, args):
    cut = ["--max-len-a", 0, "--max-len-b", 4]
    output = run_generate(model.data, model.checkpoint, "--scoring", "error_rate", *args, *cut, batch_size=7)
    found = hypotheses(output)
    references = {number: tuple(rows[0][0].split()) for number, rows in lines(output, "T").items()}
    assert len(references) == SENTENCES
    wrong = sum(found[number][0].words != words for number, words in references.items())
    assert 0 < wrong < SENTENCES, "these tests want some sentences right and others wrong"
    tokens = sum(map(len, references.values()))
    edits = sum(edit_distance(words, found[number][0].words) for number, words in references.items())
    assert last_line(output) == (
        f"Generate test with beam={args[1]}: "
        f"sequence error rate {100 * wrong / SENTENCES:.2f} % ({wrong}/{SENTENCES}), "
        f"token error rate {100 * edits / tokens:.2f} % ({edits}/{tokens})"
    )


def test_scores_do_not_depend_on_the_batches(model):
    args = ["--scoring", "error_rate", "--quiet", "--max-len-a", 0, "--max-len-b", 4]
    results = {last_line(run_generate(model.data, model.checkpoint, *args, batch_size=size)) for size in (1, 30)}
    assert len(results) == 1


def test_the_reference_scored_as_hypothesis_is_without_error(model):
    output = run_generate(model.data, model.checkpoint, "--scoring", "error_rate", "--score-reference")
    assert "sequence error rate 0.00 % (0/30), token error rate 0.00 % (0/" in last_line(output)
