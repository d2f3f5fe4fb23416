import numpy
import pytest

from .loading import load_script

generate_output = load_script("generate_output.py")

OUTPUT = """\
2026-01-01 | INFO | fairseq_cli.generate | a line of the log
S-1\ta b
T-1\tx y
H-1\t-0.5\tx x
D-1\t-0.5\txx
P-1\t-0.25 -0.5 -0.75
A-1\t0.9,0.1,0.0 0.2,0.7,0.1 0.0,0.1,0.9
H-1\t-0.75\ty
D-1\t-0.75\ty
P-1\t-0.5 -1.0
S-0\tc\u2028d
W-0\t0.1\tseconds
H-0\t-1\tz
A-0\t0-0 10-2
Generate test with beam=5: BLEU4 = 1
"""


def test_sentences_and_hypotheses():
    sentences = generate_output.read_sentences(OUTPUT.split("\n"))
    assert sorted(sentences) == [0, 1]
    first, second = sentences[1].hypotheses
    assert (sentences[1].source, sentences[1].target, sentences[0].target) == ("a b", "x y", None)
    assert (first.score, first.tokens, first.text, first.token_scores) == (-0.5, "x x", "xx", [-0.25, -0.5, -0.75])
    assert (second.tokens, second.alignment) == ("y", None)
    assert sentences[0].source == "c\u2028d"
    assert generate_output.parse_hard(sentences[0].hypotheses[0].alignment) == [(0, 0), (10, 2)]
    weights = generate_output.parse_soft(first.alignment)
    numpy.testing.assert_array_equal(weights, [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])


def test_a_line_without_its_hypothesis_is_named():
    with pytest.raises(ValueError, match="A-3"):
        generate_output.read_sentences(["S-3\ta", "A-3\t0-0"])


@pytest.mark.parametrize("line", ["0-0 1-1", "0.1,0.9 0.5", ""])
def test_what_is_no_soft_alignment(line):
    with pytest.raises(ValueError, match="soft"):
        generate_output.parse_soft(line)


@pytest.mark.parametrize("line", ["0.1,0.9", "0-a", "0-1-2", "3"])
def test_what_is_no_hard_alignment(line):
    with pytest.raises(ValueError, match="pairs"):
        generate_output.parse_hard(line)
